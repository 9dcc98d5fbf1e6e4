/* e2fsck as judge, on a copy that costs what the partition's data costs. */
#include "op/judge_ext.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/raw.h"
#include "fs/ext.h"
#include "op/child.h"
#include "op/copy.h"

/* e2fsck(8), EXIT CODE */
#define E2FSCK_CLEAN 0
#define E2FSCK_CORRECTED 1
#define E2FSCK_ERRORS 4

/* A sparse file without a name, so that nothing is left whatever happens. */
static int copy_to_nameless(struct blk *window, struct blk **out, struct chr_error *err)
{
    const char *folder = getenv("TMPDIR");
    const struct progress no_progress = {0};
    AUTO_BLK struct blk *copy = NULL;
    char name[4096];
    int fd;

    (void)snprintf(name, sizeof name, "%s/chrimg-XXXXXX", folder != NULL ? folder : "/tmp");
    fd = mkostemp(name, 0); /* inherited by e2fsck on purpose */
    if (fd < 0)
        return err_errno(err, errno, "cannot create a temporary file in %s",
                         folder != NULL ? folder : "/tmp");
    (void)unlink(name);
    if (raw_from_fd(fd, "temporary file", 0, true, &copy, err) < 0 ||
        raw_resize(copy, window->size, err) < 0 || copy_disk(window, copy, &no_progress, err) < 0)
        return -1;
    *out = STEAL(copy);
    return 0;
}

/* The first line that is neither its banner nor a pass that it begins. */
static void first_complaint(const char *output, char *problem, size_t size)
{
    const char *line = output;

    while (*line != '\0') {
        size_t length = strcspn(line, "\n");

        if (length > 0 && strncmp(line, "e2fsck ", 7) != 0 && strncmp(line, "Pass ", 5) != 0) {
            (void)snprintf(problem, size, "%.*s", (int)length, line);
            return;
        }
        line += length + (line[length] == '\n');
    }
    (void)snprintf(problem, size, "e2fsck finds errors");
}

/* Debian's users have no sbin in their PATH. */
static const char *const programs[] = {"e2fsck", "/usr/sbin/e2fsck", "/sbin/e2fsck"};

static int run_e2fsck(struct blk *copy, bool journal_only, int *status, char *output, size_t size,
                      struct chr_error *err)
{
    char path[64];
    char *replay[] = {NULL, "-p", "-E", "journal_only", path, NULL};
    char *judge[] = {NULL, "-fn", path, NULL};
    char **argv = journal_only ? replay : judge;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", copy->fd);
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        argv[0] = (char *)programs[i];
        if (child_run(argv, output, size, status, err) == 0)
            return 0;
        if (err->code != CHR_E_MISSING)
            return -1;
    }
    return -1;
}

/* A journal that must be replayed is replayed on the copy first, as the router would. */
static int judge_by_e2fsck(struct blk *copy, struct ext_judgement *out, struct chr_error *err)
{
    char output[4096];
    int status;

    if (run_e2fsck(copy, true, &status, output, sizeof output, err) < 0)
        return -1;
    out->by_e2fsck = true;
    out->sound = (status & ~E2FSCK_CORRECTED) == E2FSCK_CLEAN;
    if (out->sound) {
        if (run_e2fsck(copy, false, &status, output, sizeof output, err) < 0)
            return -1;
        out->sound = status == E2FSCK_CLEAN;
    }
    if (!out->sound)
        first_complaint(output, out->problem, sizeof out->problem);
    if (!out->sound && (status & E2FSCK_ERRORS) == 0)
        return err_set(err, CHR_E_IO, "e2fsck failed with %d: %s", status, out->problem);
    return 0;
}

/* Without e2fsck: every folder, inode and block map, as libext2fs and our own limits see them. */
static int judge_by_reading(struct blk *window, struct ext_judgement *out, struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;
    AUTO_TREE struct file_tree tree = {0};
    struct chr_error problem;

    out->by_e2fsck = false;
    out->sound = ext_open(window, &ext, &problem) == 0 &&
                 ext_read_tree(ext, "", true, &tree, &problem) == 0;
    if (!out->sound && problem.code == CHR_E_IO) {
        *err = problem;
        return -1;
    }
    if (!out->sound)
        (void)snprintf(out->problem, sizeof out->problem, "%.190s", problem.message);
    return 0;
}

int judge_ext(struct blk *window, struct ext_judgement *out, struct chr_error *err)
{
    AUTO_BLK struct blk *copy = NULL;

    *out = (struct ext_judgement){0};
    if (copy_to_nameless(window, &copy, err) < 0)
        return -1;
    if (judge_by_e2fsck(copy, out, err) == 0)
        return 0;
    return err->code == CHR_E_MISSING ? judge_by_reading(window, out, err) : -1;
}
