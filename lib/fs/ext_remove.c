/*
 * Names taken away, and what they were the last of: inodes, blocks, attributes, whole
 * folders.
 *
 * A folder is removed as a list of folders, each read before it is freed: no depth, and
 * no loop, because a folder is taken only from the one that its ".." names, and a freed
 * inode is met a second time as damage.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "fs/ext_work.h"

/* The kernel's EXT4_XATTR_REFCOUNT_MAX. */
#define ATTRIBUTE_SHARES_MAX 1024

int ext_work_drop_attributes(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                             struct chr_error *err)
{
    struct block_run run = {0, ext2fs_file_acl_block(edit->fs, inode), 1};
    struct block_list block = {&run, 1, 1, 1};
    uint32_t left;
    errcode_t code;

    if (run.start == 0)
        return 0;
    if (run.start < edit->super.first_data_block || run.start >= edit->super.blocks)
        return err_set(err, CHR_E_DAMAGED,
                       "its attribute block %" PRIu64 " is outside the file system", run.start);
    if (ext_space_check_owned(edit, &block, err) < 0)
        return -1;
    code = ext2fs_adjust_ea_refcount3(edit->fs, run.start, NULL, -1, &left, ino);
    if (code != 0)
        return ext_work_error(edit, code, "attribute block", err);
    if (left >= ATTRIBUTE_SHARES_MAX)
        return err_set(err, CHR_E_DAMAGED, "its attribute block %" PRIu64 " has a bad share count",
                       run.start);
    if (left == 0)
        ext_space_give(edit, &block);
    ext2fs_file_acl_block_set(edit->fs, inode, 0);
    return 0;
}

int ext_work_erase(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                   const struct block_map *map, struct chr_error *err)
{
    bool folder = S_ISDIR(inode->small.i_mode);

    names_forget(edit, ino); /* the number may be that of a new folder next */
    if (ext_work_drop_attributes(edit, ino, &inode->small, err) < 0)
        return -1;
    ext_space_give(edit, &map->data);
    ext_space_give(edit, &map->own);
    inode->small.i_links_count = 0;
    inode->small.i_dtime = (uint32_t)edit->fs->now;
    inode->small.i_flags &= ~(uint32_t)EXT4_EXTENTS_FL;
    memset(inode->small.i_block, 0, sizeof inode->small.i_block);
    (void)ext2fs_inode_size_set(edit->fs, &inode->small, 0);
    (void)ext2fs_iblk_set(edit->fs, &inode->small, 0);
    if (ext_work_write_inode(edit, ino, inode, err) < 0)
        return -1;
    ext2fs_inode_alloc_stats2(edit->fs, ino, -1, folder);
    return 0;
}

static int free_inode(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                      struct chr_error *err)
{
    AUTO_MAP struct block_map map = {0};

    if (ext_map_read(edit, ino, &inode->small, &map, err) < 0 ||
        ext_space_check_owned(edit, &map.data, err) < 0 ||
        ext_space_check_owned(edit, &map.own, err) < 0)
        return -1;
    return ext_work_erase(edit, ino, inode, &map, err);
}

int ext_work_unlink(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                    struct chr_error *err)
{
    if (inode->small.i_links_count > 1) {
        inode->small.i_links_count--;
        return ext_work_write_inode(edit, ino, inode, err);
    }
    return free_inode(edit, ino, inode, err);
}

/* ---- folders ---- */

struct removal {
    struct ext_edit *edit;
    uint32_t current; /* the folder that is being read */
    uint32_t *folders;
    size_t count;
    size_t capacity;
};

static int add_folder(struct removal *removal, uint32_t ino, struct chr_error *err)
{
    AUTO_FOLDER struct folder folder = {0};
    uint32_t parent;

    if (folder_open(removal->edit, ino, &folder, err) < 0 ||
        folder_parent(&folder, &parent, err) < 0)
        return -1;
    if (parent != removal->current)
        return err_set(err, CHR_E_DAMAGED,
                       "folder of inode %" PRIu32 " is in that of inode %" PRIu32
                       ", but its .. is inode %" PRIu32,
                       ino, removal->current, parent);
    if (mem_grow(&removal->folders, &removal->capacity, removal->count, sizeof *removal->folders,
                 err) < 0)
        return -1;
    removal->folders[removal->count++] = ino;
    return 0;
}

