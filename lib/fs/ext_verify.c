/*
 * The verifier: inodes, folders, then what is counted from them against what the file
 * system says of itself.  It claims every block for one owner, and follows every name
 * to an inode; memory is one bit a block and 24 bytes an inode in use.
 */
#include "fs/ext_verify.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_check.h"

/* 16 TiB of 4 KiB blocks: 512 MiB of bits, of which only what is used is touched. */
#define BLOCKS_MAX (UINT64_C(1) << 32)
#define LINKS_MAX 65000 /* the kernel's EXT4_LINK_MAX */

static void check_release(struct check *check)
{
    free(check->claimed);
    free(check->inodes);
    free(check->folders);
    free(check->shares);
    if (check->fs != NULL)
        ext2fs_free(check->fs);
}
#define AUTO_CHECK CLEANUP(check_release)

int check_error(struct check *check, errcode_t code, const char *doing, struct chr_error *err)
{
    if (check->io.error.code != CHR_OK) {
        *err = check->io.error;
        return err_context(err, "%s", doing);
    }
    if (code == EXT2_ET_NO_MEMORY || code == ENOMEM)
        return err_set(err, CHR_E_MEMORY, "%s: out of memory", doing);
    return err_set(err, CHR_E_DAMAGED, "ext %s: %s", doing, error_message(code));
}

struct inode_facts *check_facts(const struct check *check, uint32_t ino)
{
    size_t low = 0;
    size_t high = check->inode_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (check->inodes[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low < check->inode_count && check->inodes[low].ino == ino ? &check->inodes[low] : NULL;
}

int check_claim(struct check *check, uint64_t start, uint64_t count, struct chr_error *err)
{
    uint64_t first = check->super.first_data_block;

    if (start < first || !range_within(start, count, check->super.blocks))
        return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " is outside the file system", start);
    for (uint64_t bit = start - first; bit < start - first + count; bit++) {
        uint8_t *byte = &check->claimed[bit / 8];
        uint8_t mask = (uint8_t)(1u << (bit % 8));

        if (bit % 8 == 0 && start - first + count - bit >= 8 && *byte == 0) {
            *byte = 0xFF; /* eight at once */
            bit += 7;
            continue;
        }
        if ((*byte & mask) != 0)
            return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " is in use twice", bit + first);
        *byte |= mask;
    }
    return 0;
}

/* ---- the file system's own ---- */

static int claim_group(struct check *check, dgrp_t group, struct chr_error *err)
{
    ext2_filsys fs = check->fs;
    blk64_t super;
    blk64_t old_descriptors;
    blk64_t new_descriptors;
    uint64_t old_count = ext2fs_has_feature_meta_bg(fs->super)
                             ? min_u64(fs->super->s_first_meta_bg, fs->desc_blocks)
                             : (uint64_t)fs->desc_blocks + fs->super->s_reserved_gdt_blocks;

    (void)ext2fs_super_and_bgd_loc2(fs, group, &super, &old_descriptors, &new_descriptors, NULL);
    if (!ext2fs_group_desc_csum_verify(fs, group))
        return err_set(err, CHR_E_DAMAGED, "its descriptor's checksum is wrong");
    if ((super != 0 || (group == 0 && check->super.first_data_block == 0)) &&
        check_claim(check, super, 1, err) < 0)
        return -1;
    if (old_descriptors != 0 && check_claim(check, old_descriptors, old_count, err) < 0)
        return -1;
    if (new_descriptors != 0 && check_claim(check, new_descriptors, 1, err) < 0)
        return -1;
    return check_claim(check, ext2fs_block_bitmap_loc(fs, group), 1, err) < 0 ||
                   check_claim(check, ext2fs_inode_bitmap_loc(fs, group), 1, err) < 0 ||
                   check_claim(check, ext2fs_inode_table_loc(fs, group), fs->inode_blocks_per_group,
                               err) < 0
               ? -1
               : 0;
}

static int check_super(const struct check *check, struct chr_error *err)
{
    const struct ext2_super_block *super = check->fs->super;

    if (check->super.has_errors || !check->super.clean)
        return err_set(err, CHR_E_DAMAGED, "the file system is marked as %s",
                       check->super.has_errors ? "having errors" : "not unmounted");
    if (check->super.needs_recovery)
        return err_set(err, CHR_E_DAMAGED, "its journal holds changes that are not in place");
    if (super->s_last_orphan != 0)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " waits for its removal",
                       super->s_last_orphan);
    if (EXT2_FIRST_INODE(super) < EXT2_GOOD_OLD_FIRST_INO ||
        EXT2_FIRST_INODE(super) > super->s_inodes_count)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: first inode is %" PRIu32,
                       (uint32_t)EXT2_FIRST_INODE(super));
    return 0;
}

