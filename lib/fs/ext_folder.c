/*
 * Folders of an ext: entries found, added and removed, block by block.
 *
 * A block is a list of entries (kernel, Documentation/filesystems/ext4/directory.rst):
 * u32 inode, u16 entry length, u8 name length, u8 type, name.  Inode 0 is a gap.  With
 * metadata_csum the last 12 bytes are a tail that looks like a gap and holds the
 * checksum.  Nodes of an index (ext_index.c) look like blocks that are one gap.
 *
 * libext2fs's own ext2fs_link() is not used: before it looks whether there is room it
 * joins gaps and changes lengths it has not checked, and its split of an index's leaf
 * reads before its map when the entries are small and the gaps large.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

enum {
    ENTRY_LENGTH = 4,
    ENTRY_NAME_LENGTH = 6,
    ENTRY_TYPE = 7,
    ENTRY_NAME = 8,
    TAIL_SIZE = 12,
    TAIL_TYPE = 0xDE,
    NAME_MAX_LENGTH = 255,
};

void folder_release(struct folder *folder)
{
    block_map_release(&folder->map);
}

size_t folder_entry_size(size_t name_length)
{
    return (ENTRY_NAME + name_length + 3) & ~(size_t)3;
}

/* ---- blocks ---- */

/* 64 KiB blocks: what does not fit in 16 bits is written as 65535. */
static size_t get_length(const uint8_t *entry, size_t block_size)
{
    size_t length = le16(entry + ENTRY_LENGTH);

    return length == 0xFFFF && block_size == 65536 ? block_size : length;
}

static void put_length(uint8_t *entry, size_t length)
{
    put_le16(entry + ENTRY_LENGTH, (uint16_t)(length == 65536 ? 0xFFFF : length));
}

int folder_open(struct ext_edit *edit, uint32_t ino, struct folder *out, struct chr_error *err)
{
    AUTO_FOLDER struct folder folder = {.edit = edit, .ino = ino};
    uint64_t size = edit->super.block_size;

    if (ext_work_read_inode(edit, ino, &folder.inode, err) < 0)
        return -1;
    if (!S_ISDIR(folder.inode.small.i_mode))
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is not a folder", ino);
    if (ext_map_read(edit, ino, &folder.inode.small, &folder.map, err) < 0)
        return err_context(err, "folder of inode %" PRIu32, ino);
    folder.blocks = EXT2_I_SIZE(&folder.inode.small) / size;
    folder.usable = size - (edit->checksums ? TAIL_SIZE : 0);
    if (EXT2_I_SIZE(&folder.inode.small) % size != 0 || folder.blocks == 0 ||
        folder.map.data.blocks != folder.blocks ||
        folder.map.data.items[folder.map.data.count - 1].logical +
                folder.map.data.items[folder.map.data.count - 1].count != folder.blocks)
        return err_set(err, CHR_E_DAMAGED,
                       "folder of inode %" PRIu32 ": %" PRIu64 " bytes, but %" PRIu64 " blocks",
                       ino, (uint64_t)EXT2_I_SIZE(&folder.inode.small), folder.map.data.blocks);
    *out = folder;
    folder.map = (struct block_map){0};
    return 0;
}

/* The map has no holes: its last block is where the count says. */
static uint64_t physical(const struct folder *folder, uint64_t logical)
{
    const struct block_list *data = &folder->map.data;
    size_t low = 0;
    size_t high = data->count;

    while (high - low > 1) {
        size_t middle = (low + high) / 2;

        if (data->items[middle].logical <= logical)
            low = middle;
        else
            high = middle;
    }
    return data->items[low].start + (logical - data->items[low].logical);
}

static int check_entries(const struct folder *folder, const uint8_t *block, uint64_t logical,
                         struct chr_error *err)
{
    size_t size = folder->edit->super.block_size;
    size_t length;

    for (size_t at = 0; at < size; at += length) {
        const uint8_t *p = block + at;
        size_t name = p[ENTRY_NAME_LENGTH];

        length = size - at >= ENTRY_NAME ? get_length(p, size) : 0;
        if (length < TAIL_SIZE || length % 4 != 0 || length > size - at)
            return err_set(err, CHR_E_DAMAGED,
                           "folder of inode %" PRIu32 ", block %" PRIu64
                           ": entry of %zu bytes where %zu are left",
                           folder->ino, logical, length, size - at);
        if (le32(p) == 0)
            continue;
        if (le32(p) > folder->edit->super.inodes || name == 0 || name + ENTRY_NAME > length ||
            memchr(p + ENTRY_NAME, '/', name) != NULL ||
            memchr(p + ENTRY_NAME, '\0', name) != NULL)
            return err_set(err, CHR_E_DAMAGED,
                           "folder of inode %" PRIu32 ", block %" PRIu64 ": bad entry at byte %zu",
                           folder->ino, logical, at);
    }
    return 0;
}

