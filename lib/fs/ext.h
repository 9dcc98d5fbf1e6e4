/*
 * ext2, ext3 and ext4 through libext2fs, on any blk.
 *
 * libext2fs trusts what it reads more than we do, so the superblock is decoded
 * and held against limits here first, and every walk over blocks is bounded by
 * the size of the file system.
 */
#ifndef CHRIMG_FS_EXT_H
#define CHRIMG_FS_EXT_H

#include "block/blk.h"
#include "fs/tree.h"

#define EXT_LABEL_SIZE 17 /* 16 bytes and the end */

/*
 * The superblock, 1024 bytes at offset 1024 of the device (Linux kernel,
 * Documentation/filesystems/ext4/super.rst; offsets in ext_super.c).
 */
struct ext_super {
    uint64_t blocks;
    uint64_t free_blocks;
    uint32_t inodes;
    uint32_t free_inodes;
    uint32_t block_size;
    uint32_t first_data_block;
    uint32_t blocks_per_group;
    uint32_t inodes_per_group;
    uint32_t inode_size;
    uint32_t compat;
    uint32_t incompat;
    uint32_t ro_compat;
    bool clean;          /* was unmounted properly */
    bool has_errors;     /* the kernel found errors in it */
    bool has_journal;
    bool needs_recovery; /* the journal holds changes that are not in place yet */
    bool has_extents;
    char label[EXT_LABEL_SIZE];
    uint8_t uuid[16];
};

/* Whether DEVICE carries the ext magic number; says nothing about its soundness. */
int ext_probe(struct blk *device, bool *found, struct chr_error *err);

/* Whether a superblock is there in all but its magic number: a damaged ext. */
int ext_traces(struct blk *device, bool *found, struct chr_error *err);

/*
 * Read and check the superblock: geometry within the device and within what
 * the format allows, and no feature that we do not know (CHR_E_UNSUPPORTED,
 * by name).
 */
int ext_super_read(struct blk *device, struct ext_super *out, struct chr_error *err);

/* "ext2", "ext3" or "ext4", by the features. */
const char *ext_super_kind(const struct ext_super *super);

struct ext;

/* Open for reading; DEVICE is borrowed.  Close with ext_cleanup. */
int ext_open(struct blk *device, struct ext **out, struct chr_error *err);

const struct ext_super *ext_get_super(const struct ext *ext);

/*
 * Read the folder PATH ("" is the root) into TREE, whose node 0 it becomes,
 * with runs for every regular file; RECURSIVE takes everything below too.
 * CHR_E_MISSING when there is no such folder.
 */
int ext_read_tree(struct ext *ext, const char *path, bool recursive, struct file_tree *tree,
                  struct chr_error *err);

/*
 * What the file system keeps for itself, as runs of NODE: superblocks, group
 * descriptors, bitmaps and inode tables, and the indirect and extent blocks of
 * all that was read by ext_read_tree() so far.
 */
int ext_read_metadata(struct ext *ext, struct file_node *node, struct chr_error *err);

void ext_cleanup(struct ext **ext);
#define AUTO_EXT CLEANUP(ext_cleanup)

#endif
