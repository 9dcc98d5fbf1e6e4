/* What writing an undo file (undo_write.c) and taking back by it (undo.c) share. */
#ifndef CHRIMG_OP_UNDO_FILE_H
#define CHRIMG_OP_UNDO_FILE_H

#include <zlib.h>

#include "block/overlay.h"

#define UNDO_MAGIC "chrimg undo 2\n\0"
#define UNDO_SUFFIX ".chrimg-undo"

enum {
    OFF_IMAGE_SIZE = 16,
    OFF_COUNT = 24,
    OFF_CRC = 28,
    OFF_HEADER_CRC = 32,
    OFF_NEW_SIZE = 36,
    OFF_NEW_SIZE_CRC = 44,
    HEADER_SIZE = 512, /* a sector of its own, which is written whole or not at all */
    RECORD_CRC = 8,
    RECORD_BYTES = 12,
    RECORD_SIZE = RECORD_BYTES + OVERLAY_SECTOR,
    /* No change of ours touches more; bounds what a stray file can make us read. */
    MAX_RECORDS = 1 << 20,
    RECORDS_AT_ONCE = 128, /* written, or read, in one go */
};

static inline uint32_t crc_of(const void *bytes, size_t len)
{
    return (uint32_t)crc32(0, bytes, (uInt)len);
}

/*
 * The undo file of the image at PATH, by its real name, so that a symbolic link to the
 * image leads to the same one.  The caller frees it.
 */
char *undo_path_of(const char *path, struct chr_error *err);

/* Remove it for good: that is the commit point. */
int undo_remove(const char *undo_path, struct chr_error *err);

#endif
