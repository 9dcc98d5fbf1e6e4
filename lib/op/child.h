/* Other people's programs, for what they do better. */
#ifndef CHRIMG_OP_CHILD_H
#define CHRIMG_OP_CHILD_H

#include <stddef.h>

#include "base/error.h"

/*
 * Run ARGV (searched in PATH) with no input, and wait.  What it prints, stdout
 * and stderr together, is kept in OUTPUT up to SIZE - 1 bytes; the rest is
 * dropped.  *STATUS is its exit code, or 128 + signal.  CHR_E_MISSING when there
 * is no such program.
 */
int child_run(char *const argv[], char *output, size_t size, int *status, struct chr_error *err);

#endif
