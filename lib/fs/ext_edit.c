/*
 * Opening an ext for changes, finding paths in it, and looking at what is there.
 *
 * Nothing here takes the time from a clock or a number from chance: the superblock
 * keeps its write time, a removed inode gets that as its deletion time, and a file
 * that is put brings its times along.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

#define NAME_LENGTH_MAX 255

int ext_work_error(struct ext_edit *edit, errcode_t code, const char *doing,
                   struct chr_error *err)
{
    if (edit->io.error.code != CHR_OK) {
        *err = edit->io.error;
        return err_context(err, "%s", doing);
    }
    if (code == EXT2_ET_NO_MEMORY || code == ENOMEM)
        return err_set(err, CHR_E_MEMORY, "%s: out of memory", doing);
    return err_set(err, CHR_E_DAMAGED, "ext %s: %s", doing, error_message(code));
}

/* ---- what can be written ---- */

enum { COMPAT, RO_COMPAT };

static const struct {
    int set;
    uint32_t bit;
    const char *name;
} unwritable[] = {
    {COMPAT, EXT2_FEATURE_COMPAT_IMAGIC_INODES, "imagic_inodes"},
    {COMPAT, EXT2_FEATURE_COMPAT_LAZY_BG, "lazy_bg"},
    {COMPAT, EXT2_FEATURE_COMPAT_EXCLUDE_BITMAP, "exclude_bitmap"},
    {RO_COMPAT, 0x4, "btree_dir"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "has_snapshot"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_QUOTA, "quota"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_REPLICA, "replica"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_READONLY, "read-only"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_PROJECT, "project"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks"},
    {RO_COMPAT, EXT4_FEATURE_RO_COMPAT_VERITY, "verity"},
};

#define COMPAT_WRITABLE                                                                           \
    (EXT2_FEATURE_COMPAT_DIR_PREALLOC | EXT3_FEATURE_COMPAT_HAS_JOURNAL |                         \
     EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_RESIZE_INODE |                            \
     EXT2_FEATURE_COMPAT_DIR_INDEX | EXT4_FEATURE_COMPAT_SPARSE_SUPER2 |                          \
     EXT4_FEATURE_COMPAT_FAST_COMMIT | EXT4_FEATURE_COMPAT_STABLE_INODES |                        \
     EXT4_FEATURE_COMPAT_ORPHAN_FILE)
#define RO_COMPAT_WRITABLE                                                                        \
    (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |                    \
     EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |                         \
     EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |                      \
     EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)

/* The incompatible ones were looked at when the superblock was read. */
static int check_features(const struct ext_super *super, struct chr_error *err)
{
    uint32_t compat = super->compat & ~(uint32_t)COMPAT_WRITABLE;
    uint32_t ro_compat = super->ro_compat & ~(uint32_t)RO_COMPAT_WRITABLE;

    for (size_t i = 0; i < sizeof unwritable / sizeof unwritable[0]; i++)
        if (((unwritable[i].set == COMPAT ? compat : ro_compat) & unwritable[i].bit) != 0)
            return err_set(err, CHR_E_UNSUPPORTED, "ext feature %s cannot be written",
                           unwritable[i].name);
    if (compat != 0 || ro_compat != 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "unknown ext feature bits: compat 0x%" PRIx32 ", ro_compat 0x%" PRIx32,
                       compat, ro_compat);
    return 0;
}

static int check_state(const struct ext_super *super, struct chr_error *err)
{
    if (super->needs_recovery) {
        (void)err_set(err, CHR_E_REFUSED,
                      "the journal holds changes that are not in place: it must be replayed first");
        return err_hint(err, "boot the router once and shut it down, or run e2fsck");
    }
    if (super->has_errors) {
        (void)err_set(err, CHR_E_REFUSED, "the file system is marked as having errors");
        return err_hint(err, "run e2fsck -f on it, then try again");
    }
    if (!super->clean) {
        (void)err_set(err, CHR_E_REFUSED, "the file system was not unmounted");
        return err_hint(err, "boot the router once and shut it down, or run e2fsck -f");
    }
    return 0;
}

/* What ext_super_read() does not decode, because no reader needs it. */
static int check_rest(const struct ext_edit *edit, struct chr_error *err)
{
    const struct ext2_super_block *super = edit->fs->super;

    if (super->s_last_orphan != 0 || ext2fs_has_feature_orphan_present(edit->fs->super)) {
        (void)err_set(err, CHR_E_REFUSED, "files that were open when it stopped wait for removal");
        return err_hint(err, "boot the router once and shut it down, or run e2fsck -f");
    }
    if (EXT2_FIRST_INODE(super) < EXT2_GOOD_OLD_FIRST_INO ||
        EXT2_FIRST_INODE(super) > super->s_inodes_count)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: first inode is %" PRIu32,
                       (uint32_t)EXT2_FIRST_INODE(super));
    return 0;
}

