/*
 * An in-memory overlay: what is written stays in memory, sector by sector,
 * and the device below is only read.
 *
 * A change is first made here, looked at, and only then carried out: on a
 * copy, or in place under an undo file.  Memory is what was written; with
 * overlay_spill() no more than 16 MiB of it, and 32 bytes for each 4 KiB.
 */
#ifndef CHRIMG_BLOCK_OVERLAY_H
#define CHRIMG_BLOCK_OVERLAY_H

#include "block/blk.h"

#define OVERLAY_SECTOR 512

/* Open an overlay on BASE, which is borrowed; the size is a whole number of sectors. */
int overlay_open(struct blk *base, struct blk **out, struct chr_error *err);

/*
 * From here on, let what is too much for memory go into a file without a name in FOLDER,
 * which goes when the overlay is closed, or the process ends.  What was written before
 * stays in memory: it may hold a secret.  Where there can be no such file, or no room for
 * it, all stays.
 */
int overlay_spill(struct blk *overlay, const char *folder, struct chr_error *err);

#define OVERLAY_RUN_MAX 4096

/* A stretch of changed sectors, contiguous; its bytes are read from the overlay. */
struct overlay_run {
    uint64_t off;
    size_t length; /* OVERLAY_RUN_MAX at most */
};

/*
 * Find the first run of changed sectors at or after OFF; false when there is
 * none.  Runs come in ascending order; neighbours may be two runs.
 */
bool overlay_next(struct blk *overlay, uint64_t off, struct overlay_run *run);

/* Forget the sectors that are the same as below. */
int overlay_drop_unchanged(struct blk *overlay, struct chr_error *err);

/* How many bytes of changed sectors there are. */
uint64_t overlay_changed(const struct blk *overlay);

#endif
