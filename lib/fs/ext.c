/*
 * Trees and block maps of an ext file system.
 *
 * libext2fs finds inodes and block maps; folders are parsed here, because a
 * hostile one must end in a message that names it, and because the walk must
 * be bounded: no file has more blocks than the file system.
 */
#include "fs/ext.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_io.h"

/* Bounds memory where thousands of names lead to one file in thousands of pieces. */
#define MAX_RUNS (1 << 19)

struct ext {
    struct ext_io io;
    struct ext_super super;
    ext2_filsys fs;
    uint64_t runs; /* of all files read so far */
    struct file_node map_blocks; /* indirect and extent blocks met so far, as runs */
};

/* libext2fs has numbers, the device below has sentences: the sentence wins. */
static int ext_error(struct ext *ext, errcode_t code, const char *doing, struct chr_error *err)
{
    if (ext->io.error.code != CHR_OK) {
        *err = ext->io.error;
        return err_context(err, "%s", doing);
    }
    if (code == EXT2_ET_NO_MEMORY || code == ENOMEM)
        return err_set(err, CHR_E_MEMORY, "%s: out of memory", doing);
    return err_set(err, CHR_E_DAMAGED, "ext %s: %s", doing, error_message(code));
}

int ext_open(struct blk *device, struct ext **out, struct chr_error *err)
{
    AUTO_EXT struct ext *ext = mem_new(1, sizeof *ext, err);
    errcode_t code;

    if (ext == NULL || ext_super_read(device, &ext->super, err) < 0)
        return -1;
    ext_io_init(&ext->io, device);
    initialize_ext2_error_table(); /* else its messages are numbers; done once by itself */
    code = ext2fs_open2(ext->io.name, NULL, EXT2_FLAG_64BITS, 0, 0, (io_manager)&ext_io_manager,
                        &ext->fs);
    if (code != 0)
        return ext_error(ext, code, "file system", err);
    *out = STEAL(ext);
    return 0;
}

void ext_cleanup(struct ext **ext)
{
    if (*ext != NULL && (*ext)->fs != NULL)
        /* Opened for reading only: nothing is written, nothing can fail. */
        (void)ext2fs_close_free(&(*ext)->fs);
    if (*ext != NULL)
        free((*ext)->map_blocks.runs);
    free(*ext);
}

const struct ext_super *ext_get_super(const struct ext *ext)
{
    return &ext->super;
}

/* ---- block maps ---- */

struct map_walk {
    struct ext *ext;
    struct file_node *node;
    uint64_t seen; /* blocks so far, indirect ones included */
    uint64_t first; /* of an indirect map: COUNT blocks from START on that are not added yet */
    uint64_t start;
    uint64_t count;
    struct chr_error *err;
    int result;
};

static int check_block(struct map_walk *walk, uint64_t start, uint64_t count)
{
    const struct ext_super *super = &walk->ext->super;

    walk->seen += count;
    if (walk->seen > super->blocks)
        return err_set(walk->err, CHR_E_DAMAGED, "it has more blocks than the file system");
    if (start < super->first_data_block || !range_within(start, count, super->blocks))
        return err_set(walk->err, CHR_E_DAMAGED, "block %" PRIu64 " is outside the file system",
                       start);
    return 0;
}

/* Take COUNT blocks at logical block FIRST, physical block START, into the map. */
static int map_add(struct map_walk *walk, uint64_t first, uint64_t start, uint64_t count,
                   bool unwritten)
{
    uint64_t size = walk->ext->super.block_size;
    size_t before;

    if (check_block(walk, start, count) < 0)
        return -1;
    if (first >= UINT32_MAX)
        return err_set(walk->err, CHR_E_DAMAGED, "it has a block past 4 Gi blocks");
    if (first * size >= walk->node->size)
        return 0; /* preallocated behind the end of the file */
    before = walk->node->run_count;
    if (file_node_add_run(
            walk->node,
            (struct file_run){first * size, start * size, count * size, unwritten}, walk->err) < 0)
        return -1;
    walk->ext->runs += walk->node->run_count - before;
    if (walk->ext->runs > MAX_RUNS)
        return err_set(walk->err, CHR_E_REFUSED, "its files are in more than %d pieces", MAX_RUNS);
    return 0;
}

/* Take a block of the map itself. */
static int map_add_own(struct map_walk *walk, uint64_t block)
{
    uint64_t size = walk->ext->super.block_size;

    if (check_block(walk, block, 1) < 0)
        return -1;
    return file_node_add_run(&walk->ext->map_blocks,
                             (struct file_run){.off = block * size, .length = size}, walk->err);
}

