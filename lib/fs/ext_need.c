/* What files that are put into an ext need, added up, and what of it is missing. */
#include "base/bytes.h"
#include "fs/ext_work.h"

/* resize2fs leaves a last group unused that has fewer blocks than this beyond its metadata. */
#define SMALLEST_GROUP 50
#define MIB (1u << 20)

void ext_edit_need(const struct ext_edit *edit, uint64_t size, struct edit_need *need)
{
    uint64_t block_size = edit->super.block_size;
    uint64_t blocks = size / block_size + (size % block_size != 0);
    struct block_run run = {0, 0, blocks};
    struct block_list whole = {&run, 1, 1, blocks};

    need->bytes += (blocks + ext_map_own_blocks(edit, &whole, edit->super.has_extents)) * block_size;
    need->inodes++;
}

/* Blocks of metadata that each group brings along, at most. */
static uint64_t group_overhead(const struct ext_edit *edit)
{
    struct ext2_super_block *super = edit->fs->super;

    return 3 + (uint64_t)edit->fs->inode_blocks_per_group + edit->fs->desc_blocks +
           super->s_reserved_gdt_blocks;
}

/*
 * How many bytes larger it must be for BLOCKS and INODES more, 0: nobody knows.  Of each block
 * that is added a part is kept for root, and a part is metadata; the last group may stay unused,
 * and what is added to the last group of now brings no inodes.
 */
static uint64_t growth_for(const struct ext_edit *edit, uint64_t blocks, uint64_t inodes)
{
    struct ext2_super_block *super = edit->fs->super;
    double group = super->s_blocks_per_group;
    double overhead = (double)group_overhead(edit);
    double reserved = (double)ext2fs_r_blocks_count(super) / (double)ext2fs_blocks_count(super);
    double share = 1 - reserved - overhead / group;
    double groups = (double)(inodes / super->s_inodes_per_group) +
                    (inodes % super->s_inodes_per_group != 0);
    double more = ((double)blocks + 2 * (overhead + SMALLEST_GROUP)) / share;

    if (share < 0.1)
        return 0;
    if (inodes > 0 && more < (groups + 1) * group)
        more = (groups + 1) * group;
    /* One more for the partition, which ends on a whole MiB. */
    return ((uint64_t)(more * edit->super.block_size / MIB) + 2) * MIB;
}

void ext_edit_shortage(const struct ext_edit *edit, const struct edit_need *need,
                       struct edit_shortage *out)
{
    uint64_t block_size = edit->super.block_size;
    uint64_t free_blocks = ext2fs_free_blocks_count(edit->fs->super);
    uint64_t reserved = ext2fs_r_blocks_count(edit->fs->super);
    uint64_t inodes = edit->fs->super->s_free_inodes_count;
    /* A folder's blocks are not filled: those with an index are split in halves. */
    uint64_t blocks = need->bytes / block_size + 2 * need->entry_bytes / block_size +
                      (need->entry_bytes > 0);

    *out = (struct edit_shortage){.free = ext_space_free(edit) * block_size};
    if (blocks * block_size > out->free)
        out->bytes = blocks * block_size - out->free;
    if (need->inodes > inodes)
        out->inodes = need->inodes - inodes;
    if (out->bytes > 0 || out->inodes > 0)
        out->growth = growth_for(edit, blocks + reserved > free_blocks
                                           ? blocks + reserved - free_blocks : 0, out->inodes);
}
