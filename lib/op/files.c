/* Outputs that appear whole or not at all. */
#include "op/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/environment.h"
#include "base/inode.h"
#include "base/shell.h"
#include "block/lock.h"
#include "block/raw.h"
#include "op/boot.h"
#include "op/undo.h"

#define TEMPORARY_SUFFIX ".chrimg-tmp"
#define PRIVATE_NAME ".chrimg-XXXXXX"
/* How often to look again when another process is changing the same names. */
#define ATTEMPTS 100

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

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && same_inode(&sa, &sb);
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

int rename_to_free_name(int from_folder, const char *from, int to_folder, const char *to)
{
#ifdef RENAME_NOREPLACE
    if (renameat2(from_folder, from, to_folder, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
#endif
    if (linkat(from_folder, from, to_folder, to, 0) < 0)
        return -1;
    (void)unlinkat(from_folder, from, 0);
    return 0;
}

char *private_folder_new(const char *beside, struct chr_error *err)
{
    AUTO_FREE char *folder = NULL;
    AUTO_FREE char *path = NULL;
    size_t size;

    if (beside != NULL)
        folder = folder_of(beside, err);
    else
        folder = mem_strdup(temporary_folder(), err);
    if (folder == NULL)
        return NULL;
    size = strlen(folder) + sizeof "./" "/" PRIVATE_NAME;
    path = mem_new(1, size, err);
    if (path == NULL)
        return NULL;
    /* "./" in front: qemu-img takes "a:b" for a protocol. */
    (void)snprintf(path, size, "%s%s/%s", folder[0] == '/' ? "" : "./", folder, PRIVATE_NAME);
    if (mkdtemp(path) != NULL)
        return STEAL(path);
    (void)err_errno(err, errno, "cannot create a temporary folder in %s", folder);
    return NULL;
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

/* Whether PATH itself, not what it links to, is (still) a name of the open file FD. */
static bool is_name_of(const char *path, int fd)
{
    struct stat named;
    struct stat opened;

    return lstat(path, &named) == 0 && fstat(fd, &opened) == 0 && same_inode(&named, &opened);
}

/*
 * Remove what a killed run left under a temporary name.  A run that is alive
 * holds a lock on it; and when we have the lock, the name may be another file's
 * by now: then the caller looks again.
 */
static int remove_stale(const char *temporary, struct chr_error *err)
{
    AUTO_CLOSE int fd = open(temporary, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s, which an earlier run left", temporary);
    if (lock_image(fd, true, temporary, err) < 0)
        return -1;
    if (is_name_of(temporary, fd) && unlink(temporary) < 0)
        return err_errno(err, errno, "cannot remove %s, which an earlier run left", temporary);
    return 0;
}

static int refuse_restless(const char *path, struct chr_error *err)
{
    return err_set(err, CHR_E_BUSY, "%s is replaced by another process again and again", path);
}

/*
 * The fallback has one fixed name, so that what a killed run left is removed by
 * the next.  It is always a new file: what is there may have other names, and be
 * open to others.  Between making and locking it another run may have removed it.
 */
static int open_named(const char *temporary, struct chr_error *err)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        AUTO_CLOSE int fd =
            open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        int result = fd;

        if (fd < 0 && errno != EEXIST)
            return err_errno(err, errno, "cannot create %s", temporary);
        if (fd < 0 && remove_stale(temporary, err) < 0)
            return -1;
        if (fd < 0)
            continue;
        if (lock_image(fd, true, temporary, err) < 0)
            return -1;
        if (is_name_of(temporary, fd)) {
            fd = -1;
            return result;
        }
    }
    return refuse_restless(temporary, err);
}

/*
 * Lock the file at PATH that is to be replaced.  A link is replaced itself, and
 * what it leads to stays; so there is nothing to lock then.
 */
static int hold_old(const char *path, struct blk **old, struct chr_error *err)
{
    struct stat st;

    for (int i = 0; i < ATTEMPTS; i++) {
        int fd;

        if (*old != NULL && is_name_of(path, (*old)->fd))
            return 0;
        blk_cleanup(old);
        *old = NULL;
        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
            return 0;
        /* For reading: that is enough for the locks, and nothing is written to it. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 && (errno == ENOENT || errno == ELOOP))
            continue;
        if (fd < 0) {
            (void)err_errno(err, errno, "cannot ask whether %s is in use", path);
            return err_hint(err, "if it is not, remove it first");
        }
        if (raw_from_fd(fd, path, (uint64_t)st.st_size, false, old, err) < 0)
            return -1;
        if (lock_image(fd, true, path, err) < 0) {
            (void)err_hint(err, "stop the VM (or the other command) that holds it, or name "
                                "another output; what is read here cannot be replaced either");
            boot_name_holder(path, true, err);
            return -1;
        }
    }
    return refuse_restless(path, err);
}

static int check_name(const char *path, bool force, struct chr_error *err)
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
                        HINT_WORD(path));
    }
    return force ? 0 : refuse_existing(path, err);
}

int output_check(const char *path, bool force, struct chr_error *err)
{
    struct blk *old = NULL;
    int result = check_name(path, force, err);

    if (result == 0 && force)
        result = hold_old(path, &old, err);
    blk_cleanup(&old);
    return result;
}

/* All but the file itself. */
static int begin(const char *path, bool force, struct output *output, struct chr_error *err)
{
    output->force = force;
    if (check_name(path, force, err) < 0 || (force && hold_old(path, &output->old, err) < 0))
        return -1;
    output->path = mem_strdup(path, err);
    return output->path == NULL ? -1 : 0;
}

static int hand_over(struct output *output, struct output *out)
{
    *out = *output;
    *output = (struct output){0};
    return 0;
}

int output_begin(const char *path, uint64_t size, bool force, struct output *out,
                 struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    AUTO_FREE char *folder = folder_of(path, err);
    AUTO_FREE char *temporary = NULL;
    int fd;

    if (folder == NULL || begin(path, force, &output, err) < 0)
        return -1;
    fd = open_nameless(folder);
    if (fd < 0) {
        if (errno == ENOENT || errno == EACCES || errno == EROFS)
            return err_errno(err, errno, "cannot create %s", path);
        temporary = hidden_path_beside(path, TEMPORARY_SUFFIX, err);
        fd = temporary != NULL ? open_named(temporary, err) : -1;
        if (fd < 0)
            return -1;
        output.temporary = STEAL(temporary); /* ours only now: to be removed on failure */
    }
    if (raw_from_fd(fd, path, 0, true, &output.blk, err) < 0 ||
        raw_resize(output.blk, size, err) < 0)
        return -1;
    return hand_over(&output, out);
}

int output_adopt(const char *made, const char *path, bool force, struct output *out,
                 struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    struct stat st;
    int fd;

    if (begin(path, force, &output, err) < 0)
        return -1;
    output.temporary = mem_strdup(made, err);
    if (output.temporary == NULL)
        return -1;
    fd = open(made, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", made);
    if (raw_from_fd(fd, path, 0, true, &output.blk, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", made);
    output.blk->size = (uint64_t)st.st_size;
    return hand_over(&output, out);
}

int output_take_mode(struct output *out, const char *like, struct chr_error *err)
{
    int fd = out->blk->fd;
    struct stat reference;
    struct stat st;

    if (stat(like, &reference) < 0)
        return err_errno(err, errno, "%s: cannot stat", like);
    /* It was created with 0666, from which the umask has taken its part. */
    if (fstat(fd, &st) < 0 || fchmod(fd, st.st_mode & (reference.st_mode | 0600) & 0666) < 0)
        return err_errno(err, errno, "cannot set the mode of %s", out->path);
    return 0;
}

/* Give the nameless file the name PATH, which must be free. */
static int link_nameless(int fd, const char *path)
{
    char self[64];

    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/*
 * A name can only be replaced by rename(), so the file gets a temporary one first.
 * The lock tells it from what a killed run has left.
 */
static int name_temporarily(struct output *out, struct chr_error *err)
{
    AUTO_FREE char *temporary = hidden_path_beside(out->path, TEMPORARY_SUFFIX, err);

    if (temporary == NULL || lock_image(out->blk->fd, true, temporary, err) < 0)
        return -1;
    for (int i = 0; i < ATTEMPTS; i++) {
        if (link_nameless(out->blk->fd, temporary) == 0) {
            out->temporary = STEAL(temporary);
            return 0;
        }
        if (errno != EEXIST)
            return err_errno(err, errno, "cannot name %s", temporary);
        if (remove_stale(temporary, err) < 0)
            return -1;
    }
    return refuse_restless(temporary, err);
}

static int give_free_name(struct output *out, struct chr_error *err)
{
    int result = out->temporary == NULL
                     ? link_nameless(out->blk->fd, out->path)
                     : rename_to_free_name(AT_FDCWD, out->temporary, AT_FDCWD, out->path);

    if (result == 0)
        return 0;
    return errno == EEXIST ? refuse_existing(out->path, err)
                           : err_errno(err, errno, "cannot name %s", out->path);
}

/* By now there may be something that was not there at the beginning. */
static int replace(struct output *out, struct chr_error *err)
{
    if (hold_old(out->path, &out->old, err) < 0 ||
        (out->temporary == NULL && name_temporarily(out, err) < 0))
        return -1;
    if (rename(out->temporary, out->path) < 0)
        return err_errno(err, errno, "cannot rename %s to %s", out->temporary, out->path);
    return 0;
}

static int give_name(struct output *out, struct chr_error *err)
{
    if ((out->force ? replace(out, err) : give_free_name(out, err)) < 0)
        return -1;
    free(out->temporary);
    out->temporary = NULL;
    return 0;
}

/* The file has its name: let it keep it. */
static int make_last(struct output *out, const char *path, struct chr_error *err)
{
    /* First of all, before anybody reads the new image with the undo file of the old. */
    if (undo_forget(path, err) < 0)
        return -1;
    if (blk_close(STEAL(out->blk), err) == 0 && sync_folder_of(path, err) == 0)
        return 0;
    return out->force ? err_hint(err, "%s is written, but may not survive a power cut", path) : -1;
}

int output_publish(struct output *out, struct chr_error *err)
{
    AUTO_FREE char *path = NULL;
    int result = blk_flush(out->blk, err);

    if (result == 0)
        result = give_name(out, err);
    path = STEAL(out->path);
    if (result == 0) {
        result = make_last(out, path, err);
        /* A replaced file cannot come back; a new one that may not last goes again. */
        if (result < 0 && !out->force)
            (void)unlink(path);
    }
    output_discard(out);
    return result;
}

void output_discard(struct output *out)
{
    if (out->temporary != NULL)
        (void)unlink(out->temporary);
    blk_cleanup(&out->blk);
    blk_cleanup(&out->old);
    free(out->temporary);
    free(out->path);
    *out = (struct output){0};
}
