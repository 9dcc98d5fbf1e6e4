/*
 * Reading and writing the virtual disk.
 */
#ifndef CHRIMG_QCOW2_IO_H
#define CHRIMG_QCOW2_IO_H

#include "qcow2/image.h"

extern const struct blk_ops image_ops;

int image_close(struct blk *blk, struct chr_error *err); /* in image.c */

#endif
