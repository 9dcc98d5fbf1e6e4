/*
 * The image inside of a .zip, read without unpacking it to disk.
 */
#ifndef CHRIMG_BLOCK_ZIP_H
#define CHRIMG_BLOCK_ZIP_H

#include "block/blk.h"

/* Whether the file at PATH begins like a zip archive. */
bool zip_probe(const uint8_t *head, size_t len);

/*
 * Open the one image in the archive PATH: its only file, or its only *.img.
 * Read-only.  Reads may jump: the decompressor's state is kept every so many
 * bytes (a few MiB of memory in all).  The CRC is checked when the end has
 * been read, and a wrong one is an error of that read; of a stored member it is
 * checked here.
 */
int zip_blk_open(const char *path, struct blk **out, struct chr_error *err);

/* Read what is left to the end, so that the CRC is known to be right. */
int zip_blk_verify(struct blk *blk, struct chr_error *err);

#endif