static int map_add_waiting(struct map_walk *walk)
{
    uint64_t count = walk->count;

    walk->count = 0;
    return count > 0 ? map_add(walk, walk->first, walk->start, count, false) : 0;
}

/* Blocks that follow each other wait for the rest of their run: a large file has thousands. */
static int map_one(ext2_filsys fs, blk64_t *block, e2_blkcnt_t index, blk64_t parent, int offset,
                   void *private)
{
    struct map_walk *walk = private;

    (void)fs;
    (void)parent;
    (void)offset;
    if (index >= 0 && walk->count > 0 && (uint64_t)index == walk->first + walk->count &&
        *block == walk->start + walk->count &&
        (uint64_t)index * walk->ext->super.block_size < walk->node->size) {
        walk->count++;
        return 0;
    }
    walk->result = map_add_waiting(walk);
    if (walk->result == 0 && index < 0) { /* an indirect block */
        walk->result = map_add_own(walk, *block);
    } else {
        walk->first = (uint64_t)index;
        walk->start = *block;
        walk->count = 1;
    }
    return walk->result < 0 ? BLOCK_ABORT : 0;
}

static int map_indirect(struct map_walk *walk, ext2_ino_t ino)
{
    errcode_t code = ext2fs_block_iterate3(walk->ext->fs, ino, BLOCK_FLAG_READ_ONLY, NULL, map_one,
                                           walk);

    if (walk->result < 0 || map_add_waiting(walk) < 0)
        return -1;
    return code != 0 ? ext_error(walk->ext, code, "block map", walk->err) : 0;
}

static int map_extents(struct map_walk *walk, ext2_ino_t ino)
{
    ext2_extent_handle_t handle;
    struct ext2fs_extent extent;
    errcode_t code = ext2fs_extent_open(walk->ext->fs, ino, &handle);
    int op = EXT2_EXTENT_ROOT;

    if (code != 0)
        return ext_error(walk->ext, code, "extents", walk->err);
    while (walk->result == 0 && (code = ext2fs_extent_get(handle, op, &extent)) == 0) {
        op = EXT2_EXTENT_NEXT;
        if ((extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) != 0)
            continue;
        if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0)
            walk->result = map_add(walk, extent.e_lblk, extent.e_pblk, extent.e_len,
                                   (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) != 0);
        else
            walk->result = map_add_own(walk, extent.e_pblk);
    }
    ext2fs_extent_free(handle);
    if (walk->result < 0)
        return -1;
    return code != EXT2_ET_EXTENT_NO_NEXT ? ext_error(walk->ext, code, "extents", walk->err) : 0;
}

/* Ascending and without overlap: what file_read() and the planner rely on. */
static int check_runs(const struct file_node *node, struct chr_error *err)
{
    for (size_t i = 1; i < node->run_count; i++)
        if (node->runs[i].file_off < node->runs[i - 1].file_off + node->runs[i - 1].length)
            return err_set(err, CHR_E_DAMAGED, "its extents overlap");
    return 0;
}

static int read_map(struct ext *ext, ext2_ino_t ino, const struct ext2_inode *inode,
                    struct file_node *node, struct chr_error *err)
{
    struct map_walk walk = {.ext = ext, .node = node, .err = err};
    int result = (inode->i_flags & EXT4_EXTENTS_FL) != 0 ? map_extents(&walk, ino)
                                                         : map_indirect(&walk, ino);

    return result < 0 ? -1 : check_runs(node, err);
}

/* ---- inodes ---- */

static enum file_kind kind_of(uint16_t mode)
{
    return S_ISREG(mode) ? FILE_REGULAR
           : S_ISDIR(mode) ? FILE_FOLDER
           : S_ISLNK(mode) ? FILE_SYMLINK
                           : FILE_OTHER;
}

static int check_inode(const struct ext *ext, const struct ext2_inode *inode,
                       const struct file_node *node, struct chr_error *err)
{
    if (inode->i_links_count == 0)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu64 " is deleted", node->inode);
    if ((inode->i_flags & EXT4_INLINE_DATA_FL) != 0 || (inode->i_flags & EXT4_ENCRYPT_FL) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "its contents are inline or encrypted");
    if (node->kind == FILE_FOLDER && node->size > ext->super.blocks * ext->super.block_size)
        return err_set(err, CHR_E_DAMAGED, "the folder is larger than the file system");
    return 0;
}

static int read_inode(struct ext *ext, ext2_ino_t ino, struct file_node *node,
                      struct chr_error *err)
{
    struct ext2_inode inode;
    errcode_t code;

