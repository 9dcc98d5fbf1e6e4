/*
 * A FAT's table, changed: clusters taken and given back.
 *
 * Changes stay in memory until fat_table_write(), which writes the sectors that
 * changed, into every copy, and the count of free clusters of a FAT32 (FSInfo).
 * Clusters that are marked bad, or in use by nobody, are not free and stay so.
 */
#ifndef CHRIMG_FS_FAT_TABLE_H
#define CHRIMG_FS_FAT_TABLE_H

#include "fs/fat_volume.h"

struct fat_table {
    struct fat_volume volume; /* info.free_clusters goes with the changes */
    uint8_t *changed;         /* one byte for 512 bytes of the table */
    uint32_t last;            /* the cluster that was taken last; 0: none was */
};

/* Read the table of DEVICE (borrowed).  CHR_E_UNSUPPORTED where FAT32 says that it is of a later
 * version, or that its copies are not all in use. */
int fat_table_open(struct blk *device, struct fat_table *out, struct chr_error *err);
void fat_table_release(struct fat_table *table);

/* The clusters of the chain that begins at FIRST, which is 0 for an empty one; the caller frees
 * *CHAIN.  CHR_E_DAMAGED when it leads outside or does not end. */
int fat_table_chain(const struct fat_table *table, uint32_t first, uint32_t **chain,
                    uint32_t *count, struct chr_error *err);

/* CHR_E_SPACE, with how many bytes are missing, unless COUNT clusters are free. */
int fat_table_need(const struct fat_table *table, uint64_t count, struct chr_error *err);

/*
 * Take COUNT free clusters into OUT and make a chain of them: right behind AFTER (0: anywhere)
 * if they are free, else the first stretch that holds them all, else the lowest ones.  Asked for
 * with fat_table_need() before: too few is CHR_E_INTERNAL.
 */
int fat_table_take(struct fat_table *table, uint32_t after, uint32_t count, uint32_t *out,
                   struct chr_error *err);

/* Let CLUSTER be followed by NEXT; 0 ends the chain. */
void fat_table_link(struct fat_table *table, uint32_t cluster, uint32_t next);

/* Give COUNT clusters back. */
void fat_table_give_back(struct fat_table *table, const uint32_t *clusters, uint32_t count);

int fat_table_write(struct fat_table *table, struct chr_error *err);

#endif
