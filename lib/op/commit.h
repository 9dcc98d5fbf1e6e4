/*
 * Carrying out a change in place: all of it, or nothing, whatever happens.
 */
#ifndef CHRIMG_OP_COMMIT_H
#define CHRIMG_OP_COMMIT_H

#include "op/image.h"

/*
 * Whether IMAGE is one that can be changed in place at all: CHR_E_REFUSED for a
 * snapshot, an image in a zip, and a raw one beside which no undo file could last.
 */
int commit_check(const struct chr_image *image, struct chr_error *err);

/*
 * Write the changes that OVERLAY (of IMAGE's disk) holds.  IMAGE is open for writing.
 * A raw image is changed under an undo file (undo.h); in a qcow2 the flush is the one
 * write of the header that puts everything in force (qcow2.h).
 */
int commit_in_place(struct chr_image *image, struct blk *overlay, struct chr_error *err);

#endif
