/*
 * The block map of one inode, read whole and written whole.
 *
 * As extents (kernel, Documentation/filesystems/ext4/ifork.rst): nodes of a 12-byte
 * header and 12-byte entries; the root with four entries is in the inode.  As indirect
 * blocks: 12 numbers in the inode, then blocks of numbers, one to three levels deep.
 * A map is laid out bottom-up from runs that are known, so that what it takes is known
 * before the first block is written.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

enum {
    EXTENT_MAGIC = 0xF30A,
    EXTENT_HEADER = 12,
    EXTENT_ENTRY = 12,
    EXTENT_ROOT_ENTRIES = 4,
    EXTENT_MAX_BLOCKS = 32768,
    DIRECT_BLOCKS = 12,
    INDIRECT_LEVELS = 3,
};

void block_map_release(struct block_map *map)
{
    block_list_release(&map->data);
    block_list_release(&map->own);
}

/* ---- reading ---- */

struct map_reader {
    struct ext_edit *edit;
    struct block_map *map;
    struct chr_error *err;
    int result;
};

/* Every block counts against the size of the file system, so that a loop ends. */
static int take_run(struct map_reader *reader, struct block_list *list, struct block_run run)
{
    const struct ext_super *super = &reader->edit->super;
    const struct block_list *data = &reader->map->data;

    if (run.count == 0 || run.start < super->first_data_block ||
        !range_within(run.start, run.count, super->blocks))
        return err_set(reader->err, CHR_E_DAMAGED, "block %" PRIu64 " is outside the file system",
                       run.start);
    if (data->blocks + reader->map->own.blocks + run.count > super->blocks)
        return err_set(reader->err, CHR_E_DAMAGED, "it has more blocks than the file system");
    if (list == data && data->count > 0 &&
        run.logical < data->items[data->count - 1].logical + data->items[data->count - 1].count)
        return err_set(reader->err, CHR_E_DAMAGED, "its extents overlap");
    return block_list_add(list, run, reader->err);
}

static int read_one(ext2_filsys fs, blk64_t *block, e2_blkcnt_t index, blk64_t parent, int offset,
                    void *private)
{
    struct map_reader *reader = private;
    struct block_run run = {index >= 0 ? (uint64_t)index : 0, *block, 1};

    (void)fs;
    (void)parent;
    (void)offset;
    /* A negative index is an indirect block. */
    reader->result = take_run(reader, index >= 0 ? &reader->map->data : &reader->map->own, run);
    return reader->result < 0 ? BLOCK_ABORT : 0;
}

