/* resize2fs on a copy, and what it changed written back. */
#include "op/grow_ext.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "op/ext_tools.h"

#define CHUNK (1u << 20)
#define GRAIN 4096
/* It waits in memory, twice with an undo file. */
#define MAX_CHANGED_BYTES (128u << 20)
/* e2fsck(8), EXIT CODE */
#define E2FSCK_CORRECTED 1
#define SUPERBLOCK 1024
#define SUPERBLOCK_WRITE_TIME 48
#define OUTPUT_SIZE 4096
#define PROBLEM_SIZE 200

struct grower {
    struct blk *copy;
    uint32_t clock; /* when the file system was written last: no clock of ours gets into it */
    struct chr_error *err;
};

static uint64_t size_of(const struct ext_super *super)
{
    return super->blocks * super->block_size;
}

static int read_clock(struct grower *g)
{
    uint8_t bytes[4];

    if (blk_read(g->copy, SUPERBLOCK + SUPERBLOCK_WRITE_TIME, bytes, sizeof bytes, g->err) < 0)
        return -1;
    g->clock = (uint32_t)max_u64(le32(bytes), 1);
    return 0;
}

/* ---- the programs ---- */

/* Run PROGRAM on the copy; what it complains of, else OTHERWISE, is PROBLEM if it fails. */
static int run(struct grower *g, const char *program, const char *const *arguments,
               const char *otherwise, int *status, char problem[PROBLEM_SIZE])
{
    char output[OUTPUT_SIZE];

    if (ext_tools_run(program, arguments, g->copy, g->clock, status, output, sizeof output,
                      g->err) < 0)
        return -1;
    ext_tools_complaint(output, otherwise, problem, PROBLEM_SIZE);
    return 0;
}

static int replay(struct grower *g)
{
    static const char *const arguments[] = {"-p", "-E", "journal_only", NULL};
    char problem[PROBLEM_SIZE];
    int status;

    if (run(g, "e2fsck", arguments, "it fails", &status, problem) < 0)
        return -1;
    if ((status & ~E2FSCK_CORRECTED) == 0)
        return 0;
    return err_set(g->err, CHR_E_DAMAGED, "its journal cannot be replayed: e2fsck: %s", problem);
}

static int check(struct grower *g, enum chr_code code, const char *when)
{
    static const char *const arguments[] = {"-fn", NULL};
    char problem[PROBLEM_SIZE];
    int status;

    if (run(g, "e2fsck", arguments, "it finds errors", &status, problem) < 0)
        return -1;
    return status == 0 ? 0 : err_set(g->err, code, "e2fsck, %s: %s", when, problem);
}

/* -f: that it was checked is known better here than by its dates. */
static int enlarge(struct grower *g)
{
    static const char *const arguments[] = {"-f", NULL};
    char problem[PROBLEM_SIZE];
    int status;

    if (run(g, "resize2fs", arguments, "it fails", &status, problem) < 0)
        return -1;
    if (status == 0) /* it has cut the file to whole blocks */
        return raw_resize(g->copy, g->copy->size, g->err);
    (void)err_set(g->err, CHR_E_REFUSED, "resize2fs: %s", problem);
    return err_hint(g->err, "--tables-only leaves it to RouterOS, which makes its file system "
                            "larger at its first boot");
}

/* ---- the differences ---- */

static int refuse_too_much(struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "more than %u MiB of the file system would change",
                  MAX_CHANGED_BYTES >> 20);
    return err_hint(err, "--tables-only leaves it to RouterOS, which makes its file system larger "
                         "at its first boot; or take a smaller size");
}

/* Write what differs of LEN bytes at OFF; *CHANGED counts the bytes. */
static int write_differences(const struct grower *g, struct blk *window, uint64_t off, size_t len,
                             uint8_t *new, uint8_t *old, uint64_t *changed)
{
    if (blk_read(g->copy, off, new, len, g->err) < 0 || blk_read(window, off, old, len, g->err) < 0)
        return -1;
    for (size_t at = 0; at < len; at += GRAIN) {
        size_t step = (size_t)min_u64(GRAIN, len - at);

        if (memcmp(new + at, old + at, step) == 0)
            continue;
        *changed += step;
        if (*changed > MAX_CHANGED_BYTES)
            return refuse_too_much(g->err);
        if (blk_write(window, off + at, new + at, step, g->err) < 0)
            return -1;
    }
    return 0;
}

/* Go over both, without reading where both are known to be zeros. */
static int take_over(const struct grower *g, struct blk *window)
{
    AUTO_FREE uint8_t *new = mem_new(1, CHUNK, g->err);
    AUTO_FREE uint8_t *old = mem_new(1, CHUNK, g->err);
    struct blk_extent here;
    struct blk_extent there;
    uint64_t changed = 0;
    uint64_t length;

    if (new == NULL || old == NULL)
        return -1;
    for (uint64_t off = 0; off < window->size; off += length) {
        if (blk_extent(g->copy, off, window->size - off, &here, g->err) < 0 ||
            blk_extent(window, off, window->size - off, &there, g->err) < 0)
            return -1;
        length = min_u64(here.length, there.length);
        if (here.kind == BLK_ZERO && there.kind == BLK_ZERO)
            continue;
        length = min_u64(length, CHUNK);
        if (write_differences(g, window, off, (size_t)length, new, old, &changed) < 0)
            return -1;
    }
    return 0;
}

/* ---- all of it ---- */

/* Where resize2fs is not installed, that is an answer and no error. */
static int explain_missing(const struct grower *g, struct grown_ext *out)
{
    if (g->err->code != CHR_E_MISSING)
        return -1;
    (void)snprintf(out->reason, sizeof out->reason,
                   "%.60s (e2fsprogs): RouterOS makes its file system larger at its first boot, "
                   "and until then there is no more room in it", g->err->message);
    return 0;
}

int grow_ext(struct blk *window, struct grown_ext *out, struct chr_error *err)
{
    AUTO_BLK struct blk *copy = NULL;
    struct grower g = {.err = err};
    struct ext_super before;
    struct ext_super after;

    *out = (struct grown_ext){0};
    if (ext_super_read(window, &before, err) < 0)
        return -1;
    out->old_size = out->new_size = size_of(&before);
    out->free = before.free_blocks * before.block_size;
    if (window->size - out->old_size < before.block_size) {
        (void)snprintf(out->reason, sizeof out->reason, "it fills its partition already");
        return 0;
    }
    if (ext_tools_copy(window, &copy, err) < 0)
        return -1;
    g.copy = copy;
    out->replayed = before.needs_recovery;
    if (read_clock(&g) < 0 || (before.needs_recovery && replay(&g) < 0) ||
        check(&g, CHR_E_DAMAGED, "before it grows") < 0 || enlarge(&g) < 0) {
        out->replayed = false;
        return explain_missing(&g, out);
    }
    if (check(&g, CHR_E_INTERNAL, "after it has grown") < 0 || take_over(&g, window) < 0 ||
        ext_super_read(window, &after, err) < 0)
        return -1;
    out->new_size = size_of(&after);
    out->free = after.free_blocks * after.block_size;
    out->grown = out->new_size > out->old_size;
    if (!out->grown)
        (void)snprintf(out->reason, sizeof out->reason,
                       "resize2fs leaves it: too little room was added for it to use");
    return 0;
}
