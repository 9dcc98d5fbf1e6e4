/*
 * Files of a file system onto the host.
 *
 * Names come from the image and are not trusted: the readers refuse "/", "."
 * and "..", and every step on the host goes through openat() without following
 * links, so that nothing is written outside of the folder.
 *
 * Every file is written into a new folder first, by its number, so that no name
 * of the image's or the user's can meet it; when all are there, they go to their
 * places.  So a run that fails leaves what was there before, and nothing else;
 * only replacing files, which needs --force, can stop in between.
 */
#include "op/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/inode.h"
#include "op/files.h"

#define CHUNK 65536
#define STAGING_NAME ".chrimg-extract-XXXXXX"
#define STAGING_RANDOM 6 /* the X */
#define STAGED_NAME_SIZE 24
/* How many names for the staging folder may be taken. */
#define ATTEMPTS 100

enum state {
    ABSENT,
    STAGED,  /* a file in the staging folder */
    CREATED, /* in its place, where nothing was: to be removed when the run fails */
};

struct unpacking {
    const struct unpack *options;
    struct unpack_report *report;
    const struct file_tree *tree;
    int target;    /* the folder that all goes into */
    size_t opened; /* the folder of the tree that was used last: 0 is TARGET itself ... */
    int folder;    /* ... and its descriptor, else -1: there may be more than can be open */
    enum state *states; /* of each node of the tree */
    char staging_name[sizeof STAGING_NAME];
    int staging; /* the folder where files are made, or -1 */
    struct stat input; /* the image: must not be replaced by its own contents */
    struct chr_error *err;
};

static int write_all(int fd, uint64_t off, const uint8_t *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, buf, len, (off_t)off);

        if (n < 0 && errno != EINTR)
            return -1;
        buf += n > 0 ? n : 0;
        off += n > 0 ? (uint64_t)n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int set_attributes(int fd, const struct file_node *node)
{
    const struct timespec times[2] = {{.tv_sec = (time_t)node->accessed},
                                      {.tv_sec = (time_t)node->modified}};

    /* No set-user-id from an image. */
    return fchmod(fd, node->mode & 0777) < 0 ? -1 : futimens(fd, times);
}

/* Holes stay holes: a file of the image may claim to be larger than any disk. */
int unpack_contents(struct blk *device, const struct file_node *node, int fd, struct chr_error *err)
{
    uint8_t buf[CHUNK];
    size_t len;
    int result = 0;

    if (node->size > INT64_MAX || ftruncate(fd, (off_t)node->size) < 0)
        return err_errno(err, node->size > INT64_MAX ? EFBIG : errno, "cannot write %s",
                         node->path);
    for (uint64_t off = file_next_data(node, 0); result == 0 && off < node->size;
         off = file_next_data(node, off + len)) {
        len = (size_t)min_u64(CHUNK, node->size - off);
        result = file_read(device, node, off, buf, len, err);
        if (result == 0 && write_all(fd, off, buf, len) < 0)
            result = err_errno(err, errno, "cannot write %s", node->path);
    }
    explicit_bzero(buf, sizeof buf); /* it may have been a password */
    if (result == 0 && set_attributes(fd, node) < 0)
        return err_errno(err, errno, "cannot set mode and time of %s", node->path);
    return result;
}

/*
 * A descriptor of folder INDEX of the tree, good until the next call; -1 and errno when it
 * cannot be opened.  Each step from the target down is one without links.
 */
