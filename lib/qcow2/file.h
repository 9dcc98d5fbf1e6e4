/*
 * The host file of an image: a blk that can grow.
 */
#ifndef CHRIMG_QCOW2_FILE_H
#define CHRIMG_QCOW2_FILE_H

#include "qcow2/qcow2.h"

struct host_file {
    struct blk *blk;
    qcow2_resize_fn *resize;
};

/*
 * Read LEN bytes at OFF.  The last cluster of an image may reach past the end of
 * the file and is zeros there; a read that starts past the end is an error.
 */
int host_read(const struct host_file *file, uint64_t off, void *buf, size_t len,
              struct chr_error *err);

/* Write LEN bytes at OFF; the file grows as needed. */
int host_write(const struct host_file *file, uint64_t off, const void *buf, size_t len,
               struct chr_error *err);

/* Make the file at least SIZE bytes long. */
int host_grow(const struct host_file *file, uint64_t size, struct chr_error *err);

#endif
