/*
 * The bytes of a jbd2 journal (Linux kernel, Documentation/filesystems/ext4/journal.rst).
 * All numbers are big-endian.  A journal is a file of blocks as large as those of the
 * file system; block 0 is its superblock, the rest a ring.
 *
 * Every block of the ring that is not a copy of a block begins with
 *   0  4  magic number
 *   4  4  type
 *   8  4  sequence number of the transaction
 *
 * superblock (1024 bytes)             commit block
 *  12  4  block size                   12  1  checksum type     (checksum v1)
 *  16  4  blocks of the journal        13  1  checksum size     (checksum v1)
 *  20  4  first block of the ring      16  4  checksum
 *  24  4  first sequence number        48  8  seconds
 *  28  4  its block, 0: empty          56  4  nanoseconds
 *  32  4  error number
 *  36  4  compatible features         revoke block
 *  40  4  incompatible features        12  4  bytes in use, from 0 on
 *  44  4  read-only features           16     block numbers of 4 bytes (8 with 64bit)
 *  48 16  UUID
 *  64  4  users                       descriptor block: tags from 12 on, each followed by
 *  80  1  checksum type               a UUID of 16 bytes unless it has FLAG_SAME_UUID
 *  84  4  blocks for fast commits       0  4  block number         (checksum v3, 16 bytes)
 * 252  4  checksum                      4  4  flags
 *                                       8  4  block number, high half (with 64bit)
 *                                      12  4  checksum
 *                                       0  4  block number         (otherwise; 8 bytes,
 *                                       4  2  checksum (v2)         4 more with 64bit,
 *                                       6  2  flags                 2 more with checksum v2)
 *                                       8  4  block number, high half (with 64bit)
 *
 * With checksum v2 or v3 the last 4 bytes of descriptor and revoke blocks are a checksum.
 * All of these are CRC-32C from a seed made of the UUID, over the block with 0 in the
 * checksum's place; that of a tag is over the sequence number and the copied block.
 * Checksum v1 is one CRC-32 (big-endian) over descriptors and copies, in the commit block.
 */
#ifndef CHRIMG_FS_JOURNAL_FORMAT_H
#define CHRIMG_FS_JOURNAL_FORMAT_H

#include <stdint.h>

#define JOURNAL_MAGIC UINT32_C(0xC03B3998)
#define JOURNAL_SUPER_SIZE 1024
#define JOURNAL_MIN_BLOCKS 1024 /* what jbd2 and e2fsck ask for */
/* Bounds memory.  mke2fs makes up to 1 GiB by itself; these are 4 GiB in blocks of 4 KiB. */
#define JOURNAL_MAX_BLOCKS (1 << 20)
#define JOURNAL_MIN_FAST_BLOCKS 256 /* where the superblock says 0 */

enum {
    JOURNAL_OFF_MAGIC = 0,
    JOURNAL_OFF_TYPE = 4,
    JOURNAL_OFF_SEQUENCE = 8,
    JOURNAL_HEADER_SIZE = 12,

    JOURNAL_TYPE_DESCRIPTOR = 1,
    JOURNAL_TYPE_COMMIT = 2,
    JOURNAL_TYPE_SUPER_V1 = 3,
    JOURNAL_TYPE_SUPER_V2 = 4,
    JOURNAL_TYPE_REVOKE = 5,

    SUPER_OFF_BLOCK_SIZE = 12,
    SUPER_OFF_BLOCKS = 16,
    SUPER_OFF_FIRST = 20,
    SUPER_OFF_SEQUENCE = 24,
    SUPER_OFF_START = 28,
    SUPER_OFF_ERROR = 32,
    SUPER_OFF_COMPAT = 36,
    SUPER_OFF_INCOMPAT = 40,
    SUPER_OFF_RO_COMPAT = 44,
    SUPER_OFF_UUID = 48,
    SUPER_UUID_SIZE = 16,
    SUPER_OFF_USERS = 64,
    SUPER_OFF_CHECKSUM_TYPE = 80,
    SUPER_OFF_FAST_BLOCKS = 84,
    SUPER_OFF_CHECKSUM = 252,

    JOURNAL_COMPAT_CHECKSUM = 0x1,
    JOURNAL_INCOMPAT_REVOKE = 0x1,
    JOURNAL_INCOMPAT_64BIT = 0x2,
    JOURNAL_INCOMPAT_ASYNC_COMMIT = 0x4,
    JOURNAL_INCOMPAT_CSUM_V2 = 0x8,
    JOURNAL_INCOMPAT_CSUM_V3 = 0x10,
    JOURNAL_INCOMPAT_FAST_COMMIT = 0x20,

    CHECKSUM_TYPE_CRC32 = 1,
    CHECKSUM_TYPE_CRC32C = 4,
    CHECKSUM_SIZE = 4,

    COMMIT_OFF_CHECKSUM_TYPE = 12,
    COMMIT_OFF_CHECKSUM_SIZE = 13,
    COMMIT_OFF_CHECKSUM = 16,
    COMMIT_OFF_SECONDS = 48,

    REVOKE_OFF_BYTES = 12,
    REVOKE_HEADER_SIZE = 16,

    TAG_OFF_BLOCK = 0,
    TAG_OFF_CHECKSUM_V2 = 4,
    TAG_OFF_FLAGS = 6, /* in the low half of the 4 bytes of v3, too */
    TAG_OFF_BLOCK_HIGH = 8,
    TAG_OFF_CHECKSUM_V3 = 12,
    TAG_SIZE_V3 = 16,
    TAG_SIZE_64BIT = 12,
    TAG_SIZE_32BIT = 8,
    TAG_SIZE_CSUM_V2 = 2, /* more */
    TAG_UUID_SIZE = 16,

    TAG_FLAG_ESCAPED = 1, /* the block begins with the magic number, which the copy has as 0 */
    TAG_FLAG_SAME_UUID = 2,
    TAG_FLAG_LAST = 8,

    /* A fast commit area that is in use begins with this tag (ext4/journal.rst, fast commits);
     * these few numbers are little-endian. */
    FAST_TAG_HEAD = 9,
    FAST_OFF_SEQUENCE = 8,
};

#endif
