/*
 * What fatten, info and extract all start from: the tables, the boot partition,
 * and what it holds.
 */
#ifndef CHRIMG_OP_ANALYSIS_H
#define CHRIMG_OP_ANALYSIS_H

#include "fs/boot_sector.h"
#include "fs/ext.h"
#include "fs/fat.h"
#include "fs/kernel.h"
#include "part/table.h"

struct analysis {
    struct blk *disk; /* borrowed */
    struct table *table;
    const struct partition *boot; /* within the table */
    struct blk *window;           /* the boot partition */
    enum chr_contents contents;
    struct ext_super super;  /* CHR_CONTENTS_EXT */
    struct fat_info fat;     /* CHR_CONTENTS_FAT */
    struct file_tree tree;   /* both; for CHR_CONTENTS_KERNEL the tree it will become */
    struct file_node metadata; /* CHR_CONTENTS_EXT: runs that no file may have */
    bool readable;           /* the tree was read; else `problem` says why not */
    struct chr_error problem;
    const struct file_node *loader; /* EFI/BOOT/BOOT*.EFI, or NULL */
    struct kernel kernel;           /* of the loader */
    bool loader_sound;              /* `kernel` is filled; else `loader_problem` */
    struct chr_error loader_problem;
    uint8_t boot_sector[BOOT_SECTOR_SIZE];
    enum boot_code boot_code;
    bool has_map; /* the BIOS loader's sector list */
};

/*
 * Analyse DISK.  What cannot be read of the boot partition is told in `problem`;
 * an error is only what leaves no partitions.  DISK is borrowed.
 */
int analyse(struct blk *disk, struct analysis **out, struct chr_error *err);

void analysis_free(struct analysis **analysis);
#define AUTO_ANALYSIS CLEANUP(analysis_free)

/* Bytes of a partition as a device. */
int partition_window(struct blk *disk, const struct partition *partition, struct blk **out,
                     struct chr_error *err);

/* Will the image start?  The reasons are for people. */
void judge_uefi(const struct analysis *analysis, struct chr_verdict *verdict);
void judge_bios(const struct analysis *analysis, struct chr_verdict *verdict);

#endif
