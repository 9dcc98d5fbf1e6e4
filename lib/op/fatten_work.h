/*
 * What the parts of chr_fatten() share: fatten.c takes the input and gives the output,
 * fatten_describe.c says what becomes of the disk.
 */
#ifndef CHRIMG_OP_FATTEN_WORK_H
#define CHRIMG_OP_FATTEN_WORK_H

#include "op/analysis.h"
#include "op/image.h"

struct fatten {
    const struct chr_fatten_options *options;
    struct chr_fatten_report *report;
    struct chr_image *image;
    struct analysis *before;
    struct blk *overlay; /* over the image's disk: what becomes of it */
    unsigned notes_left_out;
    struct chr_error *err;
};

/*
 * Plan the FAT, write it and the mended tables into f->overlay, and tell f->report of it.
 * The input was looked at and is understood (f->before).  The image is not written to.
 */
int fatten_describe(struct fatten *f);

#endif
