/*
 * blk: a block device in user space.
 *
 * Everything in chrimg reads and writes disks through this interface: a raw
 * file, a zip member, a window (= a partition), an in-memory overlay and a
 * qcow2 image all implement it.  The functions below are the one door: they
 * check range and mode once, so that a back end sees only sound requests.
 *
 * Offsets and lengths are bytes, any alignment.  The argument order is the
 * same everywhere: device, offset, buffer, length, error.
 */
#ifndef CHRIMG_BLOCK_BLK_H
#define CHRIMG_BLOCK_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct blk;

/* What a stretch of a device holds. */
enum blk_kind {
    BLK_DATA, /* bytes that must be read */
    BLK_ZERO, /* reads as zeros, and the back end knows it without reading */
};

struct blk_extent {
    enum blk_kind kind;
    uint64_t length; /* bytes, at least 1, never past the end of the request */
};

/*
 * What a back end provides.  write, zero and flush may be NULL on a read-only
 * one, zero may be NULL anywhere (zeros are then written), extent may be NULL
 * (all is then data).  Requests are in range and not empty.  A short transfer
 * is an error; the back end names the place in its own terms.
 */
struct blk_ops {
    int (*read)(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err);
    int (*write)(struct blk *blk, uint64_t off, const void *buf, size_t len,
                 struct chr_error *err);
    int (*zero)(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err);
    int (*flush)(struct blk *blk, struct chr_error *err);
    int (*extent)(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                  struct chr_error *err);
    /* Release everything, the struct itself included, even on failure. */
    int (*close)(struct blk *blk, struct chr_error *err);
};

/* The head of every back end's own struct. */
struct blk {
    const struct blk_ops *ops;
    uint64_t size; /* bytes */
    bool writable;
    int fd; /* a descriptor whose byte N is this device's byte N, or -1 */
};

/* Fill BUF with LEN bytes from OFF.  Fails when the range is not within the device. */
int blk_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err);

/* Write LEN bytes at OFF.  Not durable before blk_flush(). */
int blk_write(struct blk *blk, uint64_t off, const void *buf, size_t len, struct chr_error *err);

/* Make LEN bytes from OFF read as zeros, without storage where that is possible. */
int blk_zero(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err);

/* For back ends: zeros by plain writes, where there is no cheaper way. */
int blk_write_zeros(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err);

/* Return when all that was written is on stable storage. */
int blk_flush(struct blk *blk, struct chr_error *err);

/* Say what lies at OFF, for at most LEN bytes; LEN is not 0. */
int blk_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
               struct chr_error *err);

/* Close and free; NULL is fine.  What was written and not flushed may be lost. */
int blk_close(struct blk *blk, struct chr_error *err);

/* For readers and for paths that have failed already: the result is dropped. */
void blk_cleanup(struct blk **blk);
#define AUTO_BLK CLEANUP(blk_cleanup)

/*
 * A window of PARENT: bytes [off, off + len) as a device of their own.  The
 * parent is borrowed and must outlive the window; closing the window leaves it.
 */
int blk_window_open(struct blk *parent, uint64_t off, uint64_t len, struct blk **out,
                    struct chr_error *err);

#endif
