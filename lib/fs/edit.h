/*
 * What the editors of ext and of FAT have in common: the attributes of a file that
 * is put, and where its bytes come from.
 */
#ifndef CHRIMG_FS_EDIT_H
#define CHRIMG_FS_EDIT_H

#include "fs/tree.h"

/* FAT keeps the time alone. */
struct edit_attributes {
    uint32_t mode; /* permission bits, 0 to 07777 */
    uint32_t uid;
    uint32_t gid;
    int64_t modified; /* seconds since 1970, UTC; also created and accessed */
};

/* A file's bytes; read once, in ascending order, into buffers of any size. */
struct edit_source {
    uint64_t size;
    int (*read)(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err);
    void *context;
};

/* What stands at a path. */
struct edit_entry {
    enum file_kind kind;
    uint64_t size;
    struct edit_attributes attributes;
    uint32_t links; /* hard links; 1 on FAT */
};

/* What files that are put need, added up. */
struct edit_need {
    uint64_t bytes;       /* in whole blocks or clusters */
    uint64_t entry_bytes; /* of new names in their folders */
    uint64_t inodes;
};

/* What of it is missing. */
struct edit_shortage {
    uint64_t bytes;
    uint64_t inodes;
    uint64_t free;   /* bytes that files may take */
    uint64_t growth; /* how many bytes larger it must be, whole MiB; 0: that is of no use */
};

#endif