int ext_work_sum_counts(struct ext_edit *edit, struct chr_error *err)
{
    ext2_filsys fs = edit->fs;
    uint64_t blocks = 0;
    uint64_t inodes = 0;

    for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
        blocks += ext2fs_bg_free_blocks_count(fs, group);
        inodes += ext2fs_bg_free_inodes_count(fs, group);
    }
    if (blocks > edit->super.blocks || inodes > edit->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "its groups count more free than there is");
    ext2fs_free_blocks_count_set(fs->super, blocks);
    fs->super->s_free_inodes_count = (uint32_t)inodes;
    return 0;
}

static int open_file_system(struct ext_edit *edit, struct chr_error *err)
{
    errcode_t code;

    initialize_ext2_error_table(); /* else its messages are numbers; done once by itself */
    code = ext2fs_open2(edit->io.name, NULL, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0,
                        (io_manager)&ext_io_manager, &edit->fs);
    if (code != 0)
        return ext_work_error(edit, code, "file system", err);
    /* Backups are for features and geometry, which do not change; e2fsck asks for no more. */
    edit->fs->flags |= EXT2_FLAG_MASTER_SB_ONLY;
    /* Zero would make libext2fs ask the clock. */
    edit->fs->now = edit->fs->super->s_wtime != 0 ? (time_t)edit->fs->super->s_wtime : 1;
    edit->checksums = ext2fs_has_feature_metadata_csum(edit->fs->super) != 0;
    if (check_rest(edit, err) < 0 || ext_work_sum_counts(edit, err) < 0)
        return -1;
    code = ext2fs_read_bitmaps(edit->fs);
    return code != 0 ? ext_work_error(edit, code, "bitmaps", err) : 0;
}

int ext_edit_open(struct blk *device, struct ext_edit **out, struct chr_error *err)
{
    AUTO_EXT_EDIT struct ext_edit *edit = mem_new(1, sizeof *edit, err);

    if (edit == NULL || ext_super_read(device, &edit->super, err) < 0 ||
        check_features(&edit->super, err) < 0 || check_state(&edit->super, err) < 0)
        return -1;
    ext_io_init(&edit->io, device);
    if (open_file_system(edit, err) < 0 || ext_space_open(edit, err) < 0)
        return -1;
    *out = STEAL(edit);
    return 0;
}

static void release(struct ext_edit *edit)
{
    names_forget_all(edit);
    if (edit->metadata != NULL)
        ext2fs_free_block_bitmap(edit->metadata);
    if (edit->fs != NULL)
        ext2fs_free(edit->fs);
    free(edit);
}

void ext_edit_cleanup(struct ext_edit **edit)
{
    if (*edit != NULL)
        release(*edit);
    *edit = NULL;
}

int ext_edit_finish(struct ext_edit **edit, struct chr_error *err)
{
    AUTO_EXT_EDIT struct ext_edit *open = STEAL(*edit);
    errcode_t code;

    if (open->broken)
        return err_set(err, CHR_E_INTERNAL, "a change stopped half-way and cannot be kept");
    code = ext2fs_close_free(&open->fs);
    return code != 0 ? ext_work_error(open, code, "write", err) : 0;
}

