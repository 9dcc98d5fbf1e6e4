/*
 * The verifier's first pass: every inode that a table holds, its fields, and its blocks.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_check.h"

enum { SECTOR = 512, FAST_SYMLINK_MAX = 60, DIRECT_BLOCKS = 12, EXTRA_MIN = 4 };

#define TABLE_CHUNK (16u << 10)

/* What is gathered from one inode's runs. */
struct usage {
    struct check *check;
    uint64_t blocks;  /* its own map's among them */
    uint64_t data;    /* without them */
    uint64_t end;     /* behind the last logical block */
    uint64_t written; /* behind the last that was ever written */
};

static int take_run(void *context, int64_t logical, uint64_t start, uint64_t count, bool unwritten,
                    struct chr_error *err)
{
    struct usage *usage = context;

    usage->blocks += count;
    if (logical >= 0) {
        usage->data += count;
        usage->end = (uint64_t)logical + count;
        if (!unwritten)
            usage->written = usage->end;
    }
    return check_claim(usage->check, start, count, err);
}

/*
 * The resize inode's map is made of reserved descriptor blocks, which are claimed with
 * the group they are in; its double indirect block, the first to be visited, is its own.
 */
static int take_resize_run(void *context, int64_t logical, uint64_t start, uint64_t count,
                           bool unwritten, struct chr_error *err)
{
    struct usage *usage = context;
    const struct ext_super *super = &usage->check->super;
    bool first = usage->blocks == 0;

    (void)logical;
    (void)unwritten;
    usage->blocks += count;
    if (first)
        return check_claim(usage->check, start, count, err);
    for (uint64_t block = start; block < start + count; block++)
        if (block < super->first_data_block || block >= super->blocks ||
            !check_is_claimed(usage->check, block))
            return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " is not kept for resizing", block);
    return 0;
}

/* ---- one inode ---- */

static int check_symlink(const struct ext2_inode *inode, const struct usage *usage,
                         const struct ext_super *super, struct chr_error *err)
{
    uint64_t size = EXT2_I_SIZE(inode);

    if (usage->blocks == 0 ? size == 0 || size >= FAST_SYMLINK_MAX ||
                                 strnlen((const char *)inode->i_block, FAST_SYMLINK_MAX) != size
                           : size == 0 || size > super->block_size || usage->end != 1)
        return err_set(err, CHR_E_DAMAGED, "it is a symbolic link of %" PRIu64 " bytes", size);
    return 0;
}

static int check_size(const struct check *check, const struct ext2_inode *inode,
                      const struct usage *usage, struct chr_error *err)
{
    uint64_t size = EXT2_I_SIZE(inode);
    uint64_t block_size = check->super.block_size;

    if (S_ISLNK(inode->i_mode))
        return check_symlink(inode, usage, &check->super, err);
    if (S_ISDIR(inode->i_mode)
            ? size == 0 || size != usage->end * block_size || usage->data != usage->end
            : S_ISREG(inode->i_mode) &&
                  usage->written > 0 && size < (usage->written - 1) * block_size)
        return err_set(err, CHR_E_DAMAGED,
                       "it has %" PRIu64 " bytes, but blocks up to %" PRIu64, size,
                       usage->end * block_size);
    return 0;
}

/* What a map of that kind can hold at all. */
static int check_limit(const struct check *check, const struct ext2_inode *inode,
                       struct chr_error *err)
{
    uint64_t n = check->super.block_size / 4;
    uint64_t most = (inode->i_flags & EXT4_EXTENTS_FL) != 0
                        ? UINT64_C(1) << 32
                        : DIRECT_BLOCKS + n + n * n + n * n * n;

    if (EXT2_I_SIZE(inode) / check->super.block_size > most)
        return err_set(err, CHR_E_DAMAGED, "its size is %" PRIu64 " bytes",
                       (uint64_t)EXT2_I_SIZE(inode));
    return 0;
}

