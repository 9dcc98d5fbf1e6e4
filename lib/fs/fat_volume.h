/*
 * A FAT's boot sector and its table, in memory: what the reader and the editor
 * both begin with.  Format: FATGEN103.
 */
#ifndef CHRIMG_FS_FAT_VOLUME_H
#define CHRIMG_FS_FAT_VOLUME_H

#include "fs/fat.h"

/* All offsets in bytes from the start of the partition. */
struct fat_volume {
    struct blk *device; /* borrowed */
    struct fat_info info; /* its label is the boot sector's, until a folder says another */
    uint64_t root_offset; /* FAT12/16: of the root folder */
    uint32_t root_entries; /* the same; 0 on FAT32 */
    uint32_t root_cluster; /* FAT32; else 0 */
    uint64_t fat_offset; /* of the first copy; the second follows */
    uint32_t fat_bytes;  /* of one copy */
    unsigned fat_count;  /* 1 or 2 */
    uint64_t hints_offset; /* FAT32: of FSInfo; 0 without one */
    bool mirrored;         /* all copies of the table are in use */
    uint16_t version;      /* FAT32; only 0 is known */
    uint8_t *fat;
};

/* Whether the first 512 bytes, at P, can be those of a FAT. */
bool fat_volume_plausible(const uint8_t *p);

/* Read boot sector and table; both copies must be equal.  Release with fat_volume_release(). */
int fat_volume_open(struct blk *device, struct fat_volume *out, struct chr_error *err);
void fat_volume_release(struct fat_volume *volume);

/* The table's entry for CLUSTER, from 0 to clusters + 1. */
uint32_t fat_volume_entry(const struct fat_volume *volume, uint32_t cluster);

/* Whether ENTRY ends a chain. */
bool fat_volume_is_end(const struct fat_volume *volume, uint32_t entry);

/* Whether a file can have CLUSTER. */
bool fat_volume_has(const struct fat_volume *volume, uint32_t cluster);

uint64_t fat_volume_offset(const struct fat_volume *volume, uint32_t cluster);

#endif
