/*
 * Changing an image in place so that a crash at any moment leaves the old
 * image, the new one, or one that the next run brings back to the old.
 *
 * Before the first byte of the image changes, what will be overwritten is kept
 * in an undo file beside it, ".NAME.chrimg-undo", on stable storage.  It is
 * removed when the new bytes are on stable storage: that is the commit point.
 *
 * The file, little-endian:
 *     0 16  "chrimg undo 2\n\0\0"
 *    16  8  size of the image
 *    24  4  number of sectors
 *    28  4  CRC-32 of all sectors' records
 *    32  4  CRC-32 of bytes 0 to 31
 *    36  8  size that the image gets, or 0: it keeps its own
 *    44  4  CRC-32 of bytes 36 to 43, if they are not 0
 *    48     zeros
 *   512     for each sector: u64 offset, u32 CRC-32 of its new bytes, 512 old bytes,
 *           zeros where the image did not reach; in ascending order
 *
 * The header is written when the records are on stable storage, and the image
 * when the header is.  So a header of zeros, or none, was cut off while the file
 * was written, and the image was not touched yet; a header or records that are
 * wrong are damage, and the image may be torn.  The new bytes' CRCs tell whether
 * the image is still the one that was left: each sector must be as before or as
 * intended, and behind the old end there must be nothing else, before it is cut off.
 */
#ifndef CHRIMG_OP_UNDO_H
#define CHRIMG_OP_UNDO_H

#include "block/blk.h"

/*
 * CHR_E_REFUSED where no undo file could last, or be found again: the image at
 * PATH is a device, has hard links, or too long a name.
 */
int undo_check(const char *path, const struct blk *file, struct chr_error *err);

/*
 * Write the changes that OVERLAY holds into FILE, the image at PATH, which is
 * open for writing and locked.  A larger OVERLAY makes FILE as large; taking that
 * back makes it as small again.
 */
int undo_commit(const char *path, struct blk *file, struct blk *overlay, struct chr_error *err);

/* Take an interrupted change back, if there is one: *DONE says whether. */
int undo_roll_back(const char *path, struct blk *file, bool *done, struct chr_error *err);

/*
 * The same without writing: *VIEW is an overlay on FILE that shows the image as
 * it was, or NULL when nothing was interrupted.
 */
int undo_view(const char *path, struct blk *file, struct blk **view, struct chr_error *err);

/*
 * Another image is at PATH now: remove the undo file of the one before, or the
 * next run would put old sectors into the new.  Not durable before the folder is.
 */
int undo_forget(const char *path, struct chr_error *err);

#endif
