/*
 * A verifier for an ext that ext_edit.h has changed: it shares no code with the
 * writer beyond libext2fs's reading, and finds what `e2fsck -fn` would: every block has
 * one owner, every name an inode, every index leads to its names, every count and
 * checksum is right.  Not looked at: the contents of extended attributes and of the
 * journal, and the backups of superblock and descriptors.
 *
 * Time follows the inodes in use and the folders' blocks; memory is one bit a block and
 * 24 bytes an inode.
 */
#ifndef CHRIMG_FS_EXT_VERIFY_H
#define CHRIMG_FS_EXT_VERIFY_H

#include "block/blk.h"

/* CHR_E_DAMAGED with the first contradiction. */
int ext_verify(struct blk *device, struct chr_error *err);

#endif