static int remove_entry(void *context, const char *name, uint32_t ino, struct chr_error *err)
{
    struct removal *removal = context;
    union work_inode inode;
    int result = ext_work_read_inode(removal->edit, ino, &inode, err);

    if (result == 0)
        result = S_ISDIR(inode.small.i_mode) ? add_folder(removal, ino, err)
                                             : ext_work_unlink(removal->edit, ino, &inode, err);
    return result < 0 ? err_context(err, "%s", name) : 0;
}

static int refuse_entry(void *context, const char *name, uint32_t ino, struct chr_error *err)
{
    (void)context;
    (void)ino;
    (void)err_set(err, CHR_E_REFUSED, "the folder is not empty: it holds %s", name);
    return err_hint(err, "remove what is in it first, or all of it at once with -r");
}

static int remove_folder(struct ext_edit *edit, struct work_place *place, struct chr_error *err)
{
    struct removal removal = {.edit = edit, .current = place->parent.ino};
    AUTO_FREE uint32_t *folders = NULL;
    int result = add_folder(&removal, place->hit.ino, err);

    for (size_t i = 0; result == 0 && i < removal.count; i++) {
        AUTO_FOLDER struct folder folder = {0};

        removal.current = removal.folders[i];
        result = folder_open(edit, removal.current, &folder, err);
        if (result == 0)
            result = folder_walk(&folder, remove_entry, &removal, err);
        if (result == 0)
            result = free_inode(edit, folder.ino, &folder.inode, err);
    }
    folders = removal.folders;
    return result;
}

static int check_empty(struct ext_edit *edit, uint32_t ino, struct chr_error *err)
{
    AUTO_FOLDER struct folder folder = {0};

    return folder_open(edit, ino, &folder, err) < 0 ? -1
                                                    : folder_walk(&folder, refuse_entry, NULL, err);
}

/* Take away the name, then what it stood for; the parent loses the link of "..". */
static int carry_out(struct ext_edit *edit, struct work_place *place, union work_inode *inode,
                     struct chr_error *err)
{
    struct folder *parent = &place->parent;

    if (folder_remove(parent, &place->hit, err) < 0)
        return -1;
    if (!S_ISDIR(inode->small.i_mode))
        return ext_work_unlink(edit, place->hit.ino, inode, err);
    if (remove_folder(edit, place, err) < 0)
        return -1;
    /* 1 stands for more than can be counted (dir_nlink). */
    if (parent->inode.small.i_links_count <= 2)
        return 0;
    parent->inode.small.i_links_count--;
    return ext_work_write_inode(edit, parent->ino, &parent->inode, err);
}

int ext_edit_remove(struct ext_edit *edit, const char *path, bool recursive, struct chr_error *err)
{
    AUTO_PLACE struct work_place place = {0};
    union work_inode inode;

    if (*path == '\0')
        return err_set(err, CHR_E_REFUSED, "/: the root folder cannot be removed");
    if (strcmp(path, "lost+found") == 0)
        return err_set(err, CHR_E_REFUSED, "/lost+found: e2fsck needs it");
    if (ext_work_locate(edit, path, &place, err) < 0)
        return err_context(err, "/%s", path);
    if (place.hit.ino == 0)
        return err_set(err, CHR_E_MISSING, "/%s: no such file or folder", path);
    if (ext_work_read_inode(edit, place.hit.ino, &inode, err) < 0 ||
        ext_work_check_mutable(&inode.small, err) < 0 ||
        ext_work_check_mutable(&place.parent.inode.small, err) < 0)
        return err_context(err, "/%s", path);
    if (S_ISDIR(inode.small.i_mode) && !recursive && check_empty(edit, place.hit.ino, err) < 0)
        return err_context(err, "/%s", path);
    edit->broken = true;
    if (carry_out(edit, &place, &inode, err) < 0)
        return err_context(err, "/%s", path);
    edit->broken = false;
    return 0;
}
