/*
 * replay: recover the ext in an image file, as a command of the program would: in an
 * overlay, verified, then written.
 *
 *   replay IMAGE [OFFSET LENGTH]      of a partition, in bytes
 *
 * Prints "transactions N blocks N revoked N orphans N changed N" (the last: bytes of
 * changed sectors).  A failure is printed as "error CODE: MESSAGE", then "hint: ...",
 * leaves the file as it was, and exits with 1; with 2 where the verifier refuses what
 * has been recovered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/overlay.h"
#include "block/raw.h"
#include "fs/ext_verify.h"
#include "fs/journal.h"
#include "op/copy.h"

static int carry_out(struct blk *overlay, struct blk *image, struct chr_error *err)
{
    if (overlay_drop_unchanged(overlay, err) < 0)
        return -1;
    if (copy_changes(overlay, image, err) < 0)
        return -1;
    return 0;
}

static int fail(int status, const struct chr_error *err)
{
    printf("error %d: %s\nhint: %s\n", (int)err->code, err->message, err->hint);
    return status;
}

int main(int argc, char **argv)
{
    AUTO_BLK struct blk *image = NULL;
    AUTO_BLK struct blk *partition = NULL;
    AUTO_BLK struct blk *overlay = NULL;
    struct journal_report report;
    struct chr_error err = {0};
    uint64_t off = 0;
    uint64_t len;

    if (argc != 2 && argc != 4) {
        (void)fprintf(stderr, "usage: replay IMAGE [OFFSET LENGTH]\n");
        return 64;
    }
    if (raw_open(argv[1], RAW_WRITE, &image, &err) < 0)
        return fail(1, &err);
    len = image->size;
    if (argc == 4) {
        off = strtoull(argv[2], NULL, 10);
        len = strtoull(argv[3], NULL, 10);
    }
    if (blk_window_open(image, off, len, &partition, &err) < 0 ||
        overlay_open(partition, &overlay, &err) < 0 ||
        journal_recover(overlay, &report, &err) < 0)
        return fail(1, &err);
    if (ext_verify(overlay, &err) < 0)
        return fail(2, &err);
    if (carry_out(overlay, partition, &err) < 0)
        return fail(1, &err);
    printf("transactions %" PRIu32 " blocks %" PRIu32 " revoked %" PRIu32 " orphans %" PRIu32
           " changed %" PRIu64 "\n",
           report.transactions, report.blocks, report.revoked, report.orphans,
           overlay_changed(overlay));
    return 0;
}
