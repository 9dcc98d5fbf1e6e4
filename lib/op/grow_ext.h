/* An ext file system made to fill its partition, by resize2fs. */
#ifndef CHRIMG_OP_GROW_EXT_H
#define CHRIMG_OP_GROW_EXT_H

#include "block/blk.h"
#include "fs/ext.h"

struct grown_ext {
    bool grown;
    uint64_t old_size; /* bytes */
    uint64_t new_size;
    uint64_t free;     /* bytes, afterwards */
    bool replayed;     /* its journal was, first */
    char reason[CHR_REASON_SIZE]; /* why not grown, or "" */
};

/*
 * Let the ext on WINDOW (the partition, in an overlay) fill it.  e2fsck replays the
 * journal if need be and must have no complaint before (CHR_E_DAMAGED) and after;
 * all of this happens to a copy, whose differences are then written to WINDOW.
 * Where resize2fs is not installed, nothing is done and `reason` says so.
 */
int grow_ext(struct blk *window, struct grown_ext *out, struct chr_error *err);

#endif
