/*
 * A tree of files as read from a file system: names, attributes, and where
 * each file's bytes lie on the device.  The readers (ext, FAT) make it; the
 * FAT planner, extract and the verifier work on it.
 */
#ifndef CHRIMG_FS_TREE_H
#define CHRIMG_FS_TREE_H

#include "block/blk.h"

enum file_kind {
    FILE_REGULAR,
    FILE_FOLDER,
    FILE_SYMLINK,
    FILE_OTHER, /* device, FIFO, socket */
};

/* A stretch of a file: bytes [file_off, + length) lie at device offset OFF. */
struct file_run {
    uint64_t file_off;
    uint64_t off;
    uint64_t length; /* whole blocks; the last may go past the file's size */
    bool unwritten;  /* reserved but never written: reads as zeros */
};

struct file_node {
    char *name;    /* the last component; "" for the root */
    char *path;    /* "EFI/BOOT/BOOTX64.EFI"; "" for the root */
    size_t parent; /* index of the folder; the root is its own */
    enum file_kind kind;
    uint32_t mode; /* permission bits, as in st_mode & 07777 */
    uint32_t uid;
    uint32_t gid;
    int64_t modified; /* seconds since 1970, UTC */
    int64_t created;
    int64_t accessed;
    uint64_t size;
    uint64_t inode; /* the same for two names of one file; 0 where there are no inodes */
    struct file_run *runs; /* ascending by file_off; what they leave out are holes */
    size_t run_count;
    size_t run_capacity;
};

/* Node 0 is the root; a folder stands before what it holds. */
struct file_tree {
    struct file_node *nodes;
    size_t count;
    size_t capacity;
    size_t path_bytes; /* of all paths together */
};

/* A tree larger than this is refused: the boot partition of a CHR has five files. */
#define FILE_TREE_MAX 65536
/* What the kernel takes as a path; folders nested deeper are no router's. */
#define FILE_PATH_MAX 4096
/* All paths of a tree: each node has its whole one. */
#define FILE_PATHS_MAX (16u << 20)

/* Add a node below PARENT (an index, ignored for the first); NULL on failure.
 * The pointer is good until the next call. */
struct file_node *file_tree_add(struct file_tree *tree, size_t parent, const char *name,
                                struct chr_error *err);

/* Append to the node's runs; one that continues the last is joined to it. */
int file_node_add_run(struct file_node *node, struct file_run run, struct chr_error *err);

/* The node with PATH, whose ASCII letters are compared in any case; NULL if there is none. */
const struct file_node *file_tree_find(const struct file_tree *tree, const char *path);

/* Pointers to all nodes but the root, sorted by path: TREE->count - 1 of them; free() it. */
const struct file_node **file_tree_sorted(const struct file_tree *tree, struct chr_error *err);

/*
 * Read LEN bytes of NODE from OFF, holes as zeros.  DEVICE is the one the tree
 * was read from.  The range must lie within the file's blocks; bytes past the
 * size are zeros.
 */
int file_read(struct blk *device, const struct file_node *node, uint64_t off, void *buf, size_t len,
              struct chr_error *err);

/* The first offset from OFF on that has bytes to read, not a hole; the file's size if none has. */
uint64_t file_next_data(const struct file_node *node, uint64_t off);

/* Whether an earlier node is the same inode: INDEX is a second name (hard link) of it. */
bool file_tree_is_second_name(const struct file_tree *tree, size_t index);

/* Release what TREE holds; for use as a cleanup attribute too. */
void file_tree_release(struct file_tree *tree);
#define AUTO_TREE CLEANUP(file_tree_release)

#endif
