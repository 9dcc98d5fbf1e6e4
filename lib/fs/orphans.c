/*
 * Orphans: inodes that were open when their last name went, or that were being cut
 * short.  The superblock has the first of a list that goes on in each inode's i_dtime,
 * or an inode whose file is full of their numbers (orphan_file; Linux kernel,
 * Documentation/filesystems/ext4/orphan.rst):
 *
 *   orphan file block: inode numbers of 4 bytes (0: none), then at its end
 *     4  magic number 0x0b10ca04
 *     4  checksum (metadata_csum)
 *
 * An orphan without links is freed; one with links loses what is behind its size.
 * Neither may take a block that is free, metadata, the journal's or another orphan's.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/journal_work.h"

#define ORPHAN_MAGIC 0x0B10CA04u
#define UNSUPPORTED_FLAGS (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_EA_INODE_FL | EXT4_VERITY_FL)

struct orphans {
    struct ext_edit *edit;
    ext2fs_inode_bitmap seen;  /* inodes worked off */
    ext2fs_block_bitmap taken; /* blocks of these, freed or kept */
    uint32_t count;
};

static void orphans_close(struct orphans *orphans)
{
    if (orphans->seen != NULL)
        ext2fs_free_inode_bitmap(orphans->seen);
    if (orphans->taken != NULL)
        ext2fs_free_block_bitmap(orphans->taken);
}
#define AUTO_ORPHANS CLEANUP(orphans_close)

bool orphans_present(const struct ext_edit *edit)
{
    return edit->fs->super->s_last_orphan != 0 ||
           ext2fs_has_feature_orphan_present(edit->fs->super);
}

/* ---- one orphan ---- */

static int check_number(const struct orphans *orphans, uint32_t ino, struct chr_error *err)
{
    const struct ext_edit *edit = orphans->edit;
    const struct ext2_super_block *super = edit->fs->super;

    if (ino < EXT2_FIRST_INODE(super) || ino > edit->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "the orphan list has inode %" PRIu32, ino);
    if (ino == super->s_journal_inum || ino == super->s_orphan_file_inum)
        return err_set(err, CHR_E_DAMAGED,
                       "the orphan list has inode %" PRIu32 ", the file system's own", ino);
    if (!ext2fs_test_inode_bitmap2(edit->fs->inode_map, ino))
        return err_set(err, CHR_E_DAMAGED, "orphan inode %" PRIu32 " is marked free", ino);
    if (ext2fs_mark_inode_bitmap2(orphans->seen, ino) != 0)
        return err_set(err, CHR_E_DAMAGED, "the orphan list has inode %" PRIu32 " twice", ino);
    return 0;
}

static int take_blocks(struct orphans *orphans, const struct block_list *list,
                       struct chr_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct block_run *run = &list->items[i];
        blk64_t found;

        if (ext2fs_find_first_set_block_bitmap2(orphans->taken, run->start,
                                                run->start + run->count - 1, &found) == 0)
            return err_set(err, CHR_E_DAMAGED, "its block %" PRIu64 " has another owner",
                           (uint64_t)found);
        ext2fs_mark_block_bitmap_range2(orphans->taken, run->start, (blk_t)run->count);
    }
    return ext_space_check_owned(orphans->edit, list, err);
}

/* Read the map and see that its blocks are the inode's to give. */
static int read_map(struct orphans *orphans, uint32_t ino, const struct ext2_inode *inode,
                    struct block_map *map, struct chr_error *err)
{
    if (ext_map_read(orphans->edit, ino, inode, map, err) < 0 ||
        take_blocks(orphans, &map->data, err) < 0)
        return -1;
    return take_blocks(orphans, &map->own, err);
}

/* What is behind the end, in the block where the file ends, reads as zeros from now on. */
static int clear_tail(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                      struct chr_error *err)
{
    uint64_t size = EXT2_I_SIZE(inode);
    uint64_t within = size % edit->super.block_size;
    blk64_t block;
    int flags;
    errcode_t code;

    if (within == 0)
        return 0;
    code = ext2fs_bmap2(edit->fs, ino, inode, NULL, 0, size / edit->super.block_size, &flags,
                        &block);
    if (code != 0)
        return ext_work_error(edit, code, "last block", err);
    if (block == 0 || (flags & BMAP_RET_UNINIT) != 0)
        return 0;
    return blk_zero(edit->io.device, block * edit->super.block_size + within,
                    edit->super.block_size - within, err);
}

