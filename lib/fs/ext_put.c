/*
 * Files and folders put into an ext.
 *
 * A file that is there keeps its inode when this is its only name, so that whoever
 * holds the inode's number still means this file; with other names a new inode is made
 * and those keep the old bytes.  What a file needs is added up before anything is
 * written, so that want of room leaves all as it was.  What fails later (a source that
 * cannot be read) leaves the editor of no use, and ext_edit_finish() says so.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "fs/ext_work.h"

/* Bytes on their way; wiped, for they may be a secret. */
#define BUFFER_SIZE (256u << 10)

#define LINKS_MAX 65000 /* the kernel's EXT4_LINK_MAX */
#define EXTRA_SIZE 32   /* what the kernel's own struct holds beyond 128 bytes */
#define DIRECT_BLOCKS 12

struct put {
    struct ext_edit *edit;
    struct work_place *place;
    const struct edit_attributes *attributes;
    uint32_t ino;
    uint16_t type;         /* S_IFREG or S_IFDIR */
    bool fresh;            /* the inode is new */
    union work_inode *old; /* what is at the path, or NULL */
    struct block_map old_map;
    struct block_map map;
    uint8_t *raw; /* the new inode, whole */
};

static void put_release(struct put *put)
{
    block_map_release(&put->old_map);
    block_map_release(&put->map);
    free(put->raw);
}
#define AUTO_PUT CLEANUP(put_release)

static struct ext2_inode_large *inode_of(const struct put *put)
{
    return (struct ext2_inode_large *)(void *)put->raw;
}

/* ---- the inode ---- */

static int check_attributes(const struct ext_edit *edit, const struct edit_attributes *attributes,
                            struct chr_error *err)
{
    bool large = edit->super.inode_size >= EXT2_GOOD_OLD_INODE_SIZE + EXTRA_SIZE;
    int64_t limit = large ? ((int64_t)3 << 32) + INT32_MAX : INT32_MAX;

    if (attributes->mode > 07777)
        return err_set(err, CHR_E_USAGE, "mode %" PRIo32 " is more than 7777", attributes->mode);
    if (attributes->modified < INT32_MIN || attributes->modified > limit)
        return err_set(err, CHR_E_UNSUPPORTED, "the time %" PRId64 " does not fit an inode",
                       attributes->modified);
    return 0;
}

/* The bits above 32: what is to be added to the signed low half. */
static uint32_t epoch_bits(int64_t seconds)
{
    return (uint32_t)((seconds - (int32_t)seconds) >> 32) & 3;
}

static void set_times(const struct ext_edit *edit, struct ext2_inode_large *inode, int64_t modified)
{
    inode->i_mtime = inode->i_ctime = inode->i_atime = (uint32_t)modified;
    if (edit->super.inode_size < EXT2_GOOD_OLD_INODE_SIZE + EXTRA_SIZE)
        return;
    inode->i_mtime_extra = inode->i_ctime_extra = inode->i_atime_extra = epoch_bits(modified);
    inode->i_crtime = (uint32_t)modified;
    inode->i_crtime_extra = epoch_bits(modified);
}

static uint16_t extra_size(const struct ext_edit *edit)
{
    uint16_t wanted = edit->fs->super->s_want_extra_isize;
    uint32_t room = edit->super.inode_size - EXT2_GOOD_OLD_INODE_SIZE;

    if (room == 0)
        return 0;
    return wanted >= EXTRA_SIZE && wanted % 4 == 0 && wanted <= room ? wanted : EXTRA_SIZE;
}

static void fill_inode(struct put *put, uint32_t generation)
{
    struct ext_edit *edit = put->edit;
    struct ext2_inode_large *inode = inode_of(put);
    const struct edit_attributes *attributes = put->attributes;

    inode->i_mode = (uint16_t)(put->type | attributes->mode);
    inode->i_uid = (uint16_t)attributes->uid;
    inode->osd2.linux2.l_i_uid_high = (uint16_t)(attributes->uid >> 16);
    inode->i_gid = (uint16_t)attributes->gid;
    inode->osd2.linux2.l_i_gid_high = (uint16_t)(attributes->gid >> 16);
    inode->i_links_count = put->type == S_IFDIR ? 2 : 1;
    inode->i_generation = generation;
    if (edit->super.has_extents)
        inode->i_flags = EXT4_EXTENTS_FL;
    if (extra_size(edit) != 0)
        inode->i_extra_isize = extra_size(edit);
    set_times(edit, inode, attributes->modified);
}

