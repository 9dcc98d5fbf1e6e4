/* Hints that are commands, for the image at hand. */
#ifndef CHRIMG_OP_WAY_OUT_H
#define CHRIMG_OP_WAY_OUT_H

#include "op/image.h"
#include "part/table.h"

/*
 * Put behind ERR's hint how e2fsck gets at the ext on PARTITION of IMAGE: where the hint
 * names e2fsck, and where an ext is damaged and there is no hint.  Returns -1.
 */
int way_out_by_e2fsck(const struct chr_image *image, const struct partition *partition,
                      struct chr_error *err);

/* PATH with ENDING instead of its own (NULL: as it is), as a word of the shell; the caller frees it. */
char *way_out_name(const char *path, const char *ending, struct chr_error *err);

#endif