static int open_check(struct check *check, struct blk *device, struct chr_error *err)
{
    errcode_t code;

    if (ext_super_read(device, &check->super, err) < 0)
        return -1;
    if (check->super.blocks > BLOCKS_MAX)
        return err_set(err, CHR_E_UNSUPPORTED, "a file system of more than 4 Gi blocks");
    ext_io_init(&check->io, device);
    initialize_ext2_error_table();
    code = ext2fs_open2(check->io.name, NULL, EXT2_FLAG_64BITS, 0, 0, (io_manager)&ext_io_manager,
                        &check->fs);
    if (code != 0)
        return check_error(check, code, "file system", err);
    check->claimed = mem_new(1, check->super.blocks / 8 + check->super.block_size + 1, err);
    if (check->claimed == NULL || check_super(check, err) < 0)
        return -1;
    for (dgrp_t group = 0; group < check->fs->group_desc_count; group++)
        if (claim_group(check, group, err) < 0)
            return err_context(err, "block group %" PRIu32, (uint32_t)group);
    return 0;
}

/* ---- bitmaps and counts ---- */

static uint64_t count_bits(const uint8_t *bits, uint64_t count)
{
    uint64_t set = 0;
    uint64_t i = 0;

    for (; i + 8 <= count / 8; i += 8)
        set += (unsigned)__builtin_popcountll(le64(bits + i));
    for (; i < count / 8; i++)
        set += (unsigned)__builtin_popcount(bits[i]);
    if (count % 8 != 0)
        set += (unsigned)__builtin_popcount(bits[count / 8] & ((1u << (count % 8)) - 1));
    return set;
}

static int compare_blocks(struct check *check, dgrp_t group, uint8_t *buf,
                          struct chr_error *err)
{
    uint32_t per_group = check->super.blocks_per_group;
    uint64_t first = (uint64_t)group * per_group;
    uint64_t all = check->super.blocks - check->super.first_data_block;
    uint64_t count = min_u64(per_group, all - first);
    const uint8_t *ours = check->claimed + first / 8;
    errcode_t code = ext2fs_get_block_bitmap_range2(
        check->fs->block_map, first + check->super.first_data_block, count, buf);
    uint64_t unused;

    if (code != 0)
        return check_error(check, code, "block bitmap", err);
    for (uint64_t i = 0; i < count; i++) {
        if (i % 64 == 0 && i + 64 <= count && memcmp(buf + i / 8, ours + i / 8, 8) == 0) {
            i += 63;
            continue;
        }
        if (((buf[i / 8] ^ ours[i / 8]) >> (i % 8) & 1) != 0)
            return err_set(err, CHR_E_DAMAGED, "block %" PRIu64 " is %s",
                           first + i + check->super.first_data_block,
                           (ours[i / 8] >> (i % 8) & 1) != 0 ? "in use, but marked free"
                                                              : "marked as used, but nothing's");
    }
    unused = count - count_bits(ours, count);
    if (ext2fs_bg_free_blocks_count(check->fs, group) != unused)
        return err_set(err, CHR_E_DAMAGED, "it counts %" PRIu32 " free blocks, but has %" PRIu64,
                       (uint32_t)ext2fs_bg_free_blocks_count(check->fs, group), unused);
    return 0;
}

/* *NEXT is the place of the first inode of the group, and in the end of the next one. */
static int compare_inodes(struct check *check, dgrp_t group, size_t *next, uint8_t *buf,
                          struct chr_error *err)
{
    uint32_t count = check->super.inodes_per_group;
    uint32_t first = group * count + 1;
    errcode_t code =
        ext2fs_get_inode_bitmap_range2(check->fs->inode_map, first, count, buf);
    uint32_t unused = 0;
    uint32_t folders = 0;

    if (code != 0)
        return check_error(check, code, "inode bitmap", err);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ino = first + i;
        const struct inode_facts *facts =
            *next < check->inode_count && check->inodes[*next].ino == ino ? &check->inodes[*next]
                                                                         : NULL;
        bool used = facts != NULL || ino < EXT2_FIRST_INODE(check->fs->super);