static errcode_t read_extents(struct map_reader *reader, uint32_t ino)
{
    ext2_extent_handle_t handle;
    struct ext2fs_extent extent;
    errcode_t code = ext2fs_extent_open(reader->edit->fs, ino, &handle);
    int op = EXT2_EXTENT_ROOT;

    if (code != 0)
        return code;
    while (reader->result == 0 && (code = ext2fs_extent_get(handle, op, &extent)) == 0) {
        bool leaf = (extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0;

        op = EXT2_EXTENT_NEXT;
        if ((extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) != 0)
            continue;
        reader->result = take_run(reader, leaf ? &reader->map->data : &reader->map->own,
                                  (struct block_run){leaf ? extent.e_lblk : 0, extent.e_pblk,
                                                     leaf ? extent.e_len : 1});
    }
    ext2fs_extent_free(handle);
    return code == EXT2_ET_EXTENT_NO_NEXT ? 0 : code;
}

int ext_map_read(struct ext_edit *edit, uint32_t ino, const struct ext2_inode *inode,
                 struct block_map *map, struct chr_error *err)
{
    struct map_reader reader = {.edit = edit, .map = map, .err = err};
    struct ext2_inode copy = *inode;
    errcode_t code;

    if (!ext2fs_inode_has_valid_blocks2(edit->fs, &copy))
        return 0;
    code = (inode->i_flags & EXT4_EXTENTS_FL) != 0
               ? read_extents(&reader, ino)
               : ext2fs_block_iterate3(edit->fs, ino, BLOCK_FLAG_READ_ONLY, NULL, read_one,
                                       &reader);
    if (reader.result < 0)
        return -1;
    return code != 0 ? ext_work_error(edit, code, "block map", err) : 0;
}

/* ---- how much a map takes ---- */

static uint64_t entries_per_node(const struct ext_edit *edit)
{
    return (edit->super.block_size - EXTENT_HEADER) / EXTENT_ENTRY;
}

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

static uint64_t extent_count(const struct block_list *data)
{
    uint64_t count = 0;

    for (size_t i = 0; i < data->count; i++)
        count += divide_up(data->items[i].count, EXTENT_MAX_BLOCKS);
    return count;
}

static uint64_t extent_nodes(const struct ext_edit *edit, uint64_t items)
{
    uint64_t nodes = 0;

    while (items > EXTENT_ROOT_ENTRIES) {
        items = divide_up(items, entries_per_node(edit));
        nodes += items;
    }
    return nodes;
}

static uint64_t indirect_nodes(const struct ext_edit *edit, uint64_t blocks)
{
    uint64_t per_block = edit->super.block_size / 4;
    uint64_t left = blocks > DIRECT_BLOCKS ? blocks - DIRECT_BLOCKS : 0;
    uint64_t capacity = 1;
    uint64_t nodes = 0;

    for (int level = 1; left > 0 && level <= INDIRECT_LEVELS; level++) {
        uint64_t here;

        capacity *= per_block;
        here = min_u64(left, capacity);
        left -= here;
        for (int below = 0; below < level; below++) {
            here = divide_up(here, per_block);
            nodes += here;
        }
    }
    return nodes;
}

uint64_t ext_map_own_blocks(const struct ext_edit *edit, const struct block_list *data,
                            bool extents)
{
    return extents ? extent_nodes(edit, extent_count(data)) : indirect_nodes(edit, data->blocks);
}

/* ---- writing ---- */

/* The map's own blocks, handed out one by one. */
struct own_blocks {
    const struct block_list *list;
    size_t run;
    uint64_t used; /* of that run */
};

static uint64_t next_block(struct own_blocks *own)
{
    const struct block_run *run = &own->list->items[own->run];
    uint64_t block = run->start + own->used++;

    if (own->used == run->count) {
        own->run++;
        own->used = 0;
    }
    return block;
}

struct map_writer {
    struct ext_edit *edit;
    uint32_t ino;
    struct own_blocks own;
    struct own_blocks data; /* indirect: the data blocks in order */
    uint64_t left;          /* of them */
    struct chr_error *err;
};

/* One entry of a node: an extent (LENGTH blocks) or the node below it. */
struct extent_item {
    uint32_t logical;
    uint16_t length;
    uint64_t start;
};

static void put_node(uint8_t *node, const struct extent_item *items, size_t count, size_t room,
                     int depth)
{
    put_le16(node, EXTENT_MAGIC);
    put_le16(node + 2, (uint16_t)count);
    put_le16(node + 4, (uint16_t)room);
    put_le16(node + 6, (uint16_t)depth);
    put_le32(node + 8, 0);
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = node + EXTENT_HEADER + i * EXTENT_ENTRY;

        put_le32(p, items[i].logical);
        if (depth == 0) {
            put_le16(p + 4, items[i].length);
            put_le16(p + 6, (uint16_t)(items[i].start >> 32));
            put_le32(p + 8, (uint32_t)items[i].start);
        } else {
            put_le32(p + 4, (uint32_t)items[i].start);
            put_le16(p + 8, (uint16_t)(items[i].start >> 32));
            put_le16(p + 10, 0);
        }
    }
}

static struct extent_item *list_extents(const struct block_list *data, size_t *count,
                                        struct chr_error *err)
{
    uint64_t total = extent_count(data);
    struct extent_item *items = mem_new(total + 1, sizeof *items, err);
    size_t n = 0;

    for (size_t i = 0; items != NULL && i < data->count; i++)
        for (uint64_t done = 0; done < data->items[i].count; done += items[n++].length)
            items[n] = (struct extent_item){
                (uint32_t)(data->items[i].logical + done),
                (uint16_t)min_u64(EXTENT_MAX_BLOCKS, data->items[i].count - done),
                data->items[i].start + done,
            };
    *count = n;
    return items;
}

/* Put COUNT items into nodes of depth DEPTH; the items become those nodes. */
static int write_extent_level(struct map_writer *writer, struct extent_item *items, size_t *count,
                              int depth)
{
    size_t size = writer->edit->super.block_size;
    size_t room = entries_per_node(writer->edit);
    AUTO_FREE uint8_t *node = mem_new(1, size, writer->err);
    size_t nodes = 0;

    if (node == NULL)
        return -1;
    for (size_t at = 0; at < *count; at += room) {
        uint64_t block = next_block(&writer->own);
        errcode_t code;

        memset(node, 0, size);
        put_node(node, items + at, min_u64(room, *count - at), room, depth);
        code = ext2fs_extent_block_csum_set(writer->edit->fs, writer->ino,
                                            (struct ext3_extent_header *)(void *)node);
        if (code == 0)
            code = io_channel_write_blk64(writer->edit->fs->io, block, 1, node);
        if (code != 0)
            return ext_work_error(writer->edit, code, "extents", writer->err);
        items[nodes++] = (struct extent_item){items[at].logical, 0, block};
    }
    *count = nodes;
    return 0;
}