static int truncate_orphan(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                           struct chr_error *err)
{
    uint64_t size = EXT2_I_SIZE(&inode->small);
    uint64_t blocks = size / edit->super.block_size + (size % edit->super.block_size != 0);
    errcode_t code;

    if (ext2fs_inode_has_valid_blocks2(edit->fs, &inode->small)) {
        if (clear_tail(edit, ino, &inode->small, err) < 0)
            return -1;
        code = ext2fs_punch(edit->fs, ino, &inode->small, NULL, blocks, ~UINT64_C(0));
        if (code != 0)
            return ext_work_error(edit, code, "truncate", err);
    }
    inode->small.i_dtime = 0;
    return ext_work_write_inode(edit, ino, inode, err);
}

/* Work off inode INO; *NEXT is the one after it in the list. */
static int release_orphan(struct orphans *orphans, uint32_t ino, uint32_t *next,
                          struct chr_error *err)
{
    AUTO_MAP struct block_map map = {0};
    struct ext_edit *edit = orphans->edit;
    union work_inode inode = {0};
    errcode_t code = ext2fs_read_inode_full(edit->fs, ino, &inode.small, sizeof inode);

    if (code != 0)
        return ext_work_error(edit, code, "inode", err);
    *next = inode.small.i_dtime;
    if ((inode.small.i_flags & UNSUPPORTED_FLAGS) != 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "its contents are inline, encrypted, verified or attributes");
    if (read_map(orphans, ino, &inode.small, &map, err) < 0)
        return -1;
    orphans->count++;
    return inode.small.i_links_count == 0 ? ext_work_erase(edit, ino, &inode, &map, err)
                                          : truncate_orphan(edit, ino, &inode, err);
}

static int work_off(struct orphans *orphans, uint32_t ino, uint32_t *next, struct chr_error *err)
{
    if (check_number(orphans, ino, err) < 0)
        return -1;
    if (release_orphan(orphans, ino, next, err) < 0)
        return err_context(err, "orphan inode %" PRIu32, ino);
    return 0;
}

/* ---- the list and the file ---- */

static int work_off_list(struct orphans *orphans, struct chr_error *err)
{
    struct ext2_super_block *super = orphans->edit->fs->super;
    uint32_t ino = super->s_last_orphan;

    /* No inode is seen twice, so it ends. */
    while (ino != 0)
        if (work_off(orphans, ino, &ino, err) < 0)
            return -1;
    super->s_last_orphan = 0;
    return 0;
}

static int work_off_block(struct orphans *orphans, uint64_t place, uint8_t *block,
                          struct chr_error *err)
{
    struct ext_edit *edit = orphans->edit;
    uint32_t ino = edit->fs->super->s_orphan_file_inum;
    size_t end = edit->super.block_size - sizeof(struct ext4_orphan_block_tail);
    errcode_t code;

    if (blk_read(edit->io.device, place * edit->super.block_size, block, edit->super.block_size,
                 err) < 0)
        return -1;
    if (le32(block + end) != ORPHAN_MAGIC ||
        !ext2fs_orphan_file_block_csum_verify(edit->fs, ino, place, (char *)block))
        return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " is none of an orphan file", place);
    for (size_t off = 0; off < end; off += 4) {
        uint32_t orphan = le32(block + off);
        uint32_t ignored; /* an orphan of the file is in no list */

        if (orphan != 0 && work_off(orphans, orphan, &ignored, err) < 0)
            return -1;
        put_le32(block + off, 0);
    }
    code = ext2fs_orphan_file_block_csum_set(edit->fs, ino, place, (char *)block);
    if (code != 0)
        return ext_work_error(edit, code, "checksum", err);
    return blk_write(edit->io.device, place * edit->super.block_size, block,
                     edit->super.block_size, err);
}

