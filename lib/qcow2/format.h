/*
 * qcow2 on disk: the constants of QEMU's docs/interop/qcow2.txt, and the limits
 * that every number of an image meets before it is used.
 *
 * All fields are big-endian.  Within lib/qcow2 a "cluster" without further word
 * is a host cluster: a unit of the file, numbered from 0 by its offset.
 */
#ifndef CHRIMG_QCOW2_FORMAT_H
#define CHRIMG_QCOW2_FORMAT_H

#include <stdint.h>

/*
 * Header ("Header" in the specification):
 *
 *     0  magic "QFI\xfb"               56  refcount table, clusters
 *     4  version, 2 or 3               60  number of snapshots
 *     8  backing file name, offset     64  snapshot table, offset
 *    16  backing file name, length     72  incompatible features (version 3 from here)
 *    20  cluster bits                  80  compatible features
 *    24  virtual size                  88  autoclear features
 *    32  encryption method             96  refcount order
 *    36  L1 entries                   100  header length
 *    40  L1 table, offset             104  compression type (1 byte)
 *    48  refcount table, offset
 */
enum {
    HEADER_MAGIC = 0,
    HEADER_VERSION = 4,
    HEADER_BACKING_OFFSET = 8,
    HEADER_BACKING_LENGTH = 16,
    HEADER_CLUSTER_BITS = 20,
    HEADER_SIZE = 24,
    HEADER_CRYPT = 32,
    HEADER_L1_ENTRIES = 36,
    HEADER_L1_OFFSET = 40,
    HEADER_REFTABLE_OFFSET = 48,
    HEADER_REFTABLE_CLUSTERS = 56,
    HEADER_SNAPSHOT_COUNT = 60,
    HEADER_SNAPSHOT_OFFSET = 64,
    HEADER_V2_LENGTH = 72,
    HEADER_INCOMPATIBLE = 72,
    HEADER_COMPATIBLE = 80,
    HEADER_AUTOCLEAR = 88,
    HEADER_REFCOUNT_ORDER = 96,
    HEADER_LENGTH = 100,
    HEADER_V3_LENGTH = 104,
    HEADER_COMPRESSION = 104,
    HEADER_OUR_LENGTH = 112, /* what we write: version 3 with compression type and padding */
};

#define QCOW2_MAGIC 0x514649fbu

/* Header extensions: type, length, data padded to 8. */
enum {
    EXTENSION_HEAD = 8,
    EXTENSION_END = 0,
};
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u
#define EXTENSION_BITMAPS 0x23852875u
#define EXTENSION_DATA_FILE 0x44415441u
#define EXTENSION_ENCRYPTION 0x0537be77u

/* Incompatible features. */
#define INCOMPATIBLE_DIRTY (UINT64_C(1) << 0)
#define INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)
#define INCOMPATIBLE_DATA_FILE (UINT64_C(1) << 2)
#define INCOMPATIBLE_COMPRESSION (UINT64_C(1) << 3)
#define INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)

#define COMPATIBLE_LAZY_REFCOUNTS (UINT64_C(1) << 0)
#define AUTOCLEAR_BITMAPS (UINT64_C(1) << 0)

/* L1, L2, refcount table and bitmap table entries are 8 bytes. */
#define ENTRY_BYTES 8u
#define ENTRY_OFFSET_MASK UINT64_C(0x00fffffffffffe00) /* bits 9-55 */
#define ENTRY_COPIED (UINT64_C(1) << 63)
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define ENTRY_ZERO UINT64_C(1)

/* Compressed data is addressed in sectors of 512 bytes, whatever the host has. */
#define COMPRESSED_SECTOR 512u

/*
 * Snapshot table entry ("Snapshots"): 40 bytes, extra data, ID, name, padding to 8.
 *
 *     0  L1 table, offset      24  guest clock, nanoseconds
 *     8  L1 entries            32  VM state, bytes (32 bit)
 *    12  length of the ID      36  length of the extra data
 *    14  length of the name    40  extra: VM state, bytes (64 bit)
 *    16  date, seconds         48  extra: virtual size
 *    20  date, nanoseconds
 */
enum {
    SNAPSHOT_L1_OFFSET = 0,
    SNAPSHOT_L1_ENTRIES = 8,
    SNAPSHOT_ID_LENGTH = 12,
    SNAPSHOT_NAME_LENGTH = 14,
    SNAPSHOT_DATE_SECONDS = 16,
    SNAPSHOT_DATE_NANOSECONDS = 20,
    SNAPSHOT_CLOCK = 24,
    SNAPSHOT_VM_STATE_32 = 32,
    SNAPSHOT_EXTRA_LENGTH = 36,
    SNAPSHOT_FIXED_LENGTH = 40,
    SNAPSHOT_EXTRA_VM_STATE = 0,
    SNAPSHOT_EXTRA_DISK_SIZE = 8,
    SNAPSHOT_EXTRA_KNOWN = 16,
};

/*
 * Limits.  Where QEMU has one ours is the same, so that whatever one accepts
 * the other does too; the rest keep memory below 64 MiB for any input.
 */
#define MIN_CLUSTER_BITS 9u  /* the specification's */
#define MAX_CLUSTER_BITS 21u /* QEMU's: 2 MiB */
#define MAX_CLUSTER_BYTES (INT64_C(1) << MAX_CLUSTER_BITS)
#define MAX_REFCOUNT_ORDER 6u
#define MAX_L1_BYTES (UINT64_C(32) << 20)      /* QEMU's; held in memory */
#define MAX_REFTABLE_BYTES (UINT64_C(8) << 20) /* QEMU's; held in memory */
#define MAX_SNAPSHOTS 65536u                   /* QEMU's */
#define MAX_SNAPSHOT_TABLE_BYTES (UINT64_C(16) << 20) /* held in memory; 256 for each of 65536 */
#define MAX_SNAPSHOT_EXTRA 1024u               /* QEMU's */
#define MAX_BACKING_NAME 1023u                 /* the specification's */
#define MAX_BACKING_FORMAT 16u                 /* of images that we make; a multiple of 8 */
#define MAX_BACKING_DEPTH 16u                  /* ours: each level costs an open file and caches */
#define MAX_HOST_OFFSET (UINT64_C(1) << 56)    /* L1 and L2 entries have no more bits */
#define MAX_BITMAPS 65535u                     /* QEMU's */
#define MAX_BITMAP_TABLE_ENTRIES (1u << 20)    /* ours: 64 GiB of bitmap with 64 KiB clusters */
#define MAX_ZSTD_WINDOW_LOG 23                 /* a frame may not ask for more memory to be read */

#endif
