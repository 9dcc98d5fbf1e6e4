/*
 * A folder of a FAT in memory: its entries found, added and removed.
 *
 * An entry is a slot of 32 bytes; a file has one, behind those of its long name.
 */
#ifndef CHRIMG_FS_FAT_FOLDER_H
#define CHRIMG_FS_FAT_FOLDER_H

#include "fs/fat_decode.h"
#include "fs/fat_name.h"
#include "fs/fat_table.h"

struct fat_folder {
    bool is_root;
    uint32_t *chain; /* its clusters; none for the root of FAT12/16, which has a place of its own */
    uint32_t cluster_count;
    uint8_t *bytes; /* of all slots */
    size_t slots;
    size_t end; /* the first slot that was never used, or SLOTS */
};

/* One file or folder in it. */
struct fat_found {
    size_t first; /* slot of its long name's first entry, or SLOT */
    size_t slot;  /* of its short entry */
    char name[FAT_NAME_TEXT_SIZE];
};

/* Read the folder that begins at cluster FIRST; 0 is the root.  Release with
 * fat_folder_release(). */
int fat_folder_read(const struct fat_table *table, uint32_t first, struct fat_folder *out,
                    struct chr_error *err);
void fat_folder_release(struct fat_folder *folder);

static inline uint8_t *fat_folder_slot(const struct fat_folder *folder, size_t slot)
{
    return folder->bytes + slot * FAT_ENTRY_SIZE;
}

/* Where the folder's list has been read to; starts as zeros. */
struct fat_cursor {
    size_t slot;
    struct fat_long_name name;
};

/* The next file or folder; false at the end. */
bool fat_folder_next(const struct fat_folder *folder, struct fat_cursor *cursor,
                     struct fat_found *found);

/* What answers to NAME, by its long name or its alias; *THERE says whether anything does.
 * CHR_E_DAMAGED when two do. */
int fat_folder_find(const struct fat_folder *folder, const char *name, bool *there,
                    struct fat_found *found, struct chr_error *err);

/* An alias for the new NAME that no file in the folder answers to. */
int fat_folder_alias(const struct fat_folder *folder, const char *name,
                     uint8_t alias[FAT_ALIAS_SIZE], struct chr_error *err);

/*
 * Where COUNT slots can be added, and by how many clusters the folder has to grow
 * for them.  CHR_E_SPACE when it cannot.
 */
int fat_folder_place(const struct fat_table *table, const struct fat_folder *folder, size_t count,
                     size_t *slot, uint32_t *grow, struct chr_error *err);

/* Take GROW more clusters, filled with zeros. */
int fat_folder_grow(struct fat_table *table, struct fat_folder *folder, uint32_t grow,
                    struct chr_error *err);

/* Write COUNT slots from SLOT on: ENTRIES, or what is in memory when that is NULL. */
int fat_folder_write(const struct fat_table *table, struct fat_folder *folder, size_t slot,
                     const uint8_t *entries, size_t count, struct chr_error *err);

/* Mark the slots of FOUND as deleted. */
int fat_folder_erase(const struct fat_table *table, struct fat_folder *folder,
                     const struct fat_found *found, struct chr_error *err);

#endif
