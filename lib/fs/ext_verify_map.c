/*
 * The blocks of one inode, for the verifier.  Most maps are in the inode itself and are
 * read there; the others by libext2fs.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/ext_check.h"

enum {
    EXTENT_MAGIC = 0xF30A,
    EXTENT_HEADER = 12,
    EXTENT_ENTRY = 12,
    EXTENT_ROOT_ENTRIES = 4,
    EXTENT_WRITTEN_MAX = 32768, /* a length above means reserved, not written */
    DIRECT_BLOCKS = 12,
};

struct walk {
    struct check *check;
    check_run *visit;
    void *context;
    uint64_t seen;    /* blocks so far */
    uint64_t next;    /* the least logical block that may follow */
    int64_t expected; /* where the node below an index entry must begin; -1: anywhere */
    int64_t first;    /* of an indirect map: COUNT blocks from START on, not visited yet */
    uint64_t start;
    uint64_t count;
    struct chr_error *err;
    int result;
};

static int visit_run(struct walk *walk, int64_t logical, uint64_t start, uint64_t count,
                     bool unwritten)
{
    walk->seen += count;
    if (walk->seen > walk->check->super.blocks)
        return err_set(walk->err, CHR_E_DAMAGED, "it has more blocks than the file system");
    if (logical >= 0) {
        if (count == 0 || (uint64_t)logical < walk->next ||
            (uint64_t)logical + count > UINT32_MAX)
            return err_set(walk->err, CHR_E_DAMAGED, "its extent at block %" PRId64 " is bad",
                           logical);
        walk->next = (uint64_t)logical + count;
    }
    return walk->visit(walk->context, logical, start, count, unwritten, walk->err);
}

/* Extents that are all in the inode: a header and up to four entries. */
static int walk_short(struct walk *walk, const uint8_t *root)
{
    unsigned count = le16(root + 2);

    if (count > EXTENT_ROOT_ENTRIES || le16(root + 4) != EXTENT_ROOT_ENTRIES)
        return err_set(walk->err, CHR_E_DAMAGED, "its extent header is bad");
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *p = root + EXTENT_HEADER + (size_t)i * EXTENT_ENTRY;
        uint32_t length = le16(p + 4);
        bool unwritten = length > EXTENT_WRITTEN_MAX;

        if (visit_run(walk, le32(p), le32(p + 8) | (uint64_t)le16(p + 6) << 32,
                      unwritten ? length - EXTENT_WRITTEN_MAX : length, unwritten) < 0)
            return -1;
    }
    return 0;
}

static int take_extent(struct walk *walk, const struct ext2fs_extent *extent)
{
    bool leaf = (extent->e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0;

    if ((extent->e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) != 0)
        return 0;
    if (walk->expected >= 0 && (uint64_t)walk->expected != extent->e_lblk)
        return err_set(walk->err, CHR_E_DAMAGED,
                       "its extent node for block %" PRId64 " begins with block %" PRIu64,
                       walk->expected, (uint64_t)extent->e_lblk);
    walk->expected = leaf ? -1 : (int64_t)extent->e_lblk;
    return leaf ? visit_run(walk, (int64_t)extent->e_lblk, extent->e_pblk, extent->e_len,
                            (extent->e_flags & EXT2_EXTENT_FLAGS_UNINIT) != 0)
                : visit_run(walk, -1, extent->e_pblk, 1, false);
}

static int walk_tree(struct walk *walk, uint32_t ino, struct ext2_inode *inode)
{
    ext2_extent_handle_t handle;
    struct ext2fs_extent extent;
    errcode_t code = ext2fs_extent_open2(walk->check->fs, ino, inode, &handle);
    int op = EXT2_EXTENT_ROOT;
    int result = 0;

    if (code != 0)
        return check_error(walk->check, code, "extents", walk->err);
    for (; result == 0 && (code = ext2fs_extent_get(handle, op, &extent)) == 0;
         op = EXT2_EXTENT_NEXT)
        result = take_extent(walk, &extent);
    ext2fs_extent_free(handle);
    if (result < 0)
        return -1;
    return code != EXT2_ET_EXTENT_NO_NEXT ? check_error(walk->check, code, "extents", walk->err)
                                          : 0;
}

static int visit_waiting(struct walk *walk)
{
    uint64_t count = walk->count;

    walk->count = 0;
    return count > 0 ? visit_run(walk, walk->first, walk->start, count, false) : 0;
}

/* Blocks that follow each other wait for the rest of their run. */
static int visit_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t index, blk64_t parent,
                       int offset, void *private)
{
    struct walk *walk = private;

    (void)fs;
    (void)parent;
    (void)offset;
    if (index >= 0 && walk->count > 0 && index == walk->first + (int64_t)walk->count &&
        *block == walk->start + walk->count) {
        walk->count++;
        return 0;
    }
    walk->result = visit_waiting(walk);
    if (walk->result == 0 && index < 0) { /* an indirect block */
        walk->result = visit_run(walk, -1, *block, 1, false);
    } else {
        walk->first = index;
        walk->start = *block;
        walk->count = 1;
    }
    return walk->result < 0 ? BLOCK_ABORT : 0;
}

static int walk_indirect(struct walk *walk, uint32_t ino, const struct ext2_inode *inode)
{
    errcode_t code;

    if (is_zero(inode->i_block + DIRECT_BLOCKS, sizeof(uint32_t) * 3)) {
        for (int i = 0; i < DIRECT_BLOCKS; i++)
            if (inode->i_block[i] != 0 && visit_run(walk, i, inode->i_block[i], 1, false) < 0)
                return -1;
        return 0;
    }
    code = ext2fs_block_iterate3(walk->check->fs, ino, BLOCK_FLAG_READ_ONLY, NULL, visit_block,
                                 walk);
    if (walk->result < 0 || visit_waiting(walk) < 0)
        return -1;
    return code != 0 ? check_error(walk->check, code, "block map", walk->err) : 0;
}

int check_walk_map(struct check *check, uint32_t ino, const struct ext2_inode *inode,
                   check_run *visit, void *context, struct chr_error *err)
{
    struct walk walk = {.check = check, .visit = visit, .context = context, .expected = -1,
                        .err = err};
    const uint8_t *root = (const uint8_t *)inode->i_block;
    struct ext2_inode copy = *inode;

    if ((inode->i_flags & EXT4_EXTENTS_FL) == 0)
        return walk_indirect(&walk, ino, inode);
    if (!check->super.has_extents)
        return err_set(err, CHR_E_DAMAGED, "it has extents, which the superblock does not know");
    if (le16(root) != EXTENT_MAGIC)
        return err_set(err, CHR_E_DAMAGED, "its extent header is bad");
    return le16(root + 6) == 0 ? walk_short(&walk, root) : walk_tree(&walk, ino, &copy);
}
