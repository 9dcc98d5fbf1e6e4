/* An open image: the file, its format, and the disk inside. */
#ifndef CHRIMG_OP_IMAGE_H
#define CHRIMG_OP_IMAGE_H

#include "block/blk.h"

struct chr_image {
    char *path;
    char *snapshot; /* of IMG@TAG, or NULL */
    enum chr_format format;
    struct blk *file; /* raw: the file itself; NULL where the format's reader owns it */
    struct blk *undo; /* an interrupted change, taken back in memory; or NULL */
    struct blk *disk; /* what the guest sees; one of the two above, or its own */
    uint64_t allocated;
    bool recovered;
};

/* Whether what the image was packed in is whole: a zip's CRC; others have none. */
int image_verify(struct chr_image *image, struct chr_error *err);

/* Put the image's name, with the TAG of a snapshot, before the message; returns -1. */
int image_context(const struct chr_image *image, struct chr_error *err);

void image_cleanup(struct chr_image **image);
#define AUTO_IMAGE CLEANUP(image_cleanup)

#endif
