/* Which file a name leads to: by device and inode number. */
#ifndef CHRIMG_BASE_INODE_H
#define CHRIMG_BASE_INODE_H

#include <stdbool.h>
#include <sys/stat.h>

static inline bool same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether PATH, links followed, leads (still) to the open file FD. */
static inline bool path_leads_to(const char *path, int fd)
{
    struct stat named;
    struct stat opened;

    return stat(path, &named) == 0 && fstat(fd, &opened) == 0 && same_inode(&named, &opened);
}

#endif
