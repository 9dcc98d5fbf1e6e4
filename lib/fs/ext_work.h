/*
 * What the parts of the ext editor share (ext_edit.h is the door): the open file
 * system, where its blocks go (ext_space.c), what maps a file's blocks (ext_map.c),
 * folders (ext_folder.c, ext_folder_add.c), their index (ext_index.c), what is remembered
 * of large ones (ext_names.c), removal (ext_remove.c), want of room (ext_need.c).
 */
#ifndef CHRIMG_FS_EXT_WORK_H
#define CHRIMG_FS_EXT_WORK_H

#include "fs/ext.h"
#include "fs/ext_edit.h"
#include "fs/ext_io.h"

struct ext_edit {
    struct ext_io io;
    struct ext_super super; /* as it was at the start; counts are in fs->super */
    ext2_filsys fs;
    ext2fs_block_bitmap metadata; /* superblocks, descriptors, bitmaps, inode tables */
    struct folder_names *names; /* of large folders that were looked into */
    bool checksums; /* metadata_csum */
    bool broken;    /* a change stopped half-way: nothing of it may be kept */
};

/* The first 160 bytes of an inode; what follows (attributes) stays as it is on disk. */
union work_inode {
    struct ext2_inode small;
    struct ext2_inode_large large;
};

/* libext2fs has numbers, the device below has sentences: the sentence wins. */
int ext_work_error(struct ext_edit *edit, errcode_t code, const char *doing,
                   struct chr_error *err);

/* Read inode INO; refuses one that is reserved, free, or of a kind that is not handled. */
int ext_work_read_inode(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                        struct chr_error *err);
int ext_work_write_inode(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                         struct chr_error *err);

/*
 * The superblock's own counts of what is free may be old, because the kernel and a
 * replayed journal keep those of the groups alone; e2fsck takes the sums, as we do.
 */
int ext_work_sum_counts(struct ext_edit *edit, struct chr_error *err);

/* ---- ext_space.c: blocks taken and given back ---- */

/* A stretch of blocks, COUNT of them from START; LOGICAL is the place in the file. */
struct block_run {
    uint64_t logical;
    uint64_t start;
    uint64_t count;
};

struct block_list {
    struct block_run *items;
    size_t count;
    size_t capacity;
    uint64_t blocks; /* of all runs */
};

void block_list_release(struct block_list *list);
#define AUTO_BLOCKS CLEANUP(block_list_release)

/* Append; a run that continues the last, on disk and in the file, is joined to it. */
int block_list_add(struct block_list *list, struct block_run run, struct chr_error *err);

/* Learn where the metadata is, and that the bitmaps keep it. */
int ext_space_open(struct ext_edit *edit, struct chr_error *err);

/* Blocks that a file may take: free ones without the share kept for the router. */
uint64_t ext_space_free(const struct ext_edit *edit);

/* Whether NEEDED blocks are no more than AVAILABLE; CHR_E_SPACE says how many bytes lack. */
int ext_space_check(const struct ext_edit *edit, uint64_t needed, uint64_t available,
                    struct chr_error *err);

/* Take COUNT blocks, near GOAL, for logical blocks from LOGICAL on; appended to LIST. */
int ext_space_take(struct ext_edit *edit, uint64_t goal, uint64_t logical, uint64_t count,
                   struct block_list *list, struct chr_error *err);

/* Whether every block of LIST is in use and no metadata: then they can be given back. */
int ext_space_check_owned(struct ext_edit *edit, const struct block_list *list,
                          struct chr_error *err);
void ext_space_give(struct ext_edit *edit, const struct block_list *list);
void ext_space_retake(struct ext_edit *edit, const struct block_list *list);

/*
 * Take a free inode near FOLDER for a file or folder (TYPE: S_IFREG, S_IFDIR).  GENERATION,
 * in NFS's sense, is one more than that of the last inode in its place.
 */
int ext_space_take_inode(struct ext_edit *edit, uint32_t folder, uint16_t type, uint32_t *out,
                         uint32_t *generation, struct chr_error *err);

/* ---- ext_map.c: the block map of one inode ---- */

struct block_map {
    struct block_list data; /* ascending by logical block, without overlap */
    struct block_list own;  /* indirect or extent blocks; logical is of no meaning */
};

void block_map_release(struct block_map *map);
#define AUTO_MAP CLEANUP(block_map_release)

int ext_map_read(struct ext_edit *edit, uint32_t ino, const struct ext2_inode *inode,
                 struct block_map *map, struct chr_error *err);

/* How many blocks the map of DATA itself takes, as extents or as indirect blocks. */
uint64_t ext_map_own_blocks(const struct ext_edit *edit, const struct block_list *data,
                            bool extents);

/*
 * Write MAP: its data runs are taken already; blocks of its own are taken or given
 * back here.  Sets the inode's i_block and i_blocks (the attribute block counted in);
 * the inode on disk must have its generation already, and is written by the caller.
 */
int ext_map_store(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                  struct block_map *map, struct chr_error *err);

/* ---- ext_folder.c: folders ---- */

struct folder {
    struct ext_edit *edit;
    uint32_t ino;
    union work_inode inode;
    struct block_map map;
    uint64_t blocks;
    size_t usable; /* bytes of a block that entries may fill: the checksum's tail is not */
};