/* ---- inodes ---- */

static int check_kind(const struct ext2_inode *inode, uint32_t ino, struct chr_error *err)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } flags[] = {
        {EXT4_INLINE_DATA_FL, "inline_data"}, {EXT4_ENCRYPT_FL, "encrypt"},
        {EXT4_VERITY_FL, "verity"},           {EXT4_EA_INODE_FL, "ea_inode"},
        {EXT4_CASEFOLD_FL, "casefold"},
    };

    if (inode->i_links_count == 0)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is deleted", ino);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if ((inode->i_flags & flags[i].flag) != 0)
            return err_set(err, CHR_E_UNSUPPORTED, "inode %" PRIu32 " uses %s", ino,
                           flags[i].name);
    return 0;
}

int ext_work_read_inode(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                        struct chr_error *err)
{
    ext2_filsys fs = edit->fs;
    errcode_t code;

    *inode = (union work_inode){0};
    if (ino == 0 || ino > edit->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is outside the file system", ino);
    if (ino != EXT2_ROOT_INO && ino < EXT2_FIRST_INODE(fs->super))
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is the file system's own", ino);
    if (ino == fs->super->s_orphan_file_inum && ext2fs_has_feature_orphan_file(fs->super))
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is the file system's own", ino);
    if (!ext2fs_test_inode_bitmap2(fs->inode_map, ino))
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is marked free", ino);
    code = ext2fs_read_inode_full(fs, ino, &inode->small, sizeof *inode);
    if (code != 0)
        return ext_work_error(edit, code, "inode", err);
    return check_kind(&inode->small, ino, err);
}

int ext_work_write_inode(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                         struct chr_error *err)
{
    errcode_t code = ext2fs_write_inode_full(edit->fs, ino, &inode->small, sizeof *inode);

    return code != 0 ? ext_work_error(edit, code, "inode", err) : 0;
}

int ext_work_check_mutable(const struct ext2_inode *inode, struct chr_error *err)
{
    if ((inode->i_flags & (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)) == 0)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s is marked as not to be changed (chattr +i or +a)",
                  S_ISDIR(inode->i_mode) ? "the folder" : "the file");
    return err_hint(err, "take the mark away on the router, if it is to be changed");
}

/* ---- paths ---- */

void work_place_release(struct work_place *place)
{
    folder_release(&place->parent);
}