static int write_inode(struct put *put, struct chr_error *err)
{
    errcode_t code = ext2fs_write_inode_full(put->edit->fs, put->ino,
                                             (struct ext2_inode *)(void *)put->raw,
                                             (int)put->edit->super.inode_size);

    return code != 0 ? ext_work_error(put->edit, code, "inode", err) : 0;
}

/* The inode as it will be but for its blocks: checksums of those need it on disk. */
static int begin_inode(struct put *put, struct chr_error *err)
{
    uint32_t generation = 0;

    put->raw = mem_new(1, put->edit->super.inode_size, err);
    if (put->raw == NULL)
        return -1;
    if (put->fresh) {
        if (ext_space_take_inode(put->edit, put->place->parent.ino, put->type, &put->ino,
                                 &generation, err) < 0)
            return -1;
    } else {
        generation = put->old->small.i_generation;
        if (ext_work_drop_attributes(put->edit, put->ino, &put->old->small, err) < 0)
            return -1;
    }
    fill_inode(put, generation);
    return write_inode(put, err);
}

/* ---- room ---- */

static uint64_t blocks_of(const struct ext_edit *edit, uint64_t size)
{
    return size / edit->super.block_size + (size % edit->super.block_size != 0);
}

static int check_size(const struct ext_edit *edit, uint64_t size, struct chr_error *err)
{
    uint64_t n = edit->super.block_size / 4;
    uint64_t limit = edit->super.has_extents ? UINT32_MAX : DIRECT_BLOCKS + n + n * n + n * n * n;

    if (blocks_of(edit, size) > min_u64(limit, UINT32_MAX))
        return err_set(err, CHR_E_REFUSED, "a file of %" PRIu64 " bytes is more than it can hold",
                       size);
    return 0;
}

static int check_inodes(const struct put *put, struct chr_error *err)
{
    if (!put->fresh || put->edit->fs->super->s_free_inodes_count > 0)
        return 0;
    (void)err_set(err, CHR_E_SPACE, "1 inode is missing: no more files fit, whatever their size");
    return err_hint(err, "remove a file, or let chrimg resize make the image larger");
}

/*
 * Take BLOCKS for the file, in the bitmaps alone.  GROWTH is what the folder may need
 * besides.  A lack of room leaves the bitmaps as they were.
 */
static int take_blocks(struct put *put, uint64_t blocks, uint64_t growth, struct chr_error *err)
{
    struct ext_edit *edit = put->edit;
    const struct block_list *old = &put->old_map.data;
    uint64_t available = ext_space_free(edit) + old->blocks + put->old_map.own.blocks;
    struct block_run run = {0, 0, blocks};
    struct block_list whole = {&run, 1, 1, blocks};
    uint64_t goal = old->count > 0
                        ? old->items[0].start
                        : ext2fs_find_inode_goal(edit->fs, put->place->parent.ino,
                                                 &put->place->parent.inode.small, 0);
    uint64_t own = ext_map_own_blocks(edit, &whole, edit->super.has_extents);

    if (ext_space_check(edit, blocks + own + growth, available, err) < 0)
        return -1;
    edit->broken = true;
    ext_space_give(edit, &put->old_map.data);
    ext_space_give(edit, &put->old_map.own);
    if (ext_space_take(edit, goal, 0, blocks, &put->map.data, err) < 0)
        return -1;
    /* In pieces it needs more extents than whole. */
    own = ext_map_own_blocks(edit, &put->map.data, edit->super.has_extents);
    if (ext_space_check(edit, blocks + own + growth, available, err) == 0)
        return 0;
    ext_space_give(edit, &put->map.data);
    ext_space_retake(edit, &put->old_map.data);
    ext_space_retake(edit, &put->old_map.own);
    edit->broken = false;
    return -1;
}

/* ---- bytes ---- */

