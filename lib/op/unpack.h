/* Files of a file system onto the host: all of them, or none. */
#ifndef CHRIMG_OP_UNPACK_H
#define CHRIMG_OP_UNPACK_H

#include "fs/tree.h"

struct unpack {
    struct blk *device;           /* that TREE was read from */
    const struct file_tree *tree; /* its root becomes FOLDER */
    const char *folder;           /* created if need be */
    bool force;                   /* replace files that are there */
    bool skip_others;             /* leave links and devices out, else they are refused */
    const char *image;            /* the file, which must not be replaced by its own contents */
};

struct unpack_report {
    uint32_t files;
    uint32_t folders;
    uint32_t skipped;
    uint64_t bytes;
};

/* With modes and times; a run that fails leaves nothing.  REPORT is added to. */
int unpack_tree(const struct unpack *options, struct unpack_report *report, struct chr_error *err);

/* Write NODE's bytes, mode and times to the open file FD; holes stay holes. */
int unpack_contents(struct blk *device, const struct file_node *node, int fd,
                    struct chr_error *err);

#endif
