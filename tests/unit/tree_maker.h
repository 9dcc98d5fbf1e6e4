/*
 * Random file systems without the file system: a tree of files whose blocks
 * lie anywhere on a device - in pieces, with holes, never written, shared.
 */
#ifndef CHRIMG_TESTS_UNIT_TREE_MAKER_H
#define CHRIMG_TESTS_UNIT_TREE_MAKER_H

#include "base/bytes.h"
#include "fs/tree.h"
#include "unit.h"

#define MAP_SECTOR 512
/* What lies behind a sector of a file that has no place on the device. */
#define MAP_ZERO UINT64_MAX

struct tree_maker {
    struct dice *dice;
    uint32_t block_size;
    uint64_t blocks;
    uint8_t *taken; /* one byte a block */
    uint64_t budget; /* blocks that may still be given to files */
    struct file_tree tree;
};

static inline struct file_node *add_node(struct tree_maker *m, size_t parent, const char *name,
                                         enum file_kind kind)
{
    struct chr_error err;
    struct file_node *node = file_tree_add(&m->tree, parent, name, &err);

    assert_non_null(node);
    node->kind = kind;
    node->modified = 1000000000 + (int64_t)roll_below(m->dice, 1000000000);
    node->created = node->modified - 1000001;
    node->accessed = node->modified + 86400;
    return node;
}

/* The block behind LAST if it is free and we feel like it, else a free one anywhere. */
static inline uint64_t take_block(struct tree_maker *m, uint64_t last)
{
    uint64_t block = last + 1;

    if (last == 0 || roll_below(m->dice, 12) == 0 || block >= m->blocks || m->taken[block] != 0)
        do
            block = 1 + roll_below(m->dice, m->blocks - 1);
        while (m->taken[block] != 0);
    m->taken[block] = 1;
    return block;
}

static inline uint64_t blocks_of(const struct tree_maker *m, uint64_t size)
{
    return (size + m->block_size - 1) / m->block_size;
}

static inline void add_blocks(struct tree_maker *m, struct file_node *node)
{
    uint64_t count = blocks_of(m, node->size);
    uint64_t last = 0;
    struct chr_error err;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t kind = roll_below(m->dice, 40);

        if (kind == 0)
            continue; /* a hole */
        /* Now and then a block of another file, as a damaged file system has it. */
        last = kind == 1 && last != 0 && roll_below(m->dice, 4) == 0
                   ? 1 + roll_below(m->dice, m->blocks - 1)
                   : take_block(m, last);
        assert_done(file_node_add_run(node,
                                      (struct file_run){.file_off = i * m->block_size,
                                                        .off = last * m->block_size,
                                                        .length = m->block_size,
                                                        .unwritten = kind == 2},
                                      &err),
                    &err);
    }
}

/* A second name of a file that is there: the same blocks. */
static inline void add_second_name(struct tree_maker *m, struct file_node *node, size_t of)
{
    const struct file_node *old = &m->tree.nodes[of];
    struct chr_error err;

    node->size = old->size;
    node->inode = old->inode;
    m->budget -= blocks_of(m, node->size);
    for (size_t i = 0; i < old->run_count; i++)
        assert_done(file_node_add_run(node, old->runs[i], &err), &err);
}

static inline void add_file(struct tree_maker *m, size_t parent, const char *name)
{
    size_t other = (size_t)roll_below(m->dice, m->tree.count);
    uint64_t most = min_u64(m->budget, roll_below(m->dice, 3) == 0 ? 600 : 20);
    struct file_node *node = add_node(m, parent, name, FILE_REGULAR);

    if (m->tree.nodes[other].kind == FILE_REGULAR && roll_below(m->dice, 3) == 0 &&
        blocks_of(m, m->tree.nodes[other].size) <= m->budget) {
        add_second_name(m, node, other);
        return;
    }
    node->inode = m->tree.count;
    node->size = roll_below(m->dice, most * m->block_size + 1);
    m->budget -= blocks_of(m, node->size);
    add_blocks(m, node);
}

/* A name that FAT takes; the number makes it unlike the others. */
static inline const char *random_name(struct dice *dice, unsigned number, char *name, size_t size)
{
    static const char *const stems[] = {"MAP",     "file",    "A long name with spaces ",
                                        "b+c=d,",  ".hidden", "H\xC3\xBClle\xE2\x82\xAC",
                                        "BOOTX64", "longfilename"};
    static const char *const ends[] = {"", ".EFI", ".txt", ".tar.gz"};

    (void)snprintf(name, size, "%s%u%s", stems[roll_below(dice, 8)], number,
                   ends[roll_below(dice, 4)]);
    return name;
}

/* A tree on DEVICE_SIZE bytes, of which files take a third at most.  Release m->tree and free
 * m->taken with tree_maker_release(). */
static inline void make_random_tree(struct tree_maker *m, struct dice *dice, uint64_t device_size,
                                    uint32_t block_size)
{
    size_t folders[6] = {0};
    size_t folder_count = 1;
    char name[64];

    *m = (struct tree_maker){.dice = dice, .block_size = block_size};
    m->blocks = device_size / block_size;
    m->budget = min_u64(m->blocks / 3, 3000);
    m->taken = calloc(1, m->blocks);
    assert_non_null(m->taken);
    (void)add_node(m, 0, "", FILE_FOLDER);
    if (roll_below(dice, 2) == 0)
        (void)add_node(m, 0, "lost+found", FILE_FOLDER);
    for (unsigned i = 0; i < 3 + roll_below(dice, 25); i++) {
        size_t parent = folders[roll_below(dice, folder_count)];

        random_name(dice, i, name, sizeof name);
        if (folder_count < 6 && roll_below(dice, 5) == 0) {
            folders[folder_count++] = m->tree.count;
            (void)add_node(m, parent, name, FILE_FOLDER);
        } else {
            add_file(m, parent, name);
        }
    }
}

static inline void tree_maker_release(struct tree_maker *m)
{
    file_tree_release(&m->tree);
    free(m->taken);
}

/*
 * Where each of COUNT sectors of the file lies on the device, or MAP_ZERO: this
 * file's own reading of the runs.  The caller frees it.
 */
static inline uint64_t *map_file(const struct file_node *node, size_t count)
{
    uint64_t *map = malloc((count + 1) * sizeof *map);

    assert_non_null(map);
    for (size_t i = 0; i < count; i++)
        map[i] = MAP_ZERO;
    for (size_t k = 0; k < node->run_count; k++)
        for (uint64_t at = 0; at < node->runs[k].length; at += MAP_SECTOR) {
            uint64_t sector = (node->runs[k].file_off + at) / MAP_SECTOR;

            if (sector < count && !node->runs[k].unwritten)
                map[sector] = node->runs[k].off + at;
        }
    return map;
}

static inline size_t sectors_of(uint64_t size)
{
    return (size_t)((size + MAP_SECTOR - 1) / MAP_SECTOR);
}

#endif
