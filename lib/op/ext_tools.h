/* The programs of e2fsprogs, on a private copy of a file system. */
#ifndef CHRIMG_OP_EXT_TOOLS_H
#define CHRIMG_OP_EXT_TOOLS_H

#include "block/blk.h"

/*
 * Copy WINDOW to a sparse file without a name, so that nothing is left whatever
 * happens.  The programs inherit it.
 */
int ext_tools_copy(struct blk *window, struct blk **out, struct chr_error *err);

#define EXT_TOOLS_ARGUMENTS 6

/*
 * Run PROGRAM ("e2fsck", "resize2fs") with ARGUMENTS (NULL at the end, at most
 * EXT_TOOLS_ARGUMENTS) and COPY, looked for where administrators have it, too.  The
 * time that it writes anywhere is CLOCK (seconds since 1970, not 0), so that the same
 * image gives the same bytes.  *STATUS is its exit code; CHR_E_MISSING: not installed.
 */
int ext_tools_run(const char *program, const char *const *arguments, struct blk *copy,
                  uint32_t clock, int *status, char *output, size_t size, struct chr_error *err);

/* The first line of OUTPUT that is neither a banner nor a pass that begins; else OTHERWISE. */
void ext_tools_complaint(const char *output, const char *otherwise, char *text, size_t size);

#endif