static int write_run(struct put *put, const struct edit_source *source, struct block_run run,
                     uint8_t *buf, struct chr_error *err)
{
    uint64_t size = put->edit->super.block_size;
    uint64_t most = BUFFER_SIZE / size;

    for (uint64_t done = 0; done < run.count;) {
        uint64_t count = min_u64(most, run.count - done);
        uint64_t off = (run.logical + done) * size;
        size_t bytes = (size_t)min_u64(count * size, source->size - off);
        errcode_t code;

        memset(buf + bytes, 0, (size_t)(count * size) - bytes);
        if (source->read(source->context, off, buf, bytes, err) < 0)
            return -1;
        code = io_channel_write_blk64(put->edit->fs->io, run.start + done, (int)count, buf);
        if (code != 0)
            return ext_work_error(put->edit, code, "write", err);
        done += count;
    }
    return 0;
}

static int write_bytes(struct put *put, const struct edit_source *source, struct chr_error *err)
{
    size_t size = (size_t)min_u64(BUFFER_SIZE, put->map.data.blocks * put->edit->super.block_size);
    AUTO_FREE uint8_t *buf = mem_new(1, size + 1, err);
    int result = buf == NULL ? -1 : 0;

    for (size_t i = 0; result == 0 && i < put->map.data.count; i++)
        result = write_run(put, source, put->map.data.items[i], buf, err);
    if (buf != NULL)
        explicit_bzero(buf, size);
    return result;
}

/* The map and the size; the inode is whole now. */
static int finish_inode(struct put *put, uint64_t size, struct chr_error *err)
{
    struct ext2_inode *inode = (struct ext2_inode *)(void *)put->raw;

    if (ext_map_store(put->edit, put->ino, inode, &put->map, err) < 0)
        return -1;
    if (ext2fs_inode_size_set(put->edit->fs, inode, (ext2_off64_t)size) != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "a file of %" PRIu64 " bytes", size);
    return write_inode(put, err);
}

/* ---- the name ---- */

/*
 * A folder's time does not run backwards: it is that of the latest change that is known.
 * ADDED is a folder, whose ".." is one more link.
 */
static int touch_parent(struct put *put, struct chr_error *err)
{
    struct folder *parent = &put->place->parent;
    union work_inode *inode = &parent->inode;
    int64_t now = put->attributes->modified;

    if (put->type == S_IFDIR && inode->small.i_links_count != 1)
        inode->small.i_links_count =
            inode->small.i_links_count >= LINKS_MAX
                ? 1
                : (uint16_t)(inode->small.i_links_count + 1);
    if (now > (int32_t)inode->small.i_mtime && now <= INT32_MAX) {
        inode->small.i_mtime = inode->small.i_ctime = (uint32_t)now;
        if (put->edit->super.inode_size > EXT2_GOOD_OLD_INODE_SIZE &&
            inode->large.i_extra_isize >= 12)
            inode->large.i_mtime_extra = inode->large.i_ctime_extra = 0;
    }
    return ext_work_write_inode(put->edit, parent->ino, inode, err);
}

static int add_name(struct put *put, struct chr_error *err)
{
    uint8_t type = put->type == S_IFDIR ? EXT2_FT_DIR : EXT2_FT_REG_FILE;

    if (folder_add(&put->place->parent, put->place->name, put->ino, type, err) < 0)
        return -1;
    return touch_parent(put, err);
}

/* The name is another file's now; what it named keeps its other names. */
static int move_name(struct put *put, struct chr_error *err)
{
    if (folder_replace(&put->place->parent, &put->place->hit, put->ino, err) < 0)
        return -1;
    return ext_work_unlink(put->edit, put->place->hit.ino, put->old, err);
}

/* ---- files ---- */

static int look_at_old(struct put *put, union work_inode *old, struct chr_error *err)
{
    struct ext_edit *edit = put->edit;
    uint32_t ino = put->place->hit.ino;

    if (ext_work_read_inode(edit, ino, old, err) < 0)
        return -1;
    if (!S_ISREG(old->small.i_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "it is there and is not a regular file");
        return err_hint(err, "remove it first, if it is to be replaced");
    }
    put->old = old;
    put->fresh = old->small.i_links_count > 1;
    if (ext_work_check_mutable(&old->small, err) < 0)
        return -1;
    if (put->fresh)
        return 0;
    put->ino = ino;
    return ext_map_read(edit, ino, &old->small, &put->old_map, err) < 0 ||
                   ext_space_check_owned(edit, &put->old_map.data, err) < 0 ||
                   ext_space_check_owned(edit, &put->old_map.own, err) < 0
               ? -1
               : 0;
}