static int folder_of(struct unpacking *x, size_t index)
{
    const struct file_node *node = &x->tree->nodes[index];
    int parent;
    int folder;

    if (index == 0)
        return x->target;
    if (index == x->opened)
        return x->folder;
    parent = folder_of(x, node->parent);
    if (parent < 0)
        return -1;
    folder = openat(parent, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return -1;
    cleanup_close(&x->folder);
    x->folder = folder;
    x->opened = index;
    return folder;
}

static int no_folder(struct unpacking *x, size_t index)
{
    return err_errno(x->err, errno, "cannot open the folder %s", x->tree->nodes[index].path);
}

static void staged_name(size_t index, char name[STAGED_NAME_SIZE])
{
    (void)snprintf(name, STAGED_NAME_SIZE, "%zu", index);
}

/* mkdtemp(), but by the descriptor: the folder's name may lead elsewhere by now. */
static int make_staging(struct unpacking *x)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t random[STAGING_RANDOM];

    for (int i = 0; i < ATTEMPTS; i++) {
        if (getentropy(random, sizeof random) < 0)
            return err_errno(x->err, errno, "cannot ask for a random name");
        memcpy(x->staging_name, STAGING_NAME, sizeof STAGING_NAME);
        for (size_t k = 0; k < sizeof random; k++)
            x->staging_name[sizeof STAGING_NAME - 2 - k] = letters[random[k] % 32];
        if (mkdirat(x->target, x->staging_name, 0700) < 0 && errno == EEXIST)
            continue;
        x->staging = openat(x->target, x->staging_name,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        break;
    }
    return x->staging >= 0 ? 0
                           : err_errno(x->err, errno, "cannot create a temporary folder in %s",
                                       x->options->folder);
}

/* What is there already may be replaced if it was asked for, and if it is not the image. */
static int check_old(struct unpacking *x, const struct file_node *node)
{
    int folder = folder_of(x, node->parent);
    struct stat st;

    if (folder < 0)
        return no_folder(x, node->parent);
    if (fstatat(folder, node->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (S_ISDIR(st.st_mode))
        return err_set(x->err, CHR_E_EXISTS, "%s/%s is a folder, but a file in the image",
                       x->options->folder, node->path);
    if (!x->options->force) {
        (void)err_set(x->err, CHR_E_EXISTS, "%s/%s is there already", x->options->folder,
                      node->path);
        return err_hint(x->err, "use --force to replace files");
    }
    if (same_inode(&st, &x->input))
        return err_set(x->err, CHR_E_REFUSED, "%s/%s is the image itself", x->options->folder,
                       node->path);
    return 0;
}

static int unpack_file(struct unpacking *x, size_t index)
{
    const struct file_node *node = &x->tree->nodes[index];
    char name[STAGED_NAME_SIZE];
    AUTO_CLOSE int fd = -1;

    if (check_old(x, node) < 0)
        return -1;
    staged_name(index, name);
    fd = openat(x->staging, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(x->err, errno, "cannot create %s in %s", node->path, x->options->folder);
    x->states[index] = STAGED;
    if (unpack_contents(x->options->device, node, fd, x->err) < 0)
        return -1;
    x->report->files++;
    x->report->bytes += node->size;
    return 0;
}

/* Without --force nothing is replaced, not even what came after check_old(). */
static int publish_file(struct unpacking *x, size_t index)
{
    const struct file_node *node = &x->tree->nodes[index];
    int folder = folder_of(x, node->parent);
    char name[STAGED_NAME_SIZE];

    if (folder < 0)
        return no_folder(x, node->parent);
    staged_name(index, name);
    if (rename_to_free_name(x->staging, name, folder, node->name) == 0) {
        x->states[index] = CREATED;
        return 0;
    }
    if (errno == EEXIST && x->options->force &&
        renameat(x->staging, name, folder, node->name) == 0) {
        x->states[index] = ABSENT; /* what it replaced cannot come back */
        return 0;
    }
    return err_errno(x->err, errno, "cannot name %s in %s", node->path, x->options->folder);
}

/* All is written: give the files their names. */
static int publish_files(struct unpacking *x)
{
    for (size_t i = 1; i < x->tree->count; i++)
        if (x->states[i] == STAGED && publish_file(x, i) < 0)
            return -1;
    return 0;
}

static int unpack_folder(struct unpacking *x, size_t index)
{
    const struct file_node *node = &x->tree->nodes[index];
    int parent = folder_of(x, node->parent);

    if (parent < 0)
        return no_folder(x, node->parent);
    if (mkdirat(parent, node->name, 0700) == 0)
        x->states[index] = CREATED;
    else if (errno != EEXIST)
        return err_errno(x->err, errno, "cannot create the folder %s", node->path);
    if (folder_of(x, index) < 0)
        return no_folder(x, index);
    x->report->folders++;
    return 0;
}

static int unpack_node(struct unpacking *x, size_t index)
{
    const struct file_node *node = &x->tree->nodes[index];

    if (node->kind == FILE_FOLDER)
        return unpack_folder(x, index);
    if (node->kind == FILE_REGULAR)
        return unpack_file(x, index);
    if (x->options->skip_others) {
        x->report->skipped++;
        return 0;
    }
    return err_set(x->err, CHR_E_REFUSED, "%s is a link or a device, which is not extracted",
                   node->path);
}

static int open_target(struct unpacking *x)
{
    const char *folder = x->options->folder;

    if (folder[0] == '\0')
        return err_set(x->err, CHR_E_USAGE, "the name of the folder to write to is empty");
    if (mkdir(folder, 0777) == 0) {
        x->states[0] = CREATED;
    } else if (errno != EEXIST) {
        (void)err_errno(x->err, errno, "cannot create the folder %s", folder);
        return x->err->code == CHR_E_MISSING
                   ? err_hint(x->err, "make the folder above it first: mkdir -p") : -1;
    }
    x->target = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (x->target < 0 && errno == ENOTDIR)
        return err_set(x->err, CHR_E_USAGE, "%s is a file; name a folder to write to", folder);
    if (x->target < 0)
        return err_errno(x->err, errno, "cannot open the folder %s", folder);
    return 0;
}

static int unpack_all(struct unpacking *x)
{
    const struct file_tree *tree = x->tree;

    if (open_target(x) < 0 || make_staging(x) < 0)
        return -1;
    for (size_t i = 1; i < tree->count; i++)
        if (unpack_node(x, i) < 0)
            return -1;
    if (publish_files(x) < 0)
        return -1;
    /* Last, and the deepest first: writing into a folder changes its time. */
    for (size_t i = tree->count - 1; i > 0; i--)
        if (tree->nodes[i].kind == FILE_FOLDER &&
            (folder_of(x, i) < 0 || set_attributes(x->folder, &tree->nodes[i]) < 0))
            return err_errno(x->err, errno, "cannot set mode and time of %s", tree->nodes[i].path);
    return 0;
}

/* A failed run leaves nothing: what it made goes again, the deepest first. */
static void remove_created(struct unpacking *x)
{
    const struct file_tree *tree = x->tree;

    for (size_t i = tree->count - 1; i > 0; i--) {
        const struct file_node *node = &tree->nodes[i];
        char name[STAGED_NAME_SIZE];

        staged_name(i, name);
        if (x->states[i] == STAGED)
            (void)unlinkat(x->staging, name, 0);
        else if (x->states[i] == CREATED)
            (void)unlinkat(folder_of(x, node->parent), node->name,
                           node->kind == FILE_FOLDER ? AT_REMOVEDIR : 0);
    }
}

static void remove_staging(struct unpacking *x)
{
    if (x->staging < 0)
        return;
    (void)close(x->staging);
    (void)unlinkat(x->target, x->staging_name, AT_REMOVEDIR);
}

static int run_unpacking(struct unpacking *x)
{
    int result = unpack_all(x);

    if (result < 0)
        remove_created(x);
    remove_staging(x);
    if (result < 0 && x->states[0] == CREATED)
        (void)rmdir(x->options->folder);
    return result;
}

int unpack_tree(const struct unpack *options, struct unpack_report *report, struct chr_error *err)
{
    size_t count = options->tree->count;
    struct unpacking x = {.options = options, .report = report, .tree = options->tree,
                          .staging = -1, .target = -1, .folder = -1, .err = err};
    AUTO_FREE enum state *states = mem_new(count, sizeof *states, err);
    int result;

    if (stat(options->image, &x.input) < 0)
        return err_errno(err, errno, "%s: cannot stat", options->image);
    if (states == NULL)
        return -1;
    x.states = states;
    result = run_unpacking(&x);
    cleanup_close(&x.folder);
    cleanup_close(&x.target);
    return result;
}
