/*
 * FAT12, FAT16 and FAT32, read.
 *
 * Format: Microsoft FAT32 File System Specification 1.03 (FATGEN103).  The
 * reader shares no code with the writer (fat_write.h): it is what its work is held
 * against.
 */
#ifndef CHRIMG_FS_FAT_H
#define CHRIMG_FS_FAT_H

#include "block/blk.h"
#include "fs/tree.h"

#define FAT_LABEL_SIZE 12 /* 11 bytes and the end */

/* The kinds are told apart by the number of clusters alone (FATGEN103, "FAT Type Determination"). */
#define FAT12_MAX_CLUSTERS 4084
#define FAT16_MAX_CLUSTERS 65524

struct fat_info {
    unsigned bits; /* 12, 16 or 32 */
    uint32_t bytes_per_sector;
    uint32_t cluster_size; /* bytes */
    uint32_t clusters;
    uint32_t free_clusters;
    uint64_t data_start; /* byte offset of cluster 2 */
    uint64_t size;       /* bytes that the BPB claims */
    uint32_t serial;
    char label[FAT_LABEL_SIZE];
};

/* Whether DEVICE's first sector has a FAT's BPB; says nothing about the rest. */
int fat_probe(struct blk *device, bool *found, struct chr_error *err);

/* Whether the first sector, though no FAT's, still names one: a damaged boot sector. */
int fat_traces(struct blk *device, bool *found, struct chr_error *err);

/*
 * Read everything: BPB, both FATs (which must be equal), every folder and
 * every chain.  Loops, cross links, clusters outside, chains shorter or longer
 * than their file: CHR_E_DAMAGED with the place.  INFO and TREE are filled
 * only on success; release TREE with file_tree_release().
 */
int fat_read(struct blk *device, struct fat_info *info, struct file_tree *tree,
             struct chr_error *err);

#endif