static int work_off_blocks(struct orphans *orphans, const struct block_map *map,
                           struct chr_error *err)
{
    AUTO_FREE uint8_t *block = mem_new(1, orphans->edit->super.block_size, err);

    if (block == NULL)
        return -1;
    for (size_t i = 0; i < map->data.count; i++)
        for (uint64_t n = 0; n < map->data.items[i].count; n++)
            if (work_off_block(orphans, map->data.items[i].start + n, block, err) < 0)
                return -1;
    return 0;
}

static int work_off_file(struct orphans *orphans, struct chr_error *err)
{
    AUTO_MAP struct block_map map = {0};
    struct ext_edit *edit = orphans->edit;
    uint32_t ino = edit->fs->super->s_orphan_file_inum;
    struct ext2_inode inode;
    errcode_t code;

    if (!ext2fs_has_feature_orphan_file(edit->fs->super) ||
        ino < EXT2_FIRST_INODE(edit->fs->super) || ino > edit->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "there are orphans, but no file of them");
    code = ext2fs_read_inode(edit->fs, ino, &inode);
    if (code != 0)
        return ext_work_error(edit, code, "inode", err);
    if (inode.i_links_count == 0 || !S_ISREG(inode.i_mode) ||
        EXT2_I_SIZE(&inode) % edit->super.block_size != 0)
        return err_set(err, CHR_E_DAMAGED, "it is no plain file of whole blocks");
    if (read_map(orphans, ino, &inode, &map, err) < 0)
        return -1;
    if (map.data.blocks != EXT2_I_SIZE(&inode) / edit->super.block_size)
        return err_set(err, CHR_E_DAMAGED, "it has %" PRIu64 " blocks for %" PRIu64 " bytes",
                       map.data.blocks, (uint64_t)EXT2_I_SIZE(&inode));
    if (work_off_blocks(orphans, &map, err) < 0)
        return -1;
    ext2fs_clear_feature_orphan_present(edit->fs->super);
    return 0;
}

/* ---- all of them ---- */

/* The journal's blocks are the file system's own as well. */
static int take_journal(struct orphans *orphans, struct chr_error *err)
{
    AUTO_MAP struct block_map map = {0};
    const struct ext_edit *edit = orphans->edit;

    if (!edit->super.has_journal || edit->fs->super->s_journal_inum == 0)
        return 0;
    if (journal_find(orphans->edit, &map, err) < 0 || take_blocks(orphans, &map.data, err) < 0 ||
        take_blocks(orphans, &map.own, err) < 0)
        return err_context(err, "journal");
    return 0;
}

static int open_bitmaps(struct orphans *orphans, struct chr_error *err)
{
    struct ext_edit *edit = orphans->edit;
    errcode_t code = ext2fs_read_bitmaps(edit->fs);

    if (code == 0)
        code = ext2fs_allocate_inode_bitmap(edit->fs, "orphans", &orphans->seen);
    if (code == 0)
        code = ext2fs_allocate_block_bitmap(edit->fs, "blocks of orphans", &orphans->taken);
    if (code != 0)
        return ext_work_error(edit, code, "bitmaps", err);
    if (ext_space_open(edit, err) < 0)
        return -1;
    return take_journal(orphans, err);
}

int orphans_release(struct ext_edit *edit, uint32_t *count, struct chr_error *err)
{
    AUTO_ORPHANS struct orphans orphans = {.edit = edit};

    if (ext2fs_has_feature_quota(edit->fs->super) || ext2fs_has_feature_project(edit->fs->super))
        return err_set(err, CHR_E_UNSUPPORTED,
                       "deleted files are to be taken from the quotas, which cannot be done here");
    if (open_bitmaps(&orphans, err) < 0 || work_off_list(&orphans, err) < 0)
        return -1;
    if (ext2fs_has_feature_orphan_present(edit->fs->super) && work_off_file(&orphans, err) < 0)
        return err_context(err, "orphan file");
    *count = orphans.count;
    return 0;
}
