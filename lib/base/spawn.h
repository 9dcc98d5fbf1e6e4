/* Starting another program with its output in our hands. */
#ifndef CHRIMG_BASE_SPAWN_H
#define CHRIMG_BASE_SPAWN_H

#include <sys/types.h>

/*
 * Start ARGV (searched in PATH, unless argv[0] has a slash) with no input.  Its
 * standard output is OUTPUT, its standard error COMPLAINT, which may be the same
 * descriptor; -1 for COMPLAINT throws it away.  Both stay the caller's to close.
 * Returns 0, or an errno.
 */
int spawn_program(char *const argv[], int output, int complaint, pid_t *pid);

#endif