static int check_block_count(struct check *check, const struct ext2_inode *inode, uint64_t blocks,
                             struct chr_error *err)
{
    uint64_t count = inode->i_blocks;

    if (ext2fs_has_feature_huge_file(check->fs->super))
        count |= (uint64_t)inode->osd2.linux2.l_i_blocks_hi << 32;
    if ((inode->i_flags & EXT4_HUGE_FILE_FL) == 0)
        blocks *= check->super.block_size / SECTOR;
    if (count != blocks)
        return err_set(err, CHR_E_DAMAGED, "it counts %" PRIu64 " blocks, but has %" PRIu64, count,
                       blocks);
    return 0;
}

static int take_attributes(struct check *check, uint32_t ino, const struct ext2_inode *inode,
                           uint64_t *blocks, struct chr_error *err)
{
    uint64_t block = ext2fs_file_acl_block(check->fs, inode);

    if (block == 0)
        return 0;
    ++*blocks;
    if (block < check->super.first_data_block || block >= check->super.blocks)
        return err_set(err, CHR_E_DAMAGED,
                       "its attribute block %" PRIu64 " is outside the file system", block);
    if (mem_grow(&check->shares, &check->share_capacity, check->share_count, sizeof *check->shares,
                 err) < 0)
        return -1;
    check->shares[check->share_count++] = (struct attribute_share){block, ino};
    return 0;
}

static int check_fields(const struct check *check, const struct ext2_inode_large *inode,
                        struct chr_error *err)
{
    uint32_t room = check->super.inode_size - EXT2_GOOD_OLD_INODE_SIZE;
    uint16_t mode = inode->i_mode;

    if (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode) && !S_ISCHR(mode) && !S_ISBLK(mode) &&
        !S_ISFIFO(mode) && !S_ISSOCK(mode))
        return err_set(err, CHR_E_DAMAGED, "its mode is 0%o", mode);
    if (inode->i_dtime != 0)
        return err_set(err, CHR_E_DAMAGED, "it is in use, but has a time of deletion");
    if (room != 0 && inode->i_extra_isize != 0 &&
        (inode->i_extra_isize < EXTRA_MIN || inode->i_extra_isize > room ||
         inode->i_extra_isize % 4 != 0))
        return err_set(err, CHR_E_DAMAGED, "its extra size is %u", inode->i_extra_isize);
    if ((inode->i_flags & EXT2_INDEX_FL) != 0 && S_ISDIR(mode) &&
        !ext2fs_has_feature_dir_index(check->fs->super))
        return err_set(err, CHR_E_DAMAGED, "it has an index, which the superblock does not know");
    if (inode->i_faddr != 0 ||
        (inode->osd2.linux2.l_i_blocks_hi != 0 &&
         !ext2fs_has_feature_huge_file(check->fs->super)) ||
        (inode->osd2.linux2.l_i_file_acl_high != 0 &&
         !ext2fs_has_feature_64bit(check->fs->super)))
        return err_set(err, CHR_E_DAMAGED, "a field that is not in use is not zero");
    if ((inode->i_flags & (EXT4_INLINE_DATA_FL | EXT4_EA_INODE_FL)) != 0)
        return err_set(err, CHR_E_DAMAGED, "it uses what the superblock does not know");
    return 0;
}

static int take_used(struct check *check, uint32_t ino, const struct ext2_inode_large *large,
                     struct chr_error *err)
{
    struct ext2_inode inode;
    struct usage usage = {.check = check};

