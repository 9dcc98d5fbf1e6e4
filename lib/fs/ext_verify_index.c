/*
 * The index of a folder, as the verifier reads it: from the root every block is reached
 * once, and every name's hash lies where the way to its block says.  The layout stands
 * in the kernel's Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories".
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/ext_check.h"

enum {
    ROOT_INFO = 24, /* u32 0, u8 version, u8 8, u8 levels below the root, u8 flags */
    ROOT_ENTRIES = 32,
    NODE_ENTRIES = 8,
    CHECKSUM_TAIL = 8,
    UNSIGNED_VERSIONS = 3,
};

int check_hash_version(const struct check *check, const uint8_t *block)
{
    int version = block[ROOT_INFO + 4];

    if (le32(block + ROOT_INFO) != 0 || version > EXT2_HASH_TEA || block[ROOT_INFO + 5] != 8 ||
        block[ROOT_INFO + 7] != 0)
        return -1;
    return (check->fs->super->s_flags & EXT2_FLAGS_UNSIGNED_HASH) != 0 ? version + UNSIGNED_VERSIONS
                                                                       : version;
}

struct index_check {
    struct check *check;
    struct leaf_facts *blocks;
    size_t count;
    struct chr_error *err;
};

/* The hashes that a block may hold: from LOW up to HIGH, both included. */
struct range {
    uint32_t low;
    uint32_t high;
};

static int bad(struct index_check *index, uint64_t block, const char *what)
{
    return err_set(index->err, CHR_E_DAMAGED, "its index, block %" PRIu64 ": %s", block, what);
}

static int check_leaf(struct index_check *index, uint64_t block, struct range range)
{
    const struct leaf_facts *leaf = &index->blocks[block];

    if (leaf->lowest <= leaf->highest && (leaf->lowest < range.low || leaf->highest > range.high))
        return bad(index, block, "a name is not where its hash leads");
    return 0;
}

/* What entry I of COUNT may lead to: its hash up to that of the next. */
static struct range range_of(const uint8_t *entries, unsigned i, unsigned count, struct range whole)
{
    struct range range = whole;

    /* The lowest bit says that the hash itself began in the block before. */
    if (i > 0)
        range.low = le32(entries + (size_t)8 * i) & ~UINT32_C(1);
    if (i + 1 < count) {
        uint32_t next = le32(entries + (size_t)8 * (i + 1));

        range.high = (next & 1) != 0 ? next & ~UINT32_C(1) : next - 1;
    }
    return range;
}

static int check_node(struct index_check *index, uint64_t block, int levels, struct range whole);

static int check_entry(struct index_check *index, uint64_t block, int levels, struct range range)
{
    if (block >= index->count)
        return bad(index, block, "it is not in the folder");
    if (index->blocks[block].visited)
        return bad(index, block, "two entries lead to it");
    index->blocks[block].visited = true;
    return levels == 0 ? check_leaf(index, block, range)
                       : check_node(index, block, levels - 1, range);
}

/* The node in BLOCK, with LEVELS of nodes below it; no deeper than three calls. */
static int check_node(struct index_check *index, uint64_t block, int levels, struct range whole)
{
    struct check *check = index->check;
    size_t size = check->super.block_size;
    size_t off = block == 0 ? ROOT_ENTRIES : NODE_ENTRIES;
    size_t tail = ext2fs_has_feature_metadata_csum(check->fs->super) ? CHECKSUM_TAIL : 0;
    AUTO_FREE uint8_t *buf = mem_new(1, size, index->err);
    const uint8_t *entries;
    unsigned count;
    errcode_t code;

    if (buf == NULL)
        return -1;
    code = io_channel_read_blk64(check->fs->io, index->blocks[block].start, 1, buf);
    if (code != 0)
        return check_error(check, code, "index", index->err);
    entries = buf + off;
    count = le16(entries + 2);
    if (block != 0 && (le32(buf) != 0 || (size != 65536 && le16(buf + 4) != size)))
        return bad(index, block, "it is no node");
    if (le16(entries) != (size - off - tail) / 8 || count == 0 || count > le16(entries))
        return bad(index, block, "its counts are wrong");
    for (unsigned i = 0; i < count; i++) {
        struct range range = range_of(entries, i, count, whole);

        if (range.low > range.high || range.low < whole.low || range.high > whole.high)
            return bad(index, block, "its hashes are out of order");
        if (check_entry(index, le32(entries + (size_t)8 * i + 4) & 0x0FFFFFFF, levels, range) < 0)
            return -1;
    }
    return 0;
}

int check_index(struct check *check, struct leaf_facts *leaves, size_t count,
                struct chr_error *err)
{
    struct index_check index = {check, leaves, count, err};
    int most = ext2fs_has_feature_largedir(check->fs->super) ? 2 : 1;
    uint8_t root[ROOT_ENTRIES];
    int levels;

    if (blk_read(check->io.device, leaves[0].start * check->super.block_size, root, sizeof root,
                 err) < 0)
        return -1;
    levels = root[ROOT_INFO + 6];
    if (check_hash_version(check, root) < 0 || levels > most)
        return bad(&index, 0, "it has no root");
    leaves[0].visited = true;
    if (check_node(&index, 0, levels, (struct range){0, UINT32_MAX}) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!leaves[i].visited)
            return bad(&index, i, "no entry leads to it");
    return 0;
}