    if (ino == 0 || ino > ext->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "inode %" PRIu32 " is outside the file system", ino);
    code = ext2fs_read_inode(ext->fs, ino, &inode);
    if (code != 0)
        return ext_error(ext, code, "inode", err);
    node->inode = ino;
    node->kind = kind_of(inode.i_mode);
    node->mode = inode.i_mode & 07777;
    node->uid = inode_uid(inode);
    node->gid = inode_gid(inode);
    node->modified = inode.i_mtime;
    node->created = inode.i_ctime;
    node->accessed = inode.i_atime;
    node->size = EXT2_I_SIZE(&inode);
    if (check_inode(ext, &inode, node, err) < 0)
        return -1;
    if (node->kind != FILE_REGULAR && node->kind != FILE_FOLDER)
        return 0;
    return read_map(ext, ino, &inode, node, err);
}

/* ---- folders ---- */

/*
 * A folder's block is a list of entries (kernel, ext4/directory.rst): u32
 * inode, u16 entry length, u8 name length, u8 type, name.  Inode 0 is a gap;
 * htree nodes and checksum tails look like gaps.
 */
enum { DIRENT_LENGTH = 4, DIRENT_NAME_LENGTH = 6, DIRENT_NAME = 8 };

struct folder_walk {
    struct ext *ext;
    struct file_tree *tree;
    size_t folder;
};

/* The entry at P, with ROOM bytes to the end of the block; its length in *LENGTH. */
static int check_entry(const uint8_t *p, size_t room, size_t *length, struct chr_error *err)
{
    *length = room >= DIRENT_NAME ? le16(p + DIRENT_LENGTH) : 0;
    if (*length == 0xFFFF && room == 65536)
        *length = room; /* 64 KiB blocks: what does not fit in 16 bits */
    if (*length < DIRENT_NAME || *length % 4 != 0 || *length > room)
        return err_set(err, CHR_E_DAMAGED, "folder entry of %zu bytes where %zu are left", *length,
                       room);
    if (le32(p) != 0 && (size_t)p[DIRENT_NAME_LENGTH] + DIRENT_NAME > *length)
        return err_set(err, CHR_E_DAMAGED, "folder entry's name is longer than the entry");
    return 0;
}

static int add_entry(struct folder_walk *walk, uint32_t ino, const char *name, size_t length,
                     struct chr_error *err)
{
    struct file_node *node;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (length == 0 || strlen(name) != length || strchr(name, '/') != NULL)
        return err_set(err, CHR_E_DAMAGED, "folder entry's name is empty or holds a / or NUL");
    node = file_tree_add(walk->tree, walk->folder, name, err);
    if (node == NULL)
        return -1;
    return read_inode(walk->ext, ino, node, err) < 0 ? err_context(err, "%s", name) : 0;
}

static int parse_folder_block(struct folder_walk *walk, const uint8_t *block, struct chr_error *err)
{
    size_t size = walk->ext->super.block_size;
    size_t length;

    for (size_t at = 0; at < size; at += length) {
        const uint8_t *p = block + at;
        char name[256] = "";

        if (check_entry(p, size - at, &length, err) < 0)
            return -1;
        if (le32(p) == 0)
            continue;
        memcpy(name, p + DIRENT_NAME, p[DIRENT_NAME_LENGTH]);
        if (add_entry(walk, le32(p), name, p[DIRENT_NAME_LENGTH], err) < 0)
            return -1;
    }
    return 0;
}

/* Add what the folder at index FOLDER of TREE holds; an error does not say which folder. */
static int read_folder(struct ext *ext, struct file_tree *tree, size_t folder,
                       struct chr_error *err)
{
    struct folder_walk walk = {.ext = ext, .tree = tree, .folder = folder};
    size_t block_size = ext->super.block_size;
    uint64_t size = round_up(tree->nodes[folder].size, block_size);
    AUTO_FREE uint8_t *block = mem_new(1, block_size, err);

    if (block == NULL)
        return -1;
    for (uint64_t off = 0; off < size; off += block_size) {
        /* Asked for anew in each turn: adding entries moves the nodes. */
        const struct file_node *node = &tree->nodes[folder];

        if (file_read(ext->io.device, node, off, block, block_size, err) < 0 ||
            parse_folder_block(&walk, block, err) < 0)
            return -1;
    }
    return 0;
}

/* A folder that is its own ancestor would never end. */
static int check_loop(const struct file_tree *tree, size_t folder, struct chr_error *err)
{
    for (size_t i = 0; i < folder; i++)
        if (tree->nodes[i].kind == FILE_FOLDER && tree->nodes[i].inode == tree->nodes[folder].inode)
            return err_set(err, CHR_E_DAMAGED, "folders /%s and /%s are the same inode",
                           tree->nodes[i].path, tree->nodes[folder].path);
    return 0;
}

