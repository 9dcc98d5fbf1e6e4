/* Programs that know a secret: what they print goes through a pipe into a secret buffer. */
#ifndef CHRIMG_RSC_CHILD_H
#define CHRIMG_RSC_CHILD_H

#include "rsc/secret.h"

/*
 * Run ARGV (searched in PATH) with no input, and append its standard output to OUT,
 * at most LIMIT bytes.  It inherits the environment.  CHR_E_MISSING when there is no
 * such program; CHR_E_REFUSED when it fails, with what it wrote to standard error if it
 * printed nothing, or when it prints more: it is killed then.
 */
int rsc_capture(char *const argv[], size_t limit, struct secret *out, struct chr_error *err);

#endif
