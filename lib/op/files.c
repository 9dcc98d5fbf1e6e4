/* Outputs that appear whole or not at all. */
#include "op/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/lock.h"
#include "block/raw.h"

#define TEMPORARY_SUFFIX ".chrimg-tmp"

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* The folder of PATH, with its slash, or "./". */
static char *folder_of(const char *path, struct chr_error *err)
{
    size_t length = folder_length(path);
    char *folder = mem_strdup(length > 0 ? path : "./", err);

    if (folder != NULL && length > 0)
        folder[length] = '\0';
    return folder;
}

char *hidden_path_beside(const char *path, const char *suffix, struct chr_error *err)
{
    size_t size = strlen(path) + strlen(suffix) + 2;
    char *hidden = mem_new(1, size, err);
    size_t folder = folder_length(path);

    if (hidden != NULL)
        (void)snprintf(hidden, size, "%.*s.%s%s", (int)folder, path, path + folder, suffix);
    return hidden;
}

bool same_file(const char *a, const char *b)
{
    struct stat sa;
    struct stat sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

int sync_folder_of(const char *path, struct chr_error *err)
{
    AUTO_FREE char *folder = folder_of(path, err);
    AUTO_CLOSE int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (folder == NULL)
        return -1;
    if (fd < 0)
        return err_errno(err, errno, "cannot open the folder %s", folder);
    /* EINVAL: a file system that has nothing to sync for a folder. */
    if (fsync(fd) < 0 && errno != EINVAL)
        return err_errno(err, errno, "cannot make the folder %s durable", folder);
    return 0;
}

static int refuse_existing(const char *path, struct chr_error *err)
{
    (void)err_set(err, CHR_E_EXISTS, "%s is there already", path);
    return err_hint(err, "name another file, or use --force to replace it");
}

/* A file without a name, in the folder of the output; -1 where there is no such thing. */
static int open_nameless(const char *folder)
{
#ifdef O_TMPFILE
    return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
#else
    (void)folder;
    return -1;
#endif
}

/* The fallback has one fixed name, so that what a killed run left is used up by the next. */
static int open_named(const char *temporary, struct chr_error *err)
{
    AUTO_CLOSE int fd = open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    int result;

    if (fd < 0)
        return err_errno(err, errno, "cannot create %s", temporary);
    if (lock_image(fd, true, temporary, err) < 0)
        return -1;
    if (ftruncate(fd, 0) < 0)
        return err_errno(err, errno, "cannot empty %s", temporary);
    result = fd;
    fd = -1;
    return result;
}

int output_check(const char *path, bool force, struct chr_error *err)
{
    AUTO_FREE char *folder = folder_of(path, err);
    struct stat st;

    if (folder == NULL)
        return -1;
    if (path[0] == '\0')
        return err_set(err, CHR_E_USAGE, "the output's name is empty");
    if (stat(folder, &st) < 0) {
        (void)err_errno(err, errno, "cannot write %s: its folder %s", path, folder);
        return err_hint(err, "make the folder first: mkdir -p %s", folder);
    }
    if (lstat(path, &st) < 0)
        return 0;
    if (S_ISDIR(st.st_mode))
        return err_set(err, CHR_E_USAGE, "%s is a folder; name the file to write", path);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a device or a pipe, not a file to replace", path);
        return err_hint(err, "write a file and copy it there, or chrimg convert IMG - | dd of=%s",
                        path);
    }
    return force ? 0 : refuse_existing(path, err);
}

int output_begin(const char *path, uint64_t size, bool force, struct output *out,
                 struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {.force = force};
    AUTO_FREE char *folder = folder_of(path, err);
    int fd;

    if (folder == NULL || output_check(path, force, err) < 0)
        return -1;
    output.path = mem_strdup(path, err);
    if (output.path == NULL)
        return -1;
    fd = open_nameless(folder);
    if (fd < 0) {
        if (errno == ENOENT || errno == EACCES || errno == EROFS)
            return err_errno(err, errno, "cannot create %s", path);
        output.temporary = hidden_path_beside(path, TEMPORARY_SUFFIX, err);
        fd = output.temporary != NULL ? open_named(output.temporary, err) : -1;
        if (fd < 0)
            return -1;
    }
    if (raw_from_fd(fd, path, 0, true, &output.blk, err) < 0 ||
        raw_resize(output.blk, size, err) < 0)
        return -1;
    *out = output;
    output = (struct output){0};
    return 0;
}

/* Give the nameless file the name PATH, which must be free. */
static int link_nameless(int fd, const char *path)
{
    char self[64];

    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* A name can only be replaced by rename(), so the file gets a temporary one first. */
static int name_temporarily(struct output *out, struct chr_error *err)
{
    AUTO_FREE char *temporary = hidden_path_beside(out->path, TEMPORARY_SUFFIX, err);

    if (temporary == NULL)
        return -1;
    if (link_nameless(out->blk->fd, temporary) < 0) {
        /* Left by a run that was killed right here. */
        if (errno != EEXIST || unlink(temporary) < 0 ||
            link_nameless(out->blk->fd, temporary) < 0)
            return err_errno(err, errno, "cannot name %s", temporary);
    }
    out->temporary = STEAL(temporary);
    return 0;
}

static int give_name(struct output *out, struct chr_error *err)
{
    if (out->temporary == NULL && !out->force) {
        if (link_nameless(out->blk->fd, out->path) == 0)
            return 0;
        return errno == EEXIST ? refuse_existing(out->path, err)
                               : err_errno(err, errno, "cannot name %s", out->path);
    }
    if (out->temporary == NULL && name_temporarily(out, err) < 0)
        return -1;
    if (!out->force && access(out->path, F_OK) == 0)
        return refuse_existing(out->path, err);
    if (rename(out->temporary, out->path) < 0)
        return err_errno(err, errno, "cannot rename %s to %s", out->temporary, out->path);
    free(out->temporary);
    out->temporary = NULL;
    return 0;
}

int output_publish(struct output *out, struct chr_error *err)
{
    AUTO_FREE char *path = NULL;
    int result = blk_flush(out->blk, err);

    if (result == 0)
        result = give_name(out, err);
    path = STEAL(out->path);
    if (result == 0) {
        result = blk_close(STEAL(out->blk), err);
        if (result == 0)
            result = sync_folder_of(path, err);
        /* A replaced file cannot come back; a new one that may not last goes again. */
        if (result < 0 && (out->force || unlink(path) < 0))
            (void)err_hint(err, "%s is written, but may not survive a power cut", path);
    }
    output_discard(out);
    return result;
}

void output_discard(struct output *out)
{
    if (out->temporary != NULL)
        (void)unlink(out->temporary);
    blk_cleanup(&out->blk);
    free(out->temporary);
    free(out->path);
    *out = (struct output){0};
}
