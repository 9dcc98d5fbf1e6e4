/* Where programs and temporary files are, by the environment. */
#ifndef CHRIMG_BASE_ENVIRONMENT_H
#define CHRIMG_BASE_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether PATH, without links that lead nowhere, is a file that we may execute. */
bool is_program(const char *path);

/*
 * The program NAME, which has no slash, in the folders of $PATH, then in those where
 * systems and package managers keep programs (a service's PATH may lack them).  An empty
 * entry of PATH and a relative one mean the current folder, or one below it: they are
 * passed over, as what lies beside an image is not to be run for a program of the host,
 * and the program may be started in another folder.  Its absolute path goes to OUT; false
 * and "" when there is none that fits in SIZE.
 */
bool find_program(const char *name, char *out, size_t size);

/* $TMPDIR; /tmp where that is not set, or empty.  Not to be freed; valid until it is set anew. */
const char *temporary_folder(void);

#endif
