/* Carry out a plan of fat_layout.h. */
#ifndef CHRIMG_FS_FAT_WRITE_H
#define CHRIMG_FS_FAT_WRITE_H

#include "fs/fat_layout.h"

struct fat_write_options {
    const char *label;      /* UTF-8; what FAT cannot hold of it becomes _ or is cut */
    uint32_t serial;        /* volume serial number */
    uint32_t hidden_sectors; /* LBA of the partition */
    bool keep_boot_code;    /* the code in the first sector stays around the BPB */
};

/*
 * Write the planned FAT16 to TARGET: boot sector, both tables, folders, and the
 * clusters that are copied or zeroed.  Bytes of files come from SOURCE, the
 * device that TREE was read from; TARGET may be an overlay on it, but not the
 * same device: a copy could meet bytes that were just written.
 */
int fat_write(struct blk *source, const struct file_tree *tree, const struct fat_plan *plan,
              const struct fat_write_options *options, struct blk *target, struct chr_error *err);

/* The 11 bytes that a LABEL becomes, padded with spaces. */
void fat_label_encode(const char *label, uint8_t out[11]);

#endif
