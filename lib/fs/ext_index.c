/*
 * The index of a folder (htree; kernel, Documentation/filesystems/ext4/directory.rst,
 * "Hash Tree Directories"): a name is found by its hash, and one that is only in the
 * list and not where its hash says is invisible to the kernel.
 *
 * Block 0 is the root: entries "." and "..", then at byte 24 u32 zero, u8 hash version,
 * u8 8, u8 levels below, u8 flags; at byte 32 the index entries.  Other nodes: a gap of
 * the whole block, index entries at byte 8.  An index entry is u32 hash, u32 block, and
 * the first one's hash is u16 limit, u16 count instead.  A hash with its lowest bit set
 * says that the same hash began in the block before.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

enum {
    ROOT_ZERO = 24,
    ROOT_VERSION = 28,
    ROOT_LENGTH = 29,
    ROOT_LEVELS = 30,
    ROOT_FLAGS = 31,
    ROOT_ENTRIES = 32,
    NODE_ENTRIES = 8,
    NODE_TAIL = 8,
    MAX_LEVELS = 3, /* index blocks on the way to a leaf; 2 without large_dir */
    UNSIGNED_VERSIONS = 3,
    MAX_NAMES = 65536 / 12, /* of one block */
};

struct node {
    uint64_t logical;
    uint8_t *block;
    uint8_t *entries;
    unsigned count;
    unsigned limit;
    unsigned at; /* the entry that the hash leads to */
};

/* The way from the root to a leaf. */
struct descent {
    struct node nodes[MAX_LEVELS];
    unsigned levels;
    int version;
    uint64_t leaf;
};

static void descent_release(struct descent *way)
{
    for (unsigned i = 0; i < MAX_LEVELS; i++)
        free(way->nodes[i].block);
    *way = (struct descent){0};
}
#define AUTO_DESCENT CLEANUP(descent_release)

/* As the kernel's is_dx(): the flag counts only with the feature. */
bool index_present(const struct folder *folder)
{
    return (folder->inode.small.i_flags & EXT2_INDEX_FL) != 0 &&
           ext2fs_has_feature_dir_index(folder->edit->fs->super);
}

static uint32_t entry_hash(const struct node *node, unsigned i)
{
    return le32(node->entries + (size_t)8 * i);
}

static uint64_t entry_block(const struct node *node, unsigned i)
{
    return le32(node->entries + (size_t)8 * i + 4) & 0x0FFFFFFF;
}

static unsigned room_of(const struct folder *folder, size_t entries_off)
{
    size_t tail = folder->edit->checksums ? NODE_TAIL : 0;

    return (unsigned)((folder->edit->super.block_size - entries_off - tail) / 8);
}

static int bad_index(const struct folder *folder, uint64_t logical, const char *what,
                     struct chr_error *err)
{
    return err_set(err, CHR_E_DAMAGED,
                   "folder of inode %" PRIu32 ": index block %" PRIu64 ": %s", folder->ino, logical,
                   what);
}

static int open_node(struct folder *folder, struct node *node, uint64_t logical, size_t entries_off,
                     struct chr_error *err)
{
    node->logical = logical;
    node->block = mem_new(1, folder->edit->super.block_size, err);
    if (node->block == NULL || folder_read_block(folder, logical, node->block, err) < 0)
        return -1;
    node->entries = node->block + entries_off;
    node->limit = le16(node->entries);
    node->count = le16(node->entries + 2);
    if (node->limit != room_of(folder, entries_off) || node->count == 0 ||
        node->count > node->limit)
        return bad_index(folder, logical, "its counts are wrong", err);
    for (unsigned i = 2; i < node->count; i++)
        if (entry_hash(node, i) < entry_hash(node, i - 1))
            return bad_index(folder, logical, "its hashes are out of order", err);
    return 0;
}

static void choose(struct node *node, uint32_t hash)
{
    unsigned low = 0;
    unsigned high = node->count;

    while (high - low > 1) {
        unsigned middle = (low + high) / 2;

        if (entry_hash(node, middle) <= hash)
            low = middle;
        else
            high = middle;
    }
    node->at = low;
}