int folder_read_block(struct folder *folder, uint64_t logical, uint8_t *block,
                      struct chr_error *err)
{
    ext2_filsys fs = folder->edit->fs;
    errcode_t code;

    if (logical >= folder->blocks)
        return err_set(err, CHR_E_DAMAGED,
                       "folder of inode %" PRIu32 ": its index names block %" PRIu64 " of %" PRIu64,
                       folder->ino, logical, folder->blocks);
    code = io_channel_read_blk64(fs->io, physical(folder, logical), 1, block);
    if (code == 0 && !ext2fs_dir_block_csum_verify(fs, folder->ino, (void *)block))
        code = EXT2_ET_DIR_CSUM_INVALID;
    if (code != 0)
        return ext_work_error(folder->edit, code, "folder", err);
    return check_entries(folder, block, logical, err);
}

int folder_write_block(struct folder *folder, uint64_t logical, uint8_t *block,
                       struct chr_error *err)
{
    ext2_filsys fs = folder->edit->fs;
    errcode_t code = ext2fs_dir_block_csum_set(fs, folder->ino, (void *)block);

    if (code == 0)
        code = io_channel_write_blk64(fs->io, physical(folder, logical), 1, block);
    return code != 0 ? ext_work_error(folder->edit, code, "folder", err) : 0;
}

int folder_append(struct folder *folder, uint64_t *logical, struct chr_error *err)
{
    struct ext_edit *edit = folder->edit;
    struct ext2_inode *inode = &folder->inode.small;
    uint64_t last = physical(folder, folder->blocks - 1);

    *logical = folder->blocks;
    if (ext_space_take(edit, last + 1, *logical, 1, &folder->map.data, err) < 0 ||
        ext_map_store(edit, folder->ino, inode, &folder->map, err) < 0)
        return -1;
    folder->blocks++;
    if (ext2fs_inode_size_set(edit->fs, inode,
                              (ext2_off64_t)(folder->blocks * edit->super.block_size)) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "a folder that large");
    return ext_work_write_inode(edit, folder->ino, &folder->inode, err);
}

/* ---- looking ---- */

static bool is_name(const uint8_t *entry, const char *name, size_t length)
{
    return le32(entry) != 0 && entry[ENTRY_NAME_LENGTH] == length &&
           memcmp(entry + ENTRY_NAME, name, length) == 0;
}

/* Look for NAME in one block; BUF is that large. */
static int find_in_block(struct folder *folder, uint64_t logical, const char *name, uint8_t *buf,
                         struct folder_hit *hit, struct chr_error *err)
{
    size_t size = folder->edit->super.block_size;
    size_t length = strlen(name);
    size_t previous = 0;

    if (folder_read_block(folder, logical, buf, err) < 0)
        return -1;
    for (size_t at = 0; at < size; at += get_length(buf + at, size)) {
        if (is_name(buf + at, name, length)) {
            *hit = (struct folder_hit){logical, at, previous, le32(buf + at)};
            return 0;
        }
        previous = at;
    }
    return 0;
}

static int find_anywhere(struct folder *folder, const char *name, uint8_t *buf,
                         struct folder_hit *hit, struct chr_error *err)
{
    for (uint64_t i = 0; i < folder->blocks && hit->ino == 0; i++)
        if (find_in_block(folder, i, name, buf, hit, err) < 0)
            return -1;
    return 0;
}

/* In a large folder, of which the names are known. */
static int find_known(struct folder *folder, const struct folder_names *names, const char *name,
                      uint8_t *buf, struct folder_hit *hit, struct chr_error *err)
{
    uint64_t block;

    if (!names_have(names, name, &block))
        return 0;
    if (block < folder->blocks && find_in_block(folder, block, name, buf, hit, err) < 0)
        return -1;
    if (hit->ino != 0)
        return 0;
    if (find_anywhere(folder, name, buf, hit, err) < 0)
        return -1;
    return hit->ino != 0 ? names_add(folder, name, hit->block, err) : 0;
}

int folder_find(struct folder *folder, const char *name, struct folder_hit *hit,
                struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, folder->edit->super.block_size, err);
    struct folder_names *names;

    *hit = (struct folder_hit){0};
    if (buf == NULL || names_open(folder, &names, err) < 0)
        return -1;
    return names != NULL ? find_known(folder, names, name, buf, hit, err)
                         : find_anywhere(folder, name, buf, hit, err);
}

int folder_walk_block(struct folder *folder, uint64_t logical, folder_visit *visit, void *context,
                      struct chr_error *err)
{
    size_t size = folder->edit->super.block_size;
    AUTO_FREE uint8_t *block = mem_new(1, size, err);

