/*
 * The verifier's second pass: every folder's entries, what they name, and no name twice.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_check.h"

enum {
    ENTRY_LENGTH = 4,
    ENTRY_NAME_LENGTH = 6,
    ENTRY_TYPE = 7,
    ENTRY_NAME = 8,
    ENTRY_MIN = 12,
    DOT_LENGTH = 12,
    NAMES_FIRST = 64, /* places of a folder's table of names at first; a power of two */
};

/* Hashes of a folder's names (FNV-1a, 64 bits): two of one hash are taken for one name. */
struct names {
    uint64_t *places; /* 0: empty */
    size_t capacity;
    size_t count;
};

struct folder_check {
    struct check *check;
    uint32_t ino;
    struct inode_facts *facts;
    struct leaf_facts *blocks;
    size_t count;
    size_t capacity;
    struct names names;
    int version; /* of the index's hash; -1 without one */
    size_t entries;
};

static void folder_check_release(struct folder_check *folder)
{
    free(folder->blocks);
    free(folder->names.places);
}
#define AUTO_FOLDER_CHECK CLEANUP(folder_check_release)

/* ---- names ---- */

static bool place_name(uint64_t *places, size_t capacity, uint64_t hash)
{
    size_t at = (size_t)hash & (capacity - 1);

    while (places[at] != 0 && places[at] != hash)
        at = (at + 1) & (capacity - 1);
    if (places[at] == hash)
        return false;
    places[at] = hash;
    return true;
}

static int grow_names(struct names *names, struct chr_error *err)
{
    size_t capacity = names->capacity == 0 ? NAMES_FIRST : 2 * names->capacity;
    uint64_t *places = mem_new(capacity, sizeof *places, err);

    if (places == NULL)
        return -1;
    for (size_t i = 0; i < names->capacity; i++)
        if (names->places[i] != 0)
            (void)place_name(places, capacity, names->places[i]);
    free(names->places);
    names->places = places;
    names->capacity = capacity;
    return 0;
}

static int add_name(struct folder_check *folder, const uint8_t *name, size_t length,
                    struct chr_error *err)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);

    if (2 * (folder->names.count + 1) > folder->names.capacity &&
        grow_names(&folder->names, err) < 0)
        return -1;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ name[i]) * UINT64_C(0x100000001B3);
    hash |= 1; /* never the mark of an empty place */
    folder->names.count++;
    if (!place_name(folder->names.places, folder->names.capacity, hash))
        return err_set(err, CHR_E_DAMAGED, "it holds one name twice");
    return 0;
}

/* ---- entries ---- */

static uint8_t type_of(uint16_t mode)
{
    return S_ISREG(mode)    ? EXT2_FT_REG_FILE
           : S_ISDIR(mode)  ? EXT2_FT_DIR
           : S_ISCHR(mode)  ? EXT2_FT_CHRDEV
           : S_ISBLK(mode)  ? EXT2_FT_BLKDEV
           : S_ISFIFO(mode) ? EXT2_FT_FIFO
           : S_ISSOCK(mode) ? EXT2_FT_SOCK
           : S_ISLNK(mode)  ? EXT2_FT_SYMLINK
                            : EXT2_FT_UNKNOWN;
}

static int check_target(const struct folder_check *folder, const uint8_t *p,
                        struct inode_facts **target, struct chr_error *err)
{
    const struct check *check = folder->check;
    uint32_t ino = le32(p);
    bool typed = ext2fs_has_feature_filetype(check->fs->super) != 0;

    if (ino > check->super.inodes ||
        (ino != EXT2_ROOT_INO && ino < EXT2_FIRST_INODE(check->fs->super)))
        return err_set(err, CHR_E_DAMAGED, "an entry names inode %" PRIu32, ino);
    *target = check_facts(check, ino);
    if (*target == NULL)
        return err_set(err, CHR_E_DAMAGED, "an entry names inode %" PRIu32 ", which is free", ino);
    if (p[ENTRY_TYPE] != (typed ? type_of((*target)->mode) : EXT2_FT_UNKNOWN))
        return err_set(err, CHR_E_DAMAGED, "the entry for inode %" PRIu32 " has type %u", ino,
                       p[ENTRY_TYPE]);
    return 0;
}

/* The first two entries are "." and "..", and no others are. */
static int take_dots(struct folder_check *folder, const uint8_t *p, size_t length,
                     struct chr_error *err)
{
    bool first = folder->entries == 0;
    size_t wanted = first ? 1 : 2;

    if (p[ENTRY_NAME_LENGTH] != wanted || memcmp(p + ENTRY_NAME, "..", wanted) != 0 ||
        (first && (le32(p) != folder->ino || length != DOT_LENGTH)))
        return err_set(err, CHR_E_DAMAGED, "its entry %s is missing or wrong", first ? "." : "..");
    if (!first)
        folder->facts->dotdot = le32(p);
    return 0;
}

static int take_name(struct folder_check *folder, struct leaf_facts *block, const uint8_t *p,
                     struct inode_facts *target, struct chr_error *err)
{
    const uint8_t *name = p + ENTRY_NAME;
    size_t length = p[ENTRY_NAME_LENGTH];
    uint32_t hash;
    uint32_t minor;