static int open_root(struct folder *folder, struct descent *way, struct chr_error *err)
{
    unsigned most = ext2fs_has_feature_largedir(folder->edit->fs->super) ? 3 : 2;
    const uint8_t *block;

    if (folder->usable < ROOT_ENTRIES ||
        open_node(folder, &way->nodes[0], 0, ROOT_ENTRIES, err) < 0)
        return -1;
    block = way->nodes[0].block;
    if (le32(block + ROOT_ZERO) != 0 || block[ROOT_LENGTH] != 8 || block[ROOT_FLAGS] != 0)
        return bad_index(folder, 0, "no index root", err);
    if (block[ROOT_VERSION] > EXT2_HASH_TEA)
        return err_set(err, CHR_E_UNSUPPORTED, "folder of inode %" PRIu32 ": hash version %d",
                       folder->ino, block[ROOT_VERSION]);
    way->levels = block[ROOT_LEVELS] + 1u;
    if (way->levels > most)
        return bad_index(folder, 0, "too many levels", err);
    way->version = block[ROOT_VERSION];
    if ((folder->edit->fs->super->s_flags & EXT2_FLAGS_UNSIGNED_HASH) != 0)
        way->version += UNSIGNED_VERSIONS;
    return 0;
}

static int hash_name(const struct folder *folder, int version, const char *name, size_t length,
                     uint32_t *hash, struct chr_error *err)
{
    ext2_dirhash_t minor;
    errcode_t code = ext2fs_dirhash2(version, name, (int)length, NULL, 0,
                                     folder->edit->fs->super->s_hash_seed, hash, &minor);

    return code != 0 ? ext_work_error(folder->edit, code, "hash of a name", err) : 0;
}

static int descend(struct folder *folder, struct descent *way, const char *name, uint32_t *hash,
                   struct chr_error *err)
{
    descent_release(way);
    if (open_root(folder, way, err) < 0 ||
        hash_name(folder, way->version, name, strlen(name), hash, err) < 0)
        return -1;
    for (unsigned i = 0; i < way->levels; i++) {
        if (i > 0 && open_node(folder, &way->nodes[i], way->leaf, NODE_ENTRIES, err) < 0)
            return -1;
        choose(&way->nodes[i], *hash);
        way->leaf = entry_block(&way->nodes[i], way->nodes[i].at);
        /* A leaf is none of the blocks that led to it. */
        for (unsigned k = 0; k <= i; k++)
            if (way->leaf == way->nodes[k].logical)
                return bad_index(folder, way->leaf, "it leads back to itself", err);
    }
    return 0;
}

/* ---- growing the tree ---- */

static void insert_entry(struct node *node, uint32_t hash, uint64_t block)
{
    uint8_t *place = node->entries + (size_t)8 * (node->at + 1);

    memmove(place + 8, place, (size_t)8 * (node->count - node->at - 1));
    put_le32(place, hash);
    put_le32(place + 4, (uint32_t)block);
    node->count++;
    put_le16(node->entries + 2, (uint16_t)node->count);
}

/* A new node with COUNT index entries from FROM, written as the folder's last block. */
static int append_node(struct folder *folder, const uint8_t *from, unsigned count,
                       uint64_t *logical, struct chr_error *err)
{
    size_t size = folder->edit->super.block_size;
    AUTO_FREE uint8_t *block = mem_new(1, size, err);

    if (block == NULL || folder_append(folder, logical, err) < 0)
        return -1;
    put_le16(block + 4, (uint16_t)(size == 65536 ? 0xFFFF : size));
    memcpy(block + NODE_ENTRIES, from, (size_t)8 * count);
    put_le16(block + NODE_ENTRIES, (uint16_t)room_of(folder, NODE_ENTRIES));
    put_le16(block + NODE_ENTRIES + 2, (uint16_t)count);
    return folder_write_block(folder, *logical, block, err);
}

