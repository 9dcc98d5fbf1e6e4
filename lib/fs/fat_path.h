/*
 * Paths of a FAT as its files are called: a user may name them by their short aliases,
 * and in any case.
 */
#ifndef CHRIMG_FS_FAT_PATH_H
#define CHRIMG_FS_FAT_PATH_H

#include "fs/fat_table.h"
#include "fs/tree.h"

/*
 * PATH with each component that is there as it is called; what is not there stays as it
 * was given.  CHR_E_DAMAGED when two files answer to one name.
 */
int fat_path_own(const struct fat_table *table, const char *path, char out[FILE_PATH_MAX],
                 struct chr_error *err);

/* The same of the FAT on DEVICE, which is only read. */
int fat_path_read(struct blk *device, const char *path, char out[FILE_PATH_MAX],
                  struct chr_error *err);

#endif
