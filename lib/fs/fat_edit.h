/*
 * Changing a FAT12, FAT16 or FAT32: files and folders put and removed.
 *
 * Format: FATGEN103.  Nothing here is atomic: the caller gives an overlay, looks at
 * the result, and carries it out in one step, or drops it.  A file that is not
 * touched keeps its clusters: the BIOS loader finds the kernel by sector number.
 *
 * Paths are "EFI/BOOT/BOOTX64.EFI", compared as FAT compares names; "" is the root.
 */
#ifndef CHRIMG_FS_FAT_EDIT_H
#define CHRIMG_FS_FAT_EDIT_H

#include "fs/edit.h"
#include "fs/fat.h"

struct fat_edit;

/* Open DEVICE (borrowed, writable) for changing; a FAT that contradicts itself is
 * CHR_E_DAMAGED, nothing is mended. */
int fat_edit_open(struct blk *device, struct fat_edit **out, struct chr_error *err);

/* PATH as its files are called by now (fat_path.h). */
int fat_edit_own_path(const struct fat_edit *edit, const char *path, char out[FILE_PATH_MAX],
                      struct chr_error *err);
int fat_edit_stat(struct fat_edit *edit, const char *path, struct edit_entry *out,
                  struct chr_error *err);
int fat_edit_put(struct fat_edit *edit, const char *path, const struct edit_source *source,
                 const struct edit_attributes *attributes, struct chr_error *err);
int fat_edit_make_folder(struct fat_edit *edit, const char *path,
                         const struct edit_attributes *attributes, struct chr_error *err);
int fat_edit_remove(struct fat_edit *edit, const char *path, bool recursive,
                    struct chr_error *err);
/* What is free, and the size of a cluster. */
int fat_edit_room(struct fat_edit *edit, uint64_t *bytes, uint32_t *cluster_size,
                  struct chr_error *err);
int fat_edit_finish(struct fat_edit **edit, struct chr_error *err);
void fat_edit_cleanup(struct fat_edit **edit);
#define AUTO_FAT_EDIT CLEANUP(fat_edit_cleanup)

#endif