/* All index entries of the root move to a node below it. */
static int deepen(struct folder *folder, struct descent *way, struct chr_error *err)
{
    struct node *root = &way->nodes[0];
    uint64_t logical;

    if (append_node(folder, root->entries, root->count, &logical, err) < 0)
        return -1;
    put_le16(root->entries + 2, 1);
    put_le32(root->entries + 4, (uint32_t)logical);
    memset(root->entries + 8, 0, (size_t)8 * (root->count - 1));
    root->block[ROOT_LEVELS]++;
    return folder_write_block(folder, root->logical, root->block, err);
}

/* The upper half of NODE moves to a new node beside it, below PARENT, which has room. */
static int split_node(struct folder *folder, struct node *parent, struct node *node,
                      struct chr_error *err)
{
    unsigned keep = node->count / 2;
    uint32_t hash = entry_hash(node, keep);
    uint64_t logical;

    if (append_node(folder, node->entries + (size_t)8 * keep, node->count - keep, &logical, err) <
        0)
        return -1;
    memset(node->entries + (size_t)8 * keep, 0, (size_t)8 * (node->count - keep));
    put_le16(node->entries + 2, (uint16_t)keep);
    insert_entry(parent, hash, logical);
    return folder_write_block(folder, node->logical, node->block, err) < 0
               ? -1
               : folder_write_block(folder, parent->logical, parent->block, err);
}

/* Make room for one more index entry above the leaf; *DONE when it was there already. */
static int make_room(struct folder *folder, struct descent *way, bool *done, struct chr_error *err)
{
    unsigned most = ext2fs_has_feature_largedir(folder->edit->fs->super) ? 3 : 2;
    unsigned level = way->levels - 1;

    *done = way->nodes[level].count < way->nodes[level].limit;
    if (*done)
        return 0;
    while (level > 0 && way->nodes[level].count == way->nodes[level].limit)
        level--;
    if (way->nodes[level].count < way->nodes[level].limit)
        return split_node(folder, &way->nodes[level], &way->nodes[level + 1], err);
    if (way->levels == most)
        return err_set(err, CHR_E_REFUSED,
                       "folder of inode %" PRIu32 ": its index is full; use another folder",
                       folder->ino);
    return deepen(folder, way, err);
}

/* ---- leaves ---- */

struct name_place {
    uint32_t hash;
    uint16_t off;
    uint16_t size; /* packed */
};

static int compare_places(const void *a, const void *b)
{
    const struct name_place *x = a;
    const struct name_place *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->off > y->off) - (x->off < y->off); /* so that the order is one, always */
}

static int list_names(struct folder *folder, int version, const uint8_t *block,
                      struct name_place *places, size_t *count, struct chr_error *err)
{
    size_t length;

    *count = 0;
    for (size_t at = 0; at < folder->usable; at += length) {
        const uint8_t *p = block + at;

        length = le16(p + 4);
        if (length == 0xFFFF)
            return 0; /* one gap of 64 KiB */
        if (le32(p) == 0)
            continue;
        places[*count] = (struct name_place){
            .off = (uint16_t)at, .size = (uint16_t)folder_entry_size(p[6])};
        if (hash_name(folder, version, (const char *)p + 8, p[6], &places[*count].hash, err) < 0)
            return -1;
        ++*count;
    }
    qsort(places, *count, sizeof *places, compare_places);
    return 0;
}

/* Put the named entries of FROM into TO, one behind the other. */
static void pack(const struct folder *folder, const uint8_t *from, const struct name_place *places,
                 size_t count, uint8_t *to)
{
    folder_format_empty(folder->edit, to);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = from + places[i].off;
        char name[256] = "";

        memcpy(name, p + 8, p[6]);
        (void)folder_insert(folder, to, name, le32(p), p[7]);
    }
}

/* How many of the names stay: what makes the fuller of the two halves least full. */
static size_t choose_split(const struct name_place *places, size_t count)
{
    size_t total = 0;
    size_t below = 0;
    size_t best = SIZE_MAX;
    size_t split = 1;

    for (size_t i = 0; i < count; i++)
        total += places[i].size;
    for (size_t i = 1; i < count; i++) {
        size_t fuller;

        below += places[i - 1].size;
        fuller = below > total - below ? below : total - below;
        if (fuller < best) {
            best = fuller;
            split = i;
        }
    }
    return split;
}

