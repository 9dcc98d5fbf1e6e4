/*
 * What the parts of the ext verifier share (ext_verify.h is the door): inodes and their
 * blocks (ext_verify_inode.c, ext_verify_map.c), folders (ext_verify_folder.c) and
 * their index (ext_verify_index.c).
 */
#ifndef CHRIMG_FS_EXT_CHECK_H
#define CHRIMG_FS_EXT_CHECK_H

#include "fs/ext.h"
#include "fs/ext_io.h"

/* What is known of an inode that is in use. */
struct inode_facts {
    uint32_t ino;
    uint16_t mode;
    uint16_t links;  /* as it says */
    uint32_t found;  /* entries that name it, "." and ".." among them */
    uint32_t parent; /* folders: the one with the entry that names it */
    uint32_t dotdot; /* folders: its own ".." */
    bool reached;    /* folders: known to hang below the root */
    bool indexed;
};

/* One inode's share of a block of attributes. */
struct attribute_share {
    uint64_t block;
    uint32_t ino;
};

struct check {
    struct ext_io io;
    struct ext_super super;
    ext2_filsys fs;
    uint8_t *claimed; /* one bit a block, from the first data block on */
    struct inode_facts *inodes; /* ascending */
    size_t inode_count;
    size_t inode_capacity;
    uint32_t *folders; /* their numbers, ascending */
    size_t folder_count;
    size_t folder_capacity;
    struct attribute_share *shares;
    size_t share_count;
    size_t share_capacity;
};

int check_error(struct check *check, errcode_t code, const char *doing, struct chr_error *err);

/* What is known of inode INO; NULL when it is free. */
struct inode_facts *check_facts(const struct check *check, uint32_t ino);

/* Claim blocks for one owner; fails when they are outside or another's. */
int check_claim(struct check *check, uint64_t start, uint64_t count, struct chr_error *err);

static inline bool check_is_claimed(const struct check *check, uint64_t block)
{
    uint64_t bit = block - check->super.first_data_block;

    return (check->claimed[bit / 8] >> (bit % 8) & 1) != 0;
}

/* ---- ext_verify_map.c ---- */

/* COUNT blocks at START hold the file's blocks from LOGICAL on; a map's own: logical is -1. */
typedef int check_run(void *context, int64_t logical, uint64_t start, uint64_t count,
                      bool unwritten, struct chr_error *err);

/* Visit every run of inode INO, whose bytes are INODE; never more than the file system has. */
int check_walk_map(struct check *check, uint32_t ino, const struct ext2_inode *inode,
                   check_run *visit, void *context, struct chr_error *err);

/* ---- the passes ---- */

int check_inodes(struct check *check, struct chr_error *err);
int check_folders(struct check *check, struct chr_error *err);

/* ---- ext_verify_index.c ---- */

/* What was seen in one block of an indexed folder. */
struct leaf_facts {
    uint64_t start; /* the block */
    uint32_t lowest; /* hashes of its names; lowest > highest when it has none */
    uint32_t highest;
    bool visited;
};

/* Which hash an indexed folder uses whose root is BLOCK; -1 for a bad root. */
int check_hash_version(const struct check *check, const uint8_t *block);

/* Whether the index leads to every block once, and to every name. */
int check_index(struct check *check, struct leaf_facts *leaves, size_t count,
                struct chr_error *err);

#endif