static int check_path(const char *path, struct chr_error *err)
{
    size_t length;

    if (strlen(path) >= FILE_PATH_MAX)
        return err_set(err, CHR_E_USAGE, "a path of more than %d bytes", FILE_PATH_MAX - 1);
    for (const char *part = path;; part += length + 1) {
        length = strcspn(part, "/");
        if (length == 0 || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return err_set(err, CHR_E_USAGE,
                           "a path has no empty component, no \".\" and no \"..\"");
        if (length > NAME_LENGTH_MAX)
            return err_set(err, CHR_E_USAGE, "a name of more than %d bytes", NAME_LENGTH_MAX);
        if (part[length] == '\0')
            return 0;
    }
}

/* Replace FOLDER by the one with NAME in it. */
static int enter(struct folder *folder, const char *name, struct chr_error *err)
{
    struct ext_edit *edit = folder->edit;
    struct folder_hit hit;
    union work_inode inode;
    uint32_t above = folder->ino;
    uint32_t parent;

    if (folder_find(folder, name, &hit, err) < 0)
        return -1;
    if (hit.ino == 0)
        return err_set(err, CHR_E_MISSING, "there is no folder %s", name);
    if (ext_work_read_inode(edit, hit.ino, &inode, err) < 0)
        return -1;
    if (S_ISLNK(inode.small.i_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a symbolic link, which is not followed", name);
        return err_hint(err, "name the folder that it points to");
    }
    if (!S_ISDIR(inode.small.i_mode))
        return err_set(err, CHR_E_REFUSED, "%s is not a folder", name);
    folder_release(folder);
    *folder = (struct folder){0};
    if (folder_open(edit, hit.ino, folder, err) < 0 || folder_parent(folder, &parent, err) < 0)
        return -1;
    /* Else the way goes in a circle, or a folder has two names. */
    if (parent != above)
        return err_set(err, CHR_E_DAMAGED, "the .. of folder %s is inode %" PRIu32
                       ", not %" PRIu32, name, parent, above);
    return 0;
}

int ext_work_locate(struct ext_edit *edit, const char *path, struct work_place *out,
                    struct chr_error *err)
{
    AUTO_PLACE struct work_place place = {0};
    const char *part = path;

    if (check_path(path, err) < 0 || folder_open(edit, EXT2_ROOT_INO, &place.parent, err) < 0)
        return -1;
    for (const char *slash; (slash = strchr(part, '/')) != NULL; part = slash + 1) {
        char name[NAME_LENGTH_MAX + 1] = "";

        memcpy(name, part, (size_t)(slash - part));
        if (enter(&place.parent, name, err) < 0)
            return -1;
    }
    place.name = part;
    if (folder_find(&place.parent, part, &place.hit, err) < 0)
        return -1;
    *out = place;
    place = (struct work_place){0};
    return 0;
}

/* ---- looking ---- */

static enum file_kind kind_of(uint16_t mode)
{
    return S_ISREG(mode)   ? FILE_REGULAR
           : S_ISDIR(mode) ? FILE_FOLDER
           : S_ISLNK(mode) ? FILE_SYMLINK
                           : FILE_OTHER;
}

/* Seconds of 32 bits, and two more bits where the inode has them (kernel, inodes.rst). */
static int64_t modified_of(const struct ext_edit *edit, const union work_inode *inode)
{
    int64_t seconds = (int32_t)inode->small.i_mtime;

    if (edit->super.inode_size > EXT2_GOOD_OLD_INODE_SIZE && inode->large.i_extra_isize >= 12)
        seconds += (int64_t)(inode->large.i_mtime_extra & 3) << 32;
    return seconds;
}

int ext_edit_stat(struct ext_edit *edit, const char *path, struct edit_entry *out,
                  struct chr_error *err)
{
    AUTO_PLACE struct work_place place = {0};
    union work_inode inode;
    uint32_t ino = EXT2_ROOT_INO;

    if (*path != '\0') {
        if (ext_work_locate(edit, path, &place, err) < 0)
            return err_context(err, "/%s", path);
        ino = place.hit.ino;
        if (ino == 0)
            return err_set(err, CHR_E_MISSING, "/%s: no such file or folder", path);
    }
    if (ext_work_read_inode(edit, ino, &inode, err) < 0)
        return err_context(err, "/%s", path);
    *out = (struct edit_entry){
        .kind = kind_of(inode.small.i_mode),
        .size = EXT2_I_SIZE(&inode.small),
        .attributes = {.mode = inode.small.i_mode & 07777u,
                       .uid = inode_uid(inode.small),
                       .gid = inode_gid(inode.small),
                       .modified = modified_of(edit, &inode)},
        .links = inode.small.i_links_count,
    };
    return 0;
}

int ext_edit_room(struct ext_edit *edit, uint64_t *bytes, uint32_t *inodes, struct chr_error *err)
{
    uint64_t blocks = ext_space_free(edit);
    struct block_run run = {0, 0, blocks};
    struct block_list all = {&run, 1, 1, blocks};
    uint64_t own = ext_map_own_blocks(edit, &all, edit->super.has_extents);

    (void)err;
    *bytes = blocks > own ? (blocks - own) * edit->super.block_size : 0;
    *inodes = edit->fs->super->s_free_inodes_count;
    return 0;
}
