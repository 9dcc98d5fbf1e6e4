/* Copying a disk: time follows its data, and what is zero stays a hole. */
#ifndef CHRIMG_OP_COPY_H
#define CHRIMG_OP_COPY_H

#include "block/overlay.h"

struct progress {
    void (*call)(uint64_t done, uint64_t total, void *context); /* may be NULL */
    void *context;
};

/*
 * Copy all of SOURCE to TARGET, which is as large, new and all zeros.  Where
 * the file system can share blocks (reflink), nothing is copied at all.
 */
int copy_disk(struct blk *source, struct blk *target, const struct progress *progress,
              struct chr_error *err);

/* Write the changed sectors of OVERLAY to TARGET: those of one run, or all. */
int copy_run(struct blk *overlay, const struct overlay_run *run, struct blk *target,
             struct chr_error *err);
int copy_changes(struct blk *overlay, struct blk *target, struct chr_error *err);

#endif
