/* Room for a name in a folder, and the name put there. */
#include "base/bytes.h"
#include "fs/ext_work.h"

/* ---- room ---- */

/* Blocks of the map itself, should each new block be a run of its own. */
static uint64_t map_growth(const struct folder *folder, uint64_t blocks)
{
    bool extents = (folder->inode.small.i_flags & EXT4_EXTENTS_FL) != 0;
    struct block_list grown = folder->map.data;
    struct block_run runs = {0, 0, 1};
    uint64_t before = folder->map.own.blocks;
    uint64_t after;

    if (!extents) {
        grown.blocks += blocks;
        after = ext_map_own_blocks(folder->edit, &grown, false);
    } else {
        struct block_list fresh = {&runs, 1, 1, 1};

        /* A leaf may fill up, and every level above it: one block each, never more than 4. */
        after = ext_map_own_blocks(folder->edit, &grown, true) +
                ext_map_own_blocks(folder->edit, &fresh, true);
        if (grown.count + blocks > 4)
            after += 2;
    }
    return after > before ? after - before : 0;
}

/*
 * The first block with room for NAME, with its entry put into BUF alone; *LOGICAL is the
 * number of blocks when there is none.
 */
static int find_room(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
                     uint8_t *buf, uint64_t *logical, struct chr_error *err)
{
    size_t size = folder_entry_size(strlen(name));
    uint64_t i = names_first_room(folder, size);

    for (; i < folder->blocks; i++) {
        if (folder_read_block(folder, i, buf, err) < 0)
            return -1;
        if (folder_insert(folder, buf, name, ino, type))
            break;
    }
    names_no_room(folder, size, i);
    *logical = i;
    return 0;
}

static int linear_growth(struct folder *folder, const char *name, uint64_t *blocks,
                         struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, folder->edit->super.block_size, err);
    uint64_t i;

    if (buf == NULL ||
        find_room(folder, name, folder->ino, EXT2_FT_UNKNOWN, buf, &i, err) < 0)
        return -1;
    *blocks = i == folder->blocks;
    return 0;
}

int folder_growth(struct folder *folder, const char *name, uint64_t *blocks,
                  struct chr_error *err)
{
    int result = index_present(folder) ? index_growth(folder, name, blocks, err)
                                       : linear_growth(folder, name, blocks, err);

    if (result == 0 && *blocks > 0)
        *blocks += map_growth(folder, *blocks);
    return result;
}

/* ---- adding ---- */

static int linear_add(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
                      struct chr_error *err)
{
    AUTO_FREE uint8_t *block = mem_new(1, folder->edit->super.block_size, err);
    uint64_t i;

    if (block == NULL || find_room(folder, name, ino, type, block, &i, err) < 0)
        return -1;
    if (i == folder->blocks) {
        if (folder_append(folder, &i, err) < 0)
            return -1;
        folder_format_empty(folder->edit, block);
        if (!folder_insert(folder, block, name, ino, type))
            return err_set(err, CHR_E_INTERNAL, "a name does not fit an empty block");
    }
    return folder_write_block(folder, i, block, err);
}

int folder_add(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
               struct chr_error *err)
{
    int result = index_present(folder) ? index_add(folder, name, ino, type, err)
                                       : linear_add(folder, name, ino, type, err);

    /* The last block is a guess. */
    return result < 0 ? -1 : names_add(folder, name, folder->blocks - 1, err);
}
