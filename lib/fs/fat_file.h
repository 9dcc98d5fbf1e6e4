/* The clusters of one file of a FAT, and the bytes in them. */
#ifndef CHRIMG_FS_FAT_FILE_H
#define CHRIMG_FS_FAT_FILE_H

#include "fs/edit.h"
#include "fs/fat_table.h"

/* How many clusters SIZE bytes (at most UINT32_MAX) take. */
uint32_t fat_file_clusters(const struct fat_table *table, uint64_t size);

/*
 * Write SOURCE into the chain that the short ENTRY begins, and its size and first
 * cluster into ENTRY.  Clusters that it has are kept in their order; what it lacks
 * is taken (asked for with fat_table_need() before), the rest is given back.
 */
int fat_file_fill(struct fat_table *table, uint8_t *entry, const struct edit_source *source,
                  struct chr_error *err);

/* Give back the chain that begins at FIRST; 0 is an empty one. */
int fat_file_give_back(struct fat_table *table, uint32_t first, struct chr_error *err);

#endif
