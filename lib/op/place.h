/* Paths in an image, as users write them. */
#ifndef CHRIMG_OP_PLACE_H
#define CHRIMG_OP_PLACE_H

#include "base/error.h"

/*
 * Copy PATH to OUT, which has as much room and may be PATH itself: without "." and with one
 * slash between names, none at either end.  ".." is CHR_E_USAGE, with a message about GIVEN.
 */
int place_normalise(const char *path, const char *given, char *out, struct chr_error *err);

#endif
