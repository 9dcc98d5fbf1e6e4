/*
 * A new image, laid out from front to back: clusters are given out in order, and the
 * tables that describe them follow as soon as they are complete.  Memory holds the
 * L1 table, one L2 table and a refcount block or two.
 */
#ifndef CHRIMG_QCOW2_LAYOUT_H
#define CHRIMG_QCOW2_LAYOUT_H

#include "qcow2/header.h"

struct layout;

/* Begin an image as HEADER describes it (geometry and size; the tables come from here). */
int layout_new(const struct host_file *file, const struct header *header, struct layout **out,
               struct chr_error *err);
void layout_free(struct layout *layout);

/*
 * The next cluster of the disk, and each COUNT in a row: guest cluster NUMBER must grow
 * from call to call.  DATA NULL = a place whose content is zeros.
 */
int layout_add_data(struct layout *layout, uint64_t number, uint64_t count, const uint8_t *data,
                    struct chr_error *err);

/*
 * The same for one compressed cluster of LENGTH bytes.  *FITS is false, and nothing is
 * done, when the file is too long for compressed clusters.
 */
int layout_add_compressed(struct layout *layout, uint64_t number, const uint8_t *data,
                          size_t length, bool *fits, struct chr_error *err);

/* Write what remains; the header last, so that a broken-off image is none. */
int layout_finish(struct layout *layout, struct chr_error *err);

#endif