struct new_name {
    const char *name;
    uint32_t ino;
    uint8_t type;
    uint32_t hash;
};

static int split_leaf(struct folder *folder, struct descent *way, const uint8_t *leaf,
                      const struct name_place *places, size_t count, const struct new_name *added,
                      struct chr_error *err)
{
    struct node *parent = &way->nodes[way->levels - 1];
    size_t size = folder->edit->super.block_size;
    size_t split = choose_split(places, count);
    bool continued = places[split].hash == places[split - 1].hash;
    AUTO_FREE uint8_t *low = mem_new(1, size, err);
    AUTO_FREE uint8_t *high = mem_new(1, size, err);
    uint64_t logical;

    if (low == NULL || high == NULL)
        return -1;
    pack(folder, leaf, places, split, low);
    pack(folder, leaf, places + split, count - split, high);
    if (!folder_insert(folder, added->hash >= places[split].hash ? high : low, added->name,
                       added->ino, added->type))
        return err_set(err, CHR_E_INTERNAL, "half a folder block has no room for a name");
    if (folder_append(folder, &logical, err) < 0 ||
        folder_write_block(folder, logical, high, err) < 0 ||
        folder_write_block(folder, way->leaf, low, err) < 0)
        return -1;
    insert_entry(parent, places[split].hash | (continued ? 1u : 0u), logical);
    return folder_write_block(folder, parent->logical, parent->block, err);
}

/* The leaf has no gap that is large enough: pack it, or split it. */
static int crowd_leaf(struct folder *folder, struct descent *way, uint8_t *leaf,
                      const struct new_name *added, struct chr_error *err)
{
    AUTO_FREE struct name_place *places = mem_new(MAX_NAMES, sizeof *places, err);
    AUTO_FREE uint8_t *packed = mem_new(1, folder->edit->super.block_size, err);
    size_t count;

    if (places == NULL || packed == NULL ||
        list_names(folder, way->version, leaf, places, &count, err) < 0)
        return -1;
    pack(folder, leaf, places, count, packed);
    if (folder_insert(folder, packed, added->name, added->ino, added->type))
        return folder_write_block(folder, way->leaf, packed, err);
    return split_leaf(folder, way, leaf, places, count, added, err);
}

int index_growth(struct folder *folder, const char *name, uint64_t *blocks, struct chr_error *err)
{
    AUTO_DESCENT struct descent way = {0};
    AUTO_FREE uint8_t *leaf = mem_new(1, folder->edit->super.block_size, err);
    uint32_t hash;

    if (leaf == NULL || descend(folder, &way, name, &hash, err) < 0 ||
        folder_read_block(folder, way.leaf, leaf, err) < 0)
        return -1;
    /* Tried on this copy alone.  At most a leaf, and a node on each level. */
    *blocks = folder_insert(folder, leaf, name, folder->ino, EXT2_FT_UNKNOWN) ? 0 : way.levels + 1;
    return 0;
}

int index_add(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
              struct chr_error *err)
{
    AUTO_DESCENT struct descent way = {0};
    AUTO_FREE uint8_t *leaf = mem_new(1, folder->edit->super.block_size, err);
    struct new_name added = {name, ino, type, 0};
    bool room = false;

    if (leaf == NULL || descend(folder, &way, name, &added.hash, err) < 0 ||
        folder_read_block(folder, way.leaf, leaf, err) < 0)
        return -1;
    if (folder_insert(folder, leaf, name, ino, type))
        return folder_write_block(folder, way.leaf, leaf, err);
    /* Each turn adds a level or splits a node of one; there are three levels at most. */
    for (int turn = 0; turn < 2 * MAX_LEVELS && !room; turn++)
        if (make_room(folder, &way, &room, err) < 0 ||
            descend(folder, &way, name, &added.hash, err) < 0)
            return -1;
    if (!room)
        return err_set(err, CHR_E_INTERNAL, "an index makes no room");
    return crowd_leaf(folder, &way, leaf, &added, err);
}
