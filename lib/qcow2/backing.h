/*
 * Backing files: what an image reads where it has no cluster of its own.
 */
#ifndef CHRIMG_QCOW2_BACKING_H
#define CHRIMG_QCOW2_BACKING_H

#include "qcow2/header.h"

/*
 * Open the backing file that HEADER names, for an image at PATH (or NULL) that is
 * itself DEPTH backing files away from the one the user asked for.  *OUT is NULL
 * when there is none.  The format must be stated in the image: a guess would let a
 * guest that writes a qcow2 header to its raw disk read any file of the host.
 */
int backing_open(const struct header *header, const char *path, unsigned depth, struct blk **out,
                 struct chr_error *err);

/* qcow2_open() for an image DEPTH backing files away from the first; see image.c. */
int image_open_at_depth(struct blk *file, const struct qcow2_open_options *options,
                        unsigned depth, struct blk **out, struct chr_error *err);

#endif