    if (memchr(name, '/', length) != NULL || memchr(name, '\0', length) != NULL ||
        (length <= 2 && memcmp(name, "..", length) == 0))
        return err_set(err, CHR_E_DAMAGED, "an entry's name is ., .., or holds a / or NUL");
    if (S_ISDIR(target->mode)) {
        if (target->parent != 0 || le32(p) == EXT2_ROOT_INO)
            return err_set(err, CHR_E_DAMAGED, "folder of inode %" PRIu32 " has two names",
                           le32(p));
        target->parent = folder->ino;
    }
    if (add_name(folder, name, length, err) < 0)
        return -1;
    if (folder->version < 0)
        return 0;
    if (ext2fs_dirhash2(folder->version, (const char *)name, (int)length, NULL, 0,
                        folder->check->fs->super->s_hash_seed, &hash, &minor) != 0)
        return err_set(err, CHR_E_DAMAGED, "its index has a hash that nobody knows");
    block->lowest = hash < block->lowest ? hash : block->lowest;
    block->highest = hash > block->highest ? hash : block->highest;
    return 0;
}

static int take_entry(struct folder_check *folder, struct leaf_facts *block, const uint8_t *p,
                      size_t length, struct chr_error *err)
{
    size_t name = p[ENTRY_NAME_LENGTH];
    struct inode_facts *target = NULL;
    int result;

    if (name == 0 || name + ENTRY_NAME > length)
        return err_set(err, CHR_E_DAMAGED, "an entry's name of %zu bytes does not fit it", name);
    if (check_target(folder, p, &target, err) < 0)
        return -1;
    target->found++;
    result = folder->entries < 2 ? take_dots(folder, p, length, err)
                                 : take_name(folder, block, p, target, err);
    folder->entries++;
    return result;
}

static int take_block(struct folder_check *folder, struct leaf_facts *block, uint8_t *buf,
                      struct chr_error *err)
{
    struct check *check = folder->check;
    size_t size = check->super.block_size;
    errcode_t code = io_channel_read_blk64(check->fs->io, block->start, 1, buf);
    size_t length;

    if (code != 0)
        return check_error(check, code, "read", err);
    if (!ext2fs_dir_block_csum_verify(check->fs, folder->ino, (void *)buf))
        return err_set(err, CHR_E_DAMAGED, "a checksum is wrong");
    if (block == folder->blocks && folder->facts->indexed)
        folder->version = check_hash_version(check, buf);
    for (size_t at = 0; at < size; at += length) {
        length = size - at >= ENTRY_MIN ? le16(buf + at + ENTRY_LENGTH) : 0;
        if (length == 0xFFFF && size == 65536)
            length = size;
        if (length < ENTRY_MIN || length % 4 != 0 || length > size - at)
            return err_set(err, CHR_E_DAMAGED, "an entry of %zu bytes where %zu are left", length,
                           size - at);
        if (le32(buf + at) == 0 && folder->entries < 2)
            return err_set(err, CHR_E_DAMAGED, "it does not begin with . and ..");
        if (le32(buf + at) != 0 && take_entry(folder, block, buf + at, length, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the folder ---- */

static int list_blocks(void *context, int64_t logical, uint64_t start, uint64_t count,
                       bool unwritten, struct chr_error *err)
{
    struct folder_check *folder = context;

    if (logical < 0)
        return 0;
    if (unwritten)
        return err_set(err, CHR_E_DAMAGED, "a block of it was never written");
    for (uint64_t i = 0; i < count; i++) {
        if (mem_grow(&folder->blocks, &folder->capacity, folder->count, sizeof *folder->blocks,
                     err) < 0)
            return -1;
        folder->blocks[folder->count++] = (struct leaf_facts){start + i, UINT32_MAX, 0, false};
    }
    return 0;
}

static int take_folder(struct check *check, uint32_t ino, uint8_t *buf, struct chr_error *err)
{
    AUTO_FOLDER_CHECK struct folder_check folder = {
        .check = check, .ino = ino, .facts = check_facts(check, ino), .version = -1};
    struct ext2_inode inode;
    errcode_t code = ext2fs_read_inode(check->fs, ino, &inode);

    if (code != 0)
        return check_error(check, code, "inode", err);
    if (check_walk_map(check, ino, &inode, list_blocks, &folder, err) < 0)
        return -1;
    for (size_t i = 0; i < folder.count; i++)
        if (take_block(&folder, &folder.blocks[i], buf, err) < 0)
            return -1;
    if (folder.entries < 2)
        return err_set(err, CHR_E_DAMAGED, "it has no . and ..");
    return folder.facts->indexed ? check_index(check, folder.blocks, folder.count, err) : 0;
}

int check_folders(struct check *check, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, check->super.block_size, err);

    if (buf == NULL)
        return -1;
    for (size_t i = 0; i < check->folder_count; i++)
        if (take_folder(check, check->folders[i], buf, err) < 0)
            return err_context(err, "folder of inode %" PRIu32, check->folders[i]);
    return 0;
}
