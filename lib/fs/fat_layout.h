/*
 * Planning a FAT16 around files that are already on the partition.
 *
 * A pure function from (size of the partition, tree of files, layout) to every
 * offset of the new file system; nothing is read or written.  fat_write() then
 * carries the plan out and asserts that it arrives where the plan says.
 */
#ifndef CHRIMG_FS_FAT_LAYOUT_H
#define CHRIMG_FS_FAT_LAYOUT_H

#include "fs/fat_entry.h"
#include "fs/tree.h"

#define FAT_SECTOR 512
#define FAT16_MIN_CLUSTERS 4085
#define FAT_FIRST_CLUSTER 2

enum fat_layout {
    FAT_LAYOUT_KEEP,    /* file blocks stay where they are, as far as possible */
    FAT_LAYOUT_COMPACT, /* files are copied, from the first cluster on */
};

/* Where things are, in sectors from the start of the partition. */
struct fat_geometry {
    uint32_t total_sectors;
    uint32_t sectors_per_cluster;
    uint32_t reserved_sectors; /* the first FAT begins here */
    uint32_t fat_sectors;      /* of one of the two */
    uint32_t root_entries;
    uint32_t data_sector; /* of cluster 2 */
    uint32_t clusters;
};

/* What becomes of one cluster of a file. */
enum fat_source {
    FAT_KEPT,   /* its bytes are there already */
    FAT_COPIED, /* its bytes come from the file's old place */
    FAT_ZEROED, /* a hole, or a block that was never written */
};

/* One file or folder: a node of the tree, in the same order. */
struct fat_item {
    uint16_t *chain;       /* cluster numbers, in the file's order */
    uint8_t *source;       /* enum fat_source of each; NULL for a folder */
    uint32_t cluster_count;
    uint32_t copied;       /* how many clusters are FAT_COPIED */
    uint32_t entry_count;  /* folder: entries it needs, "." and ".." included */
    uint8_t alias[11];     /* the short name */
    unsigned alias_attempt; /* N of its ~N; 0 without */
    bool has_long_name;
};

struct fat_plan {
    enum fat_layout layout;
    struct fat_geometry geometry;
    struct fat_item *items; /* one for each node; items[0] is the root folder */
    size_t item_count;
    uint32_t copied_clusters;  /* file clusters that do not stay */
    uint32_t linked_clusters;  /* copies for second names of files: the first one stays */
    uint32_t zeroed_clusters;
    bool skipped_lost_found;
    uint8_t *used; /* one byte a cluster, from FAT_FIRST_CLUSTER on */
};

/*
 * Plan a FAT16 of DEVICE_SIZE bytes for TREE.  BLOCK_SIZE is the size of the
 * blocks that the files lie in now: the preferred cluster size.
 *
 * FAT_LAYOUT_KEEP takes the cluster size that keeps most in place; blocks in
 * the way of the FAT's own sectors, or out of step with its clusters, are
 * copied, and the plan says which.  An empty lost+found is left out.
 *
 * CHR_E_REFUSED with the reason when there is no such file system: names, sizes
 * or kinds of file that FAT cannot hold, a partition outside FAT16's limits;
 * CHR_E_SPACE when the files do not fit.  Release with fat_plan_release().
 */
int fat_plan_make(uint64_t device_size, uint32_t block_size, const struct file_tree *tree,
                  enum fat_layout layout, struct fat_plan *plan, struct chr_error *err);

void fat_plan_release(struct fat_plan *plan);
#define AUTO_FAT_PLAN CLEANUP(fat_plan_release)

/* Byte offset in the partition of CLUSTER (from 2 on). */
uint64_t fat_cluster_offset(const struct fat_geometry *geometry, uint32_t cluster);

/* Whether node INDEX of TREE is in the plan: all but an empty lost+found. */
bool fat_plan_includes(const struct file_tree *tree, size_t index);

#endif