    memcpy(&inode, large, sizeof inode);
    if (mem_grow(&check->inodes, &check->inode_capacity, check->inode_count, sizeof *check->inodes,
                 err) < 0)
        return -1;
    check->inodes[check->inode_count++] = (struct inode_facts){
        .ino = ino,
        .mode = inode.i_mode,
        .links = inode.i_links_count,
        .indexed = (inode.i_flags & EXT2_INDEX_FL) != 0,
    };
    if (check_fields(check, large, err) < 0)
        return -1;
    if (S_ISDIR(inode.i_mode)) {
        if (mem_grow(&check->folders, &check->folder_capacity, check->folder_count,
                     sizeof *check->folders, err) < 0)
            return -1;
        check->folders[check->folder_count++] = ino;
    }
    if (ext2fs_inode_has_valid_blocks2(check->fs, &inode) &&
        check_walk_map(check, ino, &inode, take_run, &usage, err) < 0)
        return -1;
    if (check_size(check, &inode, &usage, err) < 0 || check_limit(check, &inode, err) < 0 ||
        take_attributes(check, ino, &inode, &usage.blocks, err) < 0)
        return -1;
    return check_block_count(check, &inode, usage.blocks, err);
}

/* Inodes below the first are the file system's own; most are empty. */
static int take_own(struct check *check, uint32_t ino, const struct ext2_inode_large *large,
                    struct chr_error *err)
{
    struct ext2_inode inode;
    struct usage usage = {.check = check};

    memcpy(&inode, large, sizeof inode);
    if (ino != EXT2_BAD_INO && inode.i_links_count == 0)
        return 0;
    if (check_walk_map(check, ino, &inode,
                       ino == EXT2_RESIZE_INO ? take_resize_run : take_run, &usage, err) < 0 ||
        (ino != EXT2_RESIZE_INO && check_size(check, &inode, &usage, err) < 0))
        return -1;
    return check_block_count(check, &inode, usage.blocks, err);
}

static int take_inode(struct check *check, uint32_t ino, const uint8_t *raw, struct chr_error *err)
{
    const struct ext2_inode_large *inode = (const struct ext2_inode_large *)(const void *)raw;

    if (is_zero(raw, check->super.inode_size))
        return 0;
    if (!ext2fs_inode_csum_verify(check->fs, ino,
                                  (struct ext2_inode_large *)(void *)(uintptr_t)raw))
        return err_set(err, CHR_E_DAMAGED, "its checksum is wrong");
    if (ino != EXT2_ROOT_INO && ino < EXT2_FIRST_INODE(check->fs->super))
        return take_own(check, ino, inode, err);
    if (inode->i_links_count != 0)
        return take_used(check, ino, inode, err);
    if (inode->i_mode != 0 && inode->i_dtime == 0)
        return err_set(err, CHR_E_DAMAGED, "it is free, but has no time of deletion");
    return 0;
}

/* ---- the tables ---- */

/* How many blocks of a table are read at once. */
static uint32_t blocks_at_once(const struct check *check)
{
    return TABLE_CHUNK / check->super.block_size > 0 ? TABLE_CHUNK / check->super.block_size : 1;
}

/* Read the blocks of GROUP's table from INDEX on, as many as BUF holds and INODES needs. */
static int read_blocks(struct check *check, dgrp_t group, uint32_t index, uint32_t inodes,
                       uint8_t *buf, struct chr_error *err)
{
    uint32_t per_block = check->super.block_size / check->super.inode_size;
    uint32_t left = (inodes + per_block - 1) / per_block - index;
    uint32_t count = blocks_at_once(check) < left ? blocks_at_once(check) : left;
    errcode_t code = io_channel_read_blk64(
        check->fs->io, ext2fs_inode_table_loc(check->fs, group) + index, (int)count, buf);

    return code != 0 ? check_error(check, code, "inode table", err) : 0;
}

/*
 * How many whole blocks of inodes from I on, of COUNT, are known to be zeros without
 * reading: most of a table is a hole in the image.
 */
static int zero_inodes(struct check *check, dgrp_t group, uint32_t i, uint32_t count,
                       uint32_t *zeros, struct chr_error *err)
{
    uint32_t size = check->super.inode_size;
    uint32_t per_block = check->super.block_size / size;
    uint64_t off = ext2fs_inode_table_loc(check->fs, group) * check->super.block_size +
                   (uint64_t)i * size;
    struct blk_extent extent;

    *zeros = 0;
    if (blk_extent(check->io.device, off, (uint64_t)(count - i) * size, &extent, err) < 0)
        return -1;
    if (extent.kind == BLK_ZERO)
        *zeros = (uint32_t)(extent.length / size / per_block * per_block);
    return 0;
}

