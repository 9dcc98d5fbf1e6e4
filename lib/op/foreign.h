/*
 * Disk formats that are not ours (vmdk, vdi, vhdx, vpc): qemu-img reads and
 * writes them, where it is installed.
 */
#ifndef CHRIMG_OP_FOREIGN_H
#define CHRIMG_OP_FOREIGN_H

#include "base/error.h"

/* qemu-img's name for the format that PATH's ending means, or NULL: not a foreign one. */
const char *foreign_format_of(const char *path);

/* Whether the file at PATH begins like one of the foreign formats; a missing file does not. */
int foreign_source(const char *path, bool *foreign, struct chr_error *err);

/*
 * Let qemu-img convert SOURCE to OUTPUT in FORMAT (its names), written beside and
 * renamed.  CHR_E_USAGE for a format it is never asked for, CHR_E_MISSING where
 * it is not installed.
 */
int foreign_convert(const char *source, const char *output, const char *format,
                    const struct chr_convert_options *options, struct chr_error *err);

#endif
