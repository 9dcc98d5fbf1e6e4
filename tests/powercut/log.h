/*
 * The log between the recorder and the replayer: what a program changed in one
 * folder, in order, with all data.
 *
 * A file is a sequence of records in the host's byte order: struct record, then
 * path_len bytes of path, other_len bytes of other path, data_len bytes of data.
 * Paths are relative to the folder.  A file is known by its inode number, which
 * a later CREATE or TMPFILE may use again for another file.
 */
#ifndef POWERCUT_LOG_H
#define POWERCUT_LOG_H

#include <stdint.h>

#define RECORD_MAGIC 0x50435554u

enum record_op {
    /* What was there at the start; these are no steps. */
    OP_START_FILE = 1, /* path, ino */
    OP_START_FOLDER,   /* path */

    /* Contents. */
    OP_WRITE,    /* ino, off, data */
    OP_ZERO,     /* ino, off, len: reads as zeros from now on; the size stays */
    OP_ALLOCATE, /* ino, off, len: the file reaches at least to off + len */
    OP_TRUNCATE, /* ino, len: the new size */

    /* Names. */
    OP_CREATE,   /* path, ino: a new empty file */
    OP_TMPFILE,  /* ino: a new empty file without a name */
    OP_LINK,     /* path, ino */
    OP_RENAME,   /* path, other */
    OP_EXCHANGE, /* path, other */
    OP_UNLINK,   /* path */
    OP_MKDIR,    /* path */
    OP_RMDIR,    /* path */

    /* Durability. */
    OP_SYNC,        /* ino: fsync or fdatasync of a file */
    OP_SYNC_FOLDER, /* path: fsync of a folder, "" is the top */
    OP_SYNC_ALL,    /* sync, syncfs */
    OP_WRITEBACK,   /* ino: sync_file_range, which promises nothing */
};

struct record {
    uint32_t magic;
    uint32_t op;
    uint32_t more; /* 1: belongs to the step before (a copy in several pieces) */
    uint32_t path_len;
    uint32_t other_len;
    uint32_t copied; /* 1: by the kernel (copy_file_range, sendfile, FICLONE) */
    uint64_t ino;
    uint64_t off;
    uint64_t len;
    uint64_t data_len;
};

#endif