static int put_file(struct ext_edit *edit, struct work_place *place,
                    const struct edit_source *source, const struct edit_attributes *attributes,
                    struct chr_error *err)
{
    AUTO_PUT struct put put = {.edit = edit, .place = place, .attributes = attributes,
                               .type = S_IFREG, .fresh = true};
    union work_inode old;
    uint64_t growth = 0;

    if (place->hit.ino != 0
            ? look_at_old(&put, &old, err) < 0
            : folder_growth(&place->parent, place->name, &growth, err) < 0)
        return -1;
    if (place->hit.ino == 0 && ext_work_check_mutable(&place->parent.inode.small, err) < 0)
        return -1;
    if (check_size(edit, source->size, err) < 0 || check_inodes(&put, err) < 0 ||
        take_blocks(&put, blocks_of(edit, source->size), growth, err) < 0)
        return -1;
    if (begin_inode(&put, err) < 0 || write_bytes(&put, source, err) < 0 ||
        finish_inode(&put, source->size, err) < 0)
        return -1;
    if (place->hit.ino == 0 ? add_name(&put, err) < 0 : put.fresh && move_name(&put, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

int ext_edit_put(struct ext_edit *edit, const char *path, const struct edit_source *source,
                 const struct edit_attributes *attributes, struct chr_error *err)
{
    AUTO_PLACE struct work_place place = {0};

    if (*path == '\0')
        return err_set(err, CHR_E_REFUSED, "/: it is a folder");
    if (check_attributes(edit, attributes, err) < 0 ||
        ext_work_locate(edit, path, &place, err) < 0 ||
        put_file(edit, &place, source, attributes, err) < 0)
        return err_context(err, "/%s", path);
    return 0;
}

/* ---- folders ---- */

static int check_links(const struct put *put, struct chr_error *err)
{
    if (put->place->parent.inode.small.i_links_count < LINKS_MAX ||
        ext2fs_has_feature_dir_nlink(put->edit->fs->super))
        return 0;
    return err_set(err, CHR_E_REFUSED, "the folder holds as many folders as it can: %d",
                   LINKS_MAX - 2);
}

static int write_first_block(struct put *put, struct chr_error *err)
{
    struct ext_edit *edit = put->edit;
    AUTO_FREE uint8_t *block = mem_new(1, edit->super.block_size, err);
    errcode_t code;

    if (block == NULL)
        return -1;
    folder_format(edit, put->ino, put->place->parent.ino, block);
    code = ext2fs_dir_block_csum_set(edit->fs, put->ino, (void *)block);
    if (code == 0)
        code = io_channel_write_blk64(edit->fs->io, put->map.data.items[0].start, 1, block);
    return code != 0 ? ext_work_error(edit, code, "folder", err) : 0;
}

static int make_folder(struct ext_edit *edit, struct work_place *place,
                       const struct edit_attributes *attributes, struct chr_error *err)
{
    AUTO_PUT struct put put = {.edit = edit, .place = place, .attributes = attributes,
                               .type = S_IFDIR, .fresh = true};
    uint64_t growth;

    if (place->hit.ino != 0)
        return err_set(err, CHR_E_EXISTS, "it is there already");
    if (ext_work_check_mutable(&place->parent.inode.small, err) < 0 ||
        folder_growth(&place->parent, place->name, &growth, err) < 0 ||
        check_links(&put, err) < 0 || check_inodes(&put, err) < 0 ||
        take_blocks(&put, 1, growth, err) < 0)
        return -1;
    if (begin_inode(&put, err) < 0 || write_first_block(&put, err) < 0 ||
        finish_inode(&put, edit->super.block_size, err) < 0 || add_name(&put, err) < 0)
        return -1;
    edit->broken = false;
    return 0;
}

int ext_edit_make_folder(struct ext_edit *edit, const char *path,
                         const struct edit_attributes *attributes, struct chr_error *err)
{
    AUTO_PLACE struct work_place place = {0};

    if (*path == '\0')
        return err_set(err, CHR_E_EXISTS, "/: it is there already");
    if (check_attributes(edit, attributes, err) < 0 ||
        ext_work_locate(edit, path, &place, err) < 0 ||
        make_folder(edit, &place, attributes, err) < 0)
        return err_context(err, "/%s", path);
    return 0;
}
