/* A device that looks larger than it is: zeros behind its end, for reading. */
#ifndef CHRIMG_BLOCK_GROWN_H
#define CHRIMG_BLOCK_GROWN_H

#include "block/blk.h"

/* PARENT (borrowed) as a device of SIZE bytes, which is at least its own size. */
int grown_open(struct blk *parent, uint64_t size, struct blk **out, struct chr_error *err);

#endif
