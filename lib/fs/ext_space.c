/*
 * Blocks of an ext, taken and given back in libext2fs's bitmaps, and inodes taken.
 *
 * The bitmaps of an image are as untrusted as the rest: what they call free may be an
 * inode table, and what a file calls its own may be free or metadata.  Both are found
 * here before a bit changes.  A block of two files cannot be seen from here; the
 * verifier sees it afterwards.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

void block_list_release(struct block_list *list)
{
    free(list->items);
    *list = (struct block_list){0};
}

int block_list_add(struct block_list *list, struct block_run run, struct chr_error *err)
{
    struct block_run *last = list->count > 0 ? &list->items[list->count - 1] : NULL;

    list->blocks += run.count;
    if (last != NULL && last->start + last->count == run.start &&
        last->logical + last->count == run.logical) {
        last->count += run.count;
        return 0;
    }
    if (mem_grow(&list->items, &list->capacity, list->count, sizeof *list->items, err) < 0)
        return -1;
    list->items[list->count++] = run;
    return 0;
}

/* ---- metadata ---- */

static int keep(struct ext_edit *edit, uint64_t start, uint64_t count, const char *what,
                struct chr_error *err)
{
    blk64_t free_block;

    if (start < edit->super.first_data_block || !range_within(start, count, edit->super.blocks))
        return err_set(err, CHR_E_DAMAGED, "the %s at block %" PRIu64 " is outside the file system",
                       what, start);
    if (count == 0)
        return 0;
    if (ext2fs_test_block_bitmap_range2(edit->metadata, start, (unsigned)count) == 0)
        return err_set(err, CHR_E_DAMAGED, "the %s at block %" PRIu64 " overlaps other metadata",
                       what, start);
    if (ext2fs_find_first_zero_block_bitmap2(edit->fs->block_map, start, start + count - 1,
                                             &free_block) == 0)
        return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " of the %s is marked free",
                       (uint64_t)free_block, what);
    ext2fs_mark_block_bitmap_range2(edit->metadata, start, (unsigned)count);
    return 0;
}

static int keep_group(struct ext_edit *edit, dgrp_t group, struct chr_error *err)
{
    ext2_filsys fs = edit->fs;
    blk64_t super;
    blk64_t old_descriptors;
    blk64_t new_descriptors;
    uint64_t old_count = fs->desc_blocks + fs->super->s_reserved_gdt_blocks;

    if (ext2fs_has_feature_meta_bg(fs->super))
        old_count = min_u64(fs->super->s_first_meta_bg, fs->desc_blocks);
    (void)ext2fs_super_and_bgd_loc2(fs, group, &super, &old_descriptors, &new_descriptors, NULL);
    if ((super != 0 || group == 0) && super >= fs->super->s_first_data_block &&
        keep(edit, super, 1, "superblock", err) < 0)
        return -1;
    if (old_descriptors != 0 &&
        keep(edit, old_descriptors, old_count, "group descriptors", err) < 0)
        return -1;
    if (new_descriptors != 0 && keep(edit, new_descriptors, 1, "group descriptors", err) < 0)
        return -1;
    if (keep(edit, ext2fs_block_bitmap_loc(fs, group), 1, "block bitmap", err) < 0 ||
        keep(edit, ext2fs_inode_bitmap_loc(fs, group), 1, "inode bitmap", err) < 0)
        return -1;
    return keep(edit, ext2fs_inode_table_loc(fs, group), fs->inode_blocks_per_group, "inode table",
                err);
}

int ext_space_open(struct ext_edit *edit, struct chr_error *err)
{
    errcode_t code = ext2fs_allocate_block_bitmap(edit->fs, "metadata", &edit->metadata);

    if (code != 0)
        return ext_work_error(edit, code, "metadata", err);
    for (dgrp_t group = 0; group < edit->fs->group_desc_count; group++)
        if (keep_group(edit, group, err) < 0)
            return err_context(err, "block group %" PRIu32, (uint32_t)group);
    return 0;
}

/* ---- room ---- */

/*
 * The share reserved for root (s_r_blocks_count, 5 % by default) is left alone: a router
 * must be able to boot and write its logs after we have filled the rest.
 */
uint64_t ext_space_free(const struct ext_edit *edit)
{
    uint64_t free_blocks = ext2fs_free_blocks_count(edit->fs->super);
    uint64_t reserved = ext2fs_r_blocks_count(edit->fs->super);

    return free_blocks > reserved ? free_blocks - reserved : 0;
}