/* How many inodes of GROUP's table are in use at most. */
static int table_length(struct check *check, dgrp_t group, uint32_t *count, struct chr_error *err)
{
    uint32_t per_group = check->super.inodes_per_group;
    uint32_t unused;

    *count = per_group;
    if (!ext2fs_has_group_desc_csum(check->fs))
        return 0;
    unused = ext2fs_bg_itable_unused(check->fs, group);
    if (unused > per_group)
        return err_set(err, CHR_E_DAMAGED, "its inode table has %" PRIu32 " unused of %" PRIu32,
                       unused, per_group);
    *count = ext2fs_bg_flags_test(check->fs, group, EXT2_BG_INODE_UNINIT) ? 0 : per_group - unused;
    return 0;
}

static int read_table(struct check *check, dgrp_t group, uint8_t *buf, struct chr_error *err)
{
    uint32_t first = group * check->super.inodes_per_group + 1;
    uint32_t per_block = check->super.block_size / check->super.inode_size;
    uint32_t per_chunk = per_block * blocks_at_once(check);
    uint32_t count;
    uint32_t step;

    if (table_length(check, group, &count, err) < 0)
        return -1;
    for (uint32_t i = 0; i < count; i += step) {
        if (zero_inodes(check, group, i, count, &step, err) < 0)
            return -1;
        if (step > 0)
            continue;
        if (read_blocks(check, group, i / per_block, count, buf, err) < 0)
            return -1;
        step = count - i < per_chunk ? count - i : per_chunk;
        for (uint32_t k = 0; k < step; k++)
            if (take_inode(check, first + i + k, buf + (size_t)k * check->super.inode_size, err) <
                0)
                return err_context(err, "inode %" PRIu32, first + i + k);
    }
    return 0;
}

/* ---- attributes ---- */

static int compare_shares(const void *a, const void *b)
{
    const struct attribute_share *x = a;
    const struct attribute_share *y = b;

    return (x->block > y->block) - (x->block < y->block);
}

static int check_attributes(struct check *check, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, check->super.block_size, err);
    size_t count;

    if (buf == NULL)
        return -1;
    if (check->share_count > 0)
        qsort(check->shares, check->share_count, sizeof *check->shares, compare_shares);
    for (size_t i = 0; i < check->share_count; i += count) {
        const struct attribute_share *share = &check->shares[i];
        const struct ext2_ext_attr_header *header = (const void *)buf;
        errcode_t code = ext2fs_read_ext_attr3(check->fs, share->block, buf, share->ino);

        for (count = 1; i + count < check->share_count && share[count].block == share->block;)
            count++;
        if (code != 0)
            return check_error(check, code, "attribute block", err);
        if (header->h_magic != EXT2_EXT_ATTR_MAGIC || header->h_blocks != 1 ||
            header->h_refcount != count)
            return err_set(err, CHR_E_DAMAGED,
                           "attribute block %" PRIu64 " counts %" PRIu32 " shares, but has %zu",
                           share->block, header->h_refcount, count);
        if (check_claim(check, share->block, 1, err) < 0)
            return err_context(err, "inode %" PRIu32 ": attributes", share->ino);
    }
    return 0;
}

int check_inodes(struct check *check, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf =
        mem_new(blocks_at_once(check), check->super.block_size, err);

    if (buf == NULL)
        return -1;
    for (dgrp_t group = 0; group < check->fs->group_desc_count; group++)
        if (read_table(check, group, buf, err) < 0)
            return err_context(err, "block group %" PRIu32, (uint32_t)group);
    return check_attributes(check, err);
}
