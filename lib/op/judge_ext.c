/* e2fsck as judge, on a copy that costs what the partition's data costs. */
#include "op/judge_ext.h"

#include <stdio.h>

#include "fs/ext.h"
#include "op/ext_tools.h"

/* e2fsck(8), EXIT CODE */
#define E2FSCK_CLEAN 0
#define E2FSCK_CORRECTED 1
#define E2FSCK_ERRORS 4

/* What e2fsck writes on the copy is thrown away: any time will do. */
#define ANY_TIME 1

static int run_e2fsck(struct blk *copy, bool journal_only, int *status, char *output, size_t size,
                      struct chr_error *err)
{
    static const char *const replay[] = {"-p", "-E", "journal_only", NULL};
    static const char *const judge[] = {"-fn", NULL};

    return ext_tools_run("e2fsck", journal_only ? replay : judge, copy, ANY_TIME, status, output,
                         size, err);
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
        ext_tools_complaint(output, "e2fsck finds errors", out->problem, sizeof out->problem);
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
    if (ext_tools_copy(window, &copy, err) < 0)
        return -1;
    if (judge_by_e2fsck(copy, out, err) == 0)
        return 0;
    return err->code == CHR_E_MISSING ? judge_by_reading(window, out, err) : -1;
}