static int write_extents(struct map_writer *writer, struct ext2_inode *inode,
                         const struct block_list *data)
{
    size_t count;
    int depth = 0;
    AUTO_FREE struct extent_item *items = list_extents(data, &count, writer->err);

    if (items == NULL)
        return -1;
    for (; count > EXTENT_ROOT_ENTRIES; depth++)
        if (write_extent_level(writer, items, &count, depth) < 0)
            return -1;
    put_node((uint8_t *)inode->i_block, items, count, EXTENT_ROOT_ENTRIES, depth);
    return 0;
}

/* Write the indirect block of LEVEL (1: it points to data) and all below; its number in *OUT. */
static int write_indirect(struct map_writer *writer, int level, uint32_t *out)
{
    size_t size = writer->edit->super.block_size;
    uint64_t block = next_block(&writer->own);
    AUTO_FREE uint8_t *node = mem_new(1, size, writer->err);
    errcode_t code;

    if (node == NULL)
        return -1;
    for (size_t at = 0; at < size && writer->left > 0; at += 4) {
        uint32_t below;

        if (level == 1) {
            below = (uint32_t)next_block(&writer->data);
            writer->left--;
        } else if (write_indirect(writer, level - 1, &below) < 0) {
            return -1;
        }
        put_le32(node + at, below);
    }
    code = io_channel_write_blk64(writer->edit->fs->io, block, 1, node);
    if (code != 0)
        return ext_work_error(writer->edit, code, "indirect block", writer->err);
    *out = (uint32_t)block;
    return 0;
}

static int write_indirects(struct map_writer *writer, struct ext2_inode *inode)
{
    for (int i = 0; i < DIRECT_BLOCKS && writer->left > 0; i++, writer->left--)
        inode->i_block[i] = (uint32_t)next_block(&writer->data);
    for (int level = 1; level <= INDIRECT_LEVELS && writer->left > 0; level++)
        if (write_indirect(writer, level, &inode->i_block[DIRECT_BLOCKS + level - 1]) < 0)
            return -1;
    return 0;
}

static uint64_t last_logical(const struct block_list *data)
{
    return data->count == 0 ? 0
                            : data->items[data->count - 1].logical +
                                  data->items[data->count - 1].count;
}

/* Make MAP's own blocks as many as it needs. */
static int resize_own(struct ext_edit *edit, struct block_map *map, uint64_t needed,
                      struct chr_error *err)
{
    const struct block_list *data = &map->data;
    uint64_t goal = data->count > 0 ? data->items[0].start : 0;

    if (needed > map->own.blocks)
        return ext_space_take(edit, goal, 0, needed - map->own.blocks, &map->own, err);
    while (needed < map->own.blocks) {
        struct block_run *last = &map->own.items[map->own.count - 1];
        struct block_run spare = *last;
        struct block_list gone = {&spare, 1, 1, 0};

        spare.count = min_u64(last->count, map->own.blocks - needed);
        spare.start = last->start + last->count - spare.count;
        ext_space_give(edit, &gone);
        last->count -= spare.count;
        map->own.blocks -= spare.count;
        if (last->count == 0)
            map->own.count--;
    }
    return 0;
}

int ext_map_store(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                  struct block_map *map, struct chr_error *err)
{
    bool extents = (inode->i_flags & EXT4_EXTENTS_FL) != 0;
    struct map_writer writer = {
        .edit = edit, .ino = ino, .own.list = &map->own, .data.list = &map->data,
        .left = map->data.blocks, .err = err,
    };

    /* Without extents, numbers have 32 bits and the order is the whole map: no holes. */
    if (last_logical(&map->data) > UINT32_MAX ||
        (!extents && last_logical(&map->data) != map->data.blocks))
        return err_set(err, CHR_E_UNSUPPORTED, "a map with holes, or of 4 Gi blocks or more");
    if (resize_own(edit, map, ext_map_own_blocks(edit, &map->data, extents), err) < 0)
        return -1;
    memset(inode->i_block, 0, sizeof inode->i_block);
    if ((extents ? write_extents(&writer, inode, &map->data) : write_indirects(&writer, inode)) < 0)
        return -1;
    if (ext2fs_iblk_set(edit->fs, inode,
                        map->data.blocks + map->own.blocks +
                            (ext2fs_file_acl_block(edit->fs, inode) != 0)) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "a file of that many blocks");
    return 0;
}
