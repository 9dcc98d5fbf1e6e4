/*
 * A file (or block device) as a blk, with QEMU's image locks on it.
 */
#ifndef CHRIMG_BLOCK_RAW_H
#define CHRIMG_BLOCK_RAW_H

#include "block/blk.h"

enum raw_mode {
    RAW_READ,          /* read only, shared lock: others may read */
    RAW_READ_UNLOCKED, /* read only, no lock: contents may change under us */
    RAW_WRITE,         /* read and write, exclusive lock */
};

/* Open PATH.  Refuses folders, and files that another process holds (CHR_E_BUSY). */
int raw_open(const char *path, enum raw_mode mode, struct blk **out, struct chr_error *err);

/*
 * Make a device of the open descriptor FD, SIZE bytes long; takes FD over, on
 * failure too.  NAME is for messages and is copied.  No lock is taken.
 */
int raw_from_fd(int fd, const char *name, uint64_t size, bool writable, struct blk **out,
                struct chr_error *err);

/* Bytes that the file occupies on the host (st_blocks). */
uint64_t raw_allocated(const struct blk *blk);

/*
 * Grow or shrink the file.  For formats that live in a file (qcow2); a device
 * of raw_open() keeps its size for partitions.
 */
int raw_resize(struct blk *blk, uint64_t size, struct chr_error *err);

#endif
