/*
 * Disk formats that are not ours (vmdk, vdi, vhdx, vpc): qemu-img reads and
 * writes them, where it is installed.
 */
#ifndef CHRIMG_OP_FOREIGN_H
#define CHRIMG_OP_FOREIGN_H

#include <stdint.h>

#include "base/error.h"

/* qemu-img's name for the format that PATH's ending means, or NULL: not a foreign one. */
const char *foreign_format_of(const char *path);

/* Whether the file at PATH begins like one of the foreign formats; a missing file does not. */
int foreign_source(const char *path, bool *foreign, struct chr_error *err);

/*
 * Refuse the file at PATH when its first SIZE bytes at HEAD, a sector at least, say that it is
 * none of our formats: another of qemu-img's, or compressed.  A raw disk may have a VHD's footer.
 */
int foreign_refuse(const char *path, const uint8_t *head, size_t size, struct chr_error *err);

/* Whether qemu-img is asked for FORMAT (its name). */
bool foreign_format(const char *format);

/*
 * Let qemu-img write what the foreign SOURCE holds to the new raw file RAW.
 * CHR_E_MISSING where it is not installed.
 */
int foreign_read(const char *source, const char *raw, struct chr_error *err);

/*
 * Let qemu-img write the raw file RAW to OUTPUT in FORMAT.  RAW lies in a private
 * folder on OUTPUT's file system; the file is made there, and takes RAW's mode.
 */
int foreign_write(const char *raw, const char *output, const char *format, bool force,
                  struct chr_error *err);

#endif