        if (((buf[i / 8] >> (i % 8) & 1) != 0) != used)
            return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is %s", ino,
                           used ? "in use, but marked free" : "marked as used, but free");
        unused += !used;
        if (facts == NULL)
            continue;
        folders += S_ISDIR(facts->mode);
        ++*next;
    }
    if (ext2fs_bg_free_inodes_count(check->fs, group) != unused)
        return err_set(err, CHR_E_DAMAGED, "it counts %" PRIu32 " free inodes, but has %" PRIu32,
                       (uint32_t)ext2fs_bg_free_inodes_count(check->fs, group), unused);
    if (ext2fs_bg_used_dirs_count(check->fs, group) != folders)
        return err_set(err, CHR_E_DAMAGED, "it counts %" PRIu32 " folders, but has %" PRIu32,
                       (uint32_t)ext2fs_bg_used_dirs_count(check->fs, group), folders);
    return 0;
}

/*
 * The superblock's own counts are not held against the groups': the kernel and a replayed
 * journal leave them old, and e2fsck takes the groups' sums without a word.
 */
static int check_bitmaps(struct check *check, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, (size_t)check->super.block_size + 8, err);
    errcode_t code = ext2fs_read_bitmaps(check->fs);
    size_t next = 0;

    if (buf == NULL)
        return -1;
    if (code != 0)
        return check_error(check, code, "bitmaps", err);
    if ((check->fs->flags & (EXT2_FLAG_BBITMAP_TAIL_PROBLEM | EXT2_FLAG_IBITMAP_TAIL_PROBLEM)) != 0)
        return err_set(err, CHR_E_DAMAGED, "a bitmap's padding is not set");
    for (dgrp_t group = 0; group < check->fs->group_desc_count; group++)
        if (compare_blocks(check, group, buf, err) < 0 ||
            compare_inodes(check, group, &next, buf, err) < 0)
            return err_context(err, "block group %" PRIu32, (uint32_t)group);
    return 0;
}

/* ---- names ---- */

/* Follow the parents up from FOLDER; what is on the way hangs below the root too. */
static int reach(struct check *check, struct inode_facts *folder, struct chr_error *err)
{
    struct inode_facts *at = folder;

    for (size_t steps = 0; !at->reached; steps++) {
        if (at->parent == 0)
            return err_set(err, CHR_E_DAMAGED, "folder of inode %" PRIu32 " is in no folder",
                           at->ino);
        if (at->dotdot != at->parent)
            return err_set(err, CHR_E_DAMAGED,
                           "folder of inode %" PRIu32 " is in that of inode %" PRIu32
                           ", but its .. is inode %" PRIu32,
                           at->ino, at->parent, at->dotdot);
        if (steps > check->folder_count)
            return err_set(err, CHR_E_DAMAGED, "folder of inode %" PRIu32 " is in itself",
                           folder->ino);
        at = check_facts(check, at->parent);
    }
    for (at = folder; !at->reached; at = check_facts(check, at->parent))
        at->reached = true;
    return 0;
}

static int check_tree(struct check *check, struct chr_error *err)
{
    struct inode_facts *root = check_facts(check, EXT2_ROOT_INO);

    if (root == NULL || !S_ISDIR(root->mode))
        return err_set(err, CHR_E_DAMAGED, "the root inode is not a folder");
    if (root->dotdot != EXT2_ROOT_INO)
        return err_set(err, CHR_E_DAMAGED, "the root's .. is inode %" PRIu32, root->dotdot);
    root->reached = true;
    for (size_t i = 0; i < check->folder_count; i++)
        if (reach(check, check_facts(check, check->folders[i]), err) < 0)
            return -1;
    return 0;
}

static int check_links(struct check *check, struct chr_error *err)
{
    ext2_filsys fs = check->fs;

    for (size_t i = 0; i < check->inode_count; i++) {
        const struct inode_facts *facts = &check->inodes[i];

        if (ext2fs_has_feature_orphan_file(fs->super) &&
            facts->ino == fs->super->s_orphan_file_inum)
            continue;
        if (facts->found == 0)
            return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " has no name", facts->ino);
        /* 1 stands for more than can be counted; e2fsck takes it for fewer, too. */
        if (S_ISDIR(facts->mode) && facts->links == 1 && ext2fs_has_feature_dir_nlink(fs->super))
            continue;
        if (facts->links != facts->found || facts->found > LINKS_MAX)
            return err_set(err, CHR_E_DAMAGED,
                           "inode %" PRIu32 " counts %u links, but has %" PRIu32, facts->ino,
                           facts->links, facts->found);
    }
    return 0;
}

int ext_verify(struct blk *device, struct chr_error *err)
{
    AUTO_CHECK struct check check = {0};

    return open_check(&check, device, err) < 0 || check_inodes(&check, err) < 0 ||
                   check_bitmaps(&check, err) < 0 || check_folders(&check, err) < 0 ||
                   check_tree(&check, err) < 0 || check_links(&check, err) < 0
               ? -1
               : 0;
}