    if (block == NULL || folder_read_block(folder, logical, block, err) < 0)
        return -1;
    for (size_t at = 0; at < size; at += get_length(block + at, size)) {
        char name[NAME_MAX_LENGTH + 1] = "";

        if (le32(block + at) == 0)
            continue;
        memcpy(name, block + at + ENTRY_NAME, block[at + ENTRY_NAME_LENGTH]);
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            visit(context, name, le32(block + at), err) < 0)
            return -1;
    }
    return 0;
}

int folder_walk(struct folder *folder, folder_visit *visit, void *context, struct chr_error *err)
{
    for (uint64_t i = 0; i < folder->blocks; i++)
        if (folder_walk_block(folder, i, visit, context, err) < 0)
            return -1;
    return 0;
}

int folder_parent(struct folder *folder, uint32_t *ino, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, folder->edit->super.block_size, err);
    struct folder_hit hit = {0};

    if (buf == NULL || find_anywhere(folder, "..", buf, &hit, err) < 0)
        return -1;
    if (hit.ino == 0)
        return err_set(err, CHR_E_DAMAGED, "folder of inode %" PRIu32 " has no ..", folder->ino);
    *ino = hit.ino;
    return 0;
}

/* ---- changing ---- */

static void put_entry(uint8_t *entry, size_t length, const char *name, uint32_t ino, uint8_t type)
{
    size_t name_length = strlen(name);

    memset(entry, 0, folder_entry_size(name_length));
    put_le32(entry, ino);
    put_length(entry, length);
    entry[ENTRY_NAME_LENGTH] = (uint8_t)name_length;
    entry[ENTRY_TYPE] = type;
    memcpy(entry + ENTRY_NAME, name, name_length);
}

bool folder_insert(const struct folder *folder, uint8_t *block, const char *name, uint32_t ino,
                   uint8_t type)
{
    size_t size = folder->edit->super.block_size;
    size_t needed = folder_entry_size(strlen(name));
    size_t length;

    if (!ext2fs_has_feature_filetype(folder->edit->fs->super))
        type = EXT2_FT_UNKNOWN;
    for (size_t at = 0; at < folder->usable; at += length) {
        uint8_t *p = block + at;
        size_t taken = le32(p) != 0 ? folder_entry_size(p[ENTRY_NAME_LENGTH]) : 0;

        length = get_length(p, size);
        if (length < taken + needed || at + length > folder->usable)
            continue;
        if (taken != 0)
            put_length(p, taken);
        put_entry(p + taken, length - taken, name, ino, type);
        return true;
    }
    return false;
}

void folder_format_empty(const struct ext_edit *edit, uint8_t *block)
{
    size_t size = edit->super.block_size;

    memset(block, 0, size);
    put_length(block, size - (edit->checksums ? TAIL_SIZE : 0));
    if (edit->checksums) {
        put_length(block + size - TAIL_SIZE, TAIL_SIZE);
        block[size - TAIL_SIZE + ENTRY_TYPE] = TAIL_TYPE;
    }
}

void folder_format(const struct ext_edit *edit, uint32_t ino, uint32_t parent, uint8_t *block)
{
    uint8_t type = ext2fs_has_feature_filetype(edit->fs->super) ? EXT2_FT_DIR : EXT2_FT_UNKNOWN;
    size_t dot = folder_entry_size(1);
    size_t rest;

    folder_format_empty(edit, block);
    rest = get_length(block, edit->super.block_size) - dot;
    put_entry(block, dot, ".", ino, type);
    put_entry(block + dot, rest, "..", parent, type);
}

int folder_remove(struct folder *folder, const struct folder_hit *hit, struct chr_error *err)
{
    size_t size = folder->edit->super.block_size;
    AUTO_FREE uint8_t *block = mem_new(1, size, err);
    uint8_t *entry;
    size_t length;

    names_forget(folder->edit, folder->ino);
    if (block == NULL || folder_read_block(folder, hit->block, block, err) < 0)
        return -1;
    entry = block + hit->off;
    length = get_length(entry, size);
    /* The name goes too: it may say what nobody should know any more. */
    memset(entry + ENTRY_NAME_LENGTH, 0, length - ENTRY_NAME_LENGTH);
    put_le32(entry, 0);
    if (hit->previous != hit->off) {
        put_length(block + hit->previous, get_length(block + hit->previous, size) + length);
        memset(entry, 0, ENTRY_NAME);
    }
    return folder_write_block(folder, hit->block, block, err);
}

int folder_replace(struct folder *folder, const struct folder_hit *hit, uint32_t ino,
                   struct chr_error *err)
{
    AUTO_FREE uint8_t *block = mem_new(1, folder->edit->super.block_size, err);

    if (block == NULL || folder_read_block(folder, hit->block, block, err) < 0)
        return -1;
    put_le32(block + hit->off, ino);
    return folder_write_block(folder, hit->block, block, err);
}