int ext_space_check(const struct ext_edit *edit, uint64_t needed, uint64_t available,
                    struct chr_error *err)
{
    if (needed <= available)
        return 0;
    (void)err_set(err, CHR_E_SPACE,
                  "%" PRIu64 " bytes are missing: %" PRIu64 " are needed, %" PRIu64 " are free",
                  (needed - available) * edit->super.block_size, needed * edit->super.block_size,
                  available * edit->super.block_size);
    return err_hint(err, "chrimg resize makes the image larger");
}

int ext_space_take(struct ext_edit *edit, uint64_t goal, uint64_t logical, uint64_t count,
                   struct block_list *list, struct chr_error *err)
{
    while (count > 0) {
        blk64_t start;
        blk64_t length;
        errcode_t code = ext2fs_new_range(edit->fs, 0, goal, min_u64(count, INT32_MAX), NULL,
                                          &start, &length);

        /* Room was asked for before, by the groups' counts. */
        if (code == EXT2_ET_BLOCK_ALLOC_FAIL)
            return err_set(err, CHR_E_DAMAGED,
                           "its groups count free blocks that the bitmaps do not have");
        if (code != 0)
            return ext_work_error(edit, code, "free blocks", err);
        length = min_u64(length, count);
        if (ext2fs_test_block_bitmap_range2(edit->metadata, start, (unsigned)length) == 0)
            return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " of the metadata is marked free",
                           (uint64_t)start);
        if (block_list_add(list, (struct block_run){logical, start, length}, err) < 0)
            return -1;
        ext2fs_block_alloc_stats_range(edit->fs, start, (blk_t)length, +1);
        logical += length;
        count -= length;
        goal = start + length;
    }
    return 0;
}

int ext_space_check_owned(struct ext_edit *edit, const struct block_list *list,
                          struct chr_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct block_run *run = &list->items[i];
        blk64_t found;

        if (ext2fs_find_first_zero_block_bitmap2(edit->fs->block_map, run->start,
                                                 run->start + run->count - 1, &found) == 0)
            return err_set(err, CHR_E_DAMAGED, "its block %" PRIu64 " is marked free",
                           (uint64_t)found);
        if (ext2fs_find_first_set_block_bitmap2(edit->metadata, run->start,
                                                run->start + run->count - 1, &found) == 0)
            return err_set(err, CHR_E_DAMAGED, "its block %" PRIu64 " is the file system's own",
                           (uint64_t)found);
    }
    return 0;
}

void ext_space_give(struct ext_edit *edit, const struct block_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        ext2fs_block_alloc_stats_range(edit->fs, list->items[i].start,
                                       (blk_t)list->items[i].count, -1);
}

void ext_space_retake(struct ext_edit *edit, const struct block_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        ext2fs_block_alloc_stats_range(edit->fs, list->items[i].start,
                                       (blk_t)list->items[i].count, +1);
}

/* ---- inodes ---- */

/* Beyond what the group uses of its table there may be anything. */
static bool is_initialised(const struct ext_edit *edit, uint32_t ino)
{
    uint32_t group = (ino - 1) / edit->super.inodes_per_group;
    uint32_t index = (ino - 1) % edit->super.inodes_per_group;

    return !ext2fs_has_group_desc_csum(edit->fs) ||
           index + ext2fs_bg_itable_unused(edit->fs, group) < edit->super.inodes_per_group;
}

/*
 * What was in the place of inode INO before.  Read without its checksum, which a freed
 * inode need not have, it leaves its bytes in libext2fs's cache under the number of
 * another inode: so the cache is emptied.
 */
static int read_last(struct ext_edit *edit, uint32_t ino, union work_inode *last,
                     struct chr_error *err)
{
    errcode_t code =
        ext2fs_read_inode2(edit->fs, ino, &last->small, sizeof *last, READ_INODE_NOCSUM);

    if (code == 0)
        code = ext2fs_flush_icache(edit->fs);
    return code != 0 ? ext_work_error(edit, code, "free inode", err) : 0;
}

int ext_space_take_inode(struct ext_edit *edit, uint32_t folder, uint16_t type, uint32_t *out,
                         uint32_t *generation, struct chr_error *err)
{
    union work_inode last = {0};
    ext2_ino_t ino;
    errcode_t code = ext2fs_new_inode(edit->fs, folder, type, NULL, &ino);

    if (code != 0)
        return ext_work_error(edit, code, "free inode", err);
    if (is_initialised(edit, ino) && read_last(edit, ino, &last, err) < 0)
        return -1;
    if (last.small.i_links_count != 0)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is in use, but marked free", ino);
    ext2fs_inode_alloc_stats2(edit->fs, ino, +1, S_ISDIR(type));
    *generation = last.small.i_generation + 1;
    *out = ino;
    return 0;
}