/* Make TREE hold the inode INO alone, as node 0. */
static int start_tree(struct ext *ext, ext2_ino_t ino, struct file_tree *tree,
                      struct chr_error *err)
{
    struct file_node *root;

    file_tree_release(tree);
    root = file_tree_add(tree, 0, "", err);
    return root == NULL ? -1 : read_inode(ext, ino, root, err);
}

/* Move TREE's node 0 down PATH, folder by folder. */
static int descend(struct ext *ext, const char *path, struct file_tree *tree,
                   struct chr_error *err)
{
    for (const char *part = path; *part != '\0';) {
        size_t length = strcspn(part, "/");
        ext2_ino_t next = 0;

        if (read_folder(ext, tree, 0, err) < 0)
            return err_context(err, "folder /%.*s", part > path ? (int)(part - path) - 1 : 0, path);
        for (size_t i = 1; i < tree->count && next == 0; i++)
            if (strncmp(tree->nodes[i].name, part, length) == 0 &&
                tree->nodes[i].name[length] == '\0' && tree->nodes[i].kind == FILE_FOLDER)
                next = (ext2_ino_t)tree->nodes[i].inode;
        if (next == 0)
            return err_set(err, CHR_E_MISSING, "no folder /%s", path);
        if (start_tree(ext, next, tree, err) < 0)
            return -1;
        part += length + strspn(part + length, "/");
    }
    return 0;
}

int ext_read_tree(struct ext *ext, const char *path, bool recursive, struct file_tree *out,
                  struct chr_error *err)
{
    AUTO_TREE struct file_tree tree = {0};

    if (start_tree(ext, EXT2_ROOT_INO, &tree, err) < 0 || descend(ext, path, &tree, err) < 0)
        return -1;
    if (tree.nodes[0].kind != FILE_FOLDER)
        return err_set(err, CHR_E_DAMAGED, "the root inode is not a folder");
    for (size_t i = 0; i < (recursive ? tree.count : 1); i++) {
        if (tree.nodes[i].kind != FILE_FOLDER)
            continue;
        if (check_loop(&tree, i, err) < 0)
            return -1;
        if (read_folder(ext, &tree, i, err) < 0)
            return err_context(err, "folder /%s%s%s", path,
                               path[0] != '\0' && i > 0 ? "/" : "", tree.nodes[i].path);
    }
    *out = tree;
    tree = (struct file_tree){0};
    return 0;
}

/* ---- what is not of any file ---- */

static int add_metadata(struct ext *ext, struct file_node *node, uint64_t start, uint64_t count,
                        struct chr_error *err)
{
    uint64_t size = ext->super.block_size;

    if (start == 0 && count == 0)
        return 0;
    if (!range_within(start, count, ext->super.blocks))
        return err_set(err, CHR_E_DAMAGED, "a group's block %" PRIu64 " is outside the file system",
                       start);
    return file_node_add_run(node, (struct file_run){.off = start * size, .length = count * size},
                             err);
}

static int add_group(struct ext *ext, dgrp_t group, struct file_node *node, struct chr_error *err)
{
    blk64_t super;
    blk64_t old_descriptors;
    blk64_t new_descriptors;
    blk_t used;
    uint64_t reserved = ext->fs->super->s_reserved_gdt_blocks;

    (void)ext2fs_super_and_bgd_loc2(ext->fs, group, &super, &old_descriptors, &new_descriptors,
                                    &used);
    if ((super != 0 || group == 0) && add_metadata(ext, node, super, 1, err) < 0)
        return -1;
    if (old_descriptors != 0 &&
        add_metadata(ext, node, old_descriptors, ext->fs->desc_blocks + reserved, err) < 0)
        return -1;
    if (new_descriptors != 0 && add_metadata(ext, node, new_descriptors, 1, err) < 0)
        return -1;
    if (add_metadata(ext, node, ext2fs_block_bitmap_loc(ext->fs, group), 1, err) < 0 ||
        add_metadata(ext, node, ext2fs_inode_bitmap_loc(ext->fs, group), 1, err) < 0)
        return -1;
    return add_metadata(ext, node, ext2fs_inode_table_loc(ext->fs, group),
                        ext->fs->inode_blocks_per_group, err);
}

int ext_read_metadata(struct ext *ext, struct file_node *node, struct chr_error *err)
{
    for (dgrp_t group = 0; group < ext->fs->group_desc_count; group++)
        if (add_group(ext, group, node, err) < 0)
            return -1;
    for (size_t i = 0; i < ext->map_blocks.run_count; i++)
        if (file_node_add_run(node, ext->map_blocks.runs[i], err) < 0)
            return -1;
    return 0;
}