void folder_release(struct folder *folder);
#define AUTO_FOLDER CLEANUP(folder_release)

int folder_open(struct ext_edit *edit, uint32_t ino, struct folder *out, struct chr_error *err);

/* A folder's entry, where it is. */
struct folder_hit {
    uint64_t block; /* logical */
    size_t off;
    size_t previous; /* the entry before it in the block; OFF itself when it is the first */
    uint32_t ino;
};

/* Find NAME; hit->ino is 0 when it is not there.  Every entry is checked on the way. */
int folder_find(struct folder *folder, const char *name, struct folder_hit *hit,
                struct chr_error *err);

/* Called for every entry but "." and ".."; a negative result ends the walk. */
typedef int folder_visit(void *context, const char *name, uint32_t ino, struct chr_error *err);
int folder_walk(struct folder *folder, folder_visit *visit, void *context, struct chr_error *err);

/* The same for one block. */
int folder_walk_block(struct folder *folder, uint64_t logical, folder_visit *visit, void *context,
                      struct chr_error *err);

/* What ".." is. */
int folder_parent(struct folder *folder, uint32_t *ino, struct chr_error *err);

int folder_remove(struct folder *folder, const struct folder_hit *hit, struct chr_error *err);
int folder_replace(struct folder *folder, const struct folder_hit *hit, uint32_t ino,
                   struct chr_error *err);

/* The first block of a new folder INO below PARENT, in BLOCK. */
void folder_format(const struct ext_edit *edit, uint32_t ino, uint32_t parent, uint8_t *block);

/* ---- ext_folder_add.c ---- */

/* How many blocks adding NAME may take, at most. */
int folder_growth(struct folder *folder, const char *name, uint64_t *blocks,
                  struct chr_error *err);

/* TYPE is the EXT2_FT_ number. */
int folder_add(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
               struct chr_error *err);

/* ---- ext_folder.c for ext_folder_add.c and ext_index.c ---- */

int folder_read_block(struct folder *folder, uint64_t logical, uint8_t *block,
                      struct chr_error *err);
int folder_write_block(struct folder *folder, uint64_t logical, uint8_t *block,
                       struct chr_error *err);
/* Append one block; its number in *LOGICAL, its bytes are the caller's to write. */
int folder_append(struct folder *folder, uint64_t *logical, struct chr_error *err);
/* Put the entry into BLOCK if there is room; false otherwise, BLOCK being as it was. */
bool folder_insert(const struct folder *folder, uint8_t *block, const char *name, uint32_t ino,
                   uint8_t type);
/* An empty block of entries; one entry over the usable bytes, and the tail. */
void folder_format_empty(const struct ext_edit *edit, uint8_t *block);
size_t folder_entry_size(size_t name_length);

/* ---- ext_names.c: names of large folders, and where there is room ---- */

struct folder_names;

/* What is known of FOLDER, read now if it was not before; *OUT is NULL for a small folder. */
int names_open(struct folder *folder, struct folder_names **out, struct chr_error *err);

/* Whether NAME may be there, and the block where it was last, which may not be right. */
bool names_have(const struct folder_names *names, const char *name, uint64_t *block);

/* NAME is in BLOCK now, as far as is known. */
int names_add(struct folder *folder, const char *name, uint64_t block, struct chr_error *err);

/* The first block that may have room for an entry of SIZE bytes. */
uint64_t names_first_room(const struct folder *folder, size_t size);

/* The first BLOCKS of the folder have none. */
void names_no_room(struct folder *folder, size_t size, uint64_t blocks);

/* A name was taken out of folder INO, or all of the folder is gone. */
void names_forget(struct ext_edit *edit, uint32_t ino);
void names_forget_all(struct ext_edit *edit);

/* ---- ext_index.c ---- */

bool index_present(const struct folder *folder);
int index_growth(struct folder *folder, const char *name, uint64_t *blocks, struct chr_error *err);
int index_add(struct folder *folder, const char *name, uint32_t ino, uint8_t type,
              struct chr_error *err);

/* ---- between ext_edit.c and ext_remove.c ---- */

/* Take one name from the inode; what it was the last of is freed. */
int ext_work_unlink(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                    struct chr_error *err);

/*
 * Free the inode and the blocks of MAP, which the caller has found to be its own alone.
 * The inode keeps its generation, so that the next file in it gets another.
 */
int ext_work_erase(struct ext_edit *edit, uint32_t ino, union work_inode *inode,
                   const struct block_map *map, struct chr_error *err);

/* Refuse what `chattr +i` or `+a` protects. */
int ext_work_check_mutable(const struct ext2_inode *inode, struct chr_error *err);

/* Give back the block of extended attributes, or one share of it. */
int ext_work_drop_attributes(struct ext_edit *edit, uint32_t ino, struct ext2_inode *inode,
                             struct chr_error *err);

/* Where a path leads: the folder, the last component, and what is there (ino 0: nothing). */
struct work_place {
    struct folder parent;
    const char *name; /* within the path */
    struct folder_hit hit;
};

void work_place_release(struct work_place *place);
#define AUTO_PLACE CLEANUP(work_place_release)

/* PATH is not the root. */
int ext_work_locate(struct ext_edit *edit, const char *path, struct work_place *out,
                    struct chr_error *err);

#endif
