/*
 * Folder entries of a FAT, put together: for the writer and the editor.  Shares
 * nothing with fat_decode.h, by which the result is judged.
 */
#ifndef CHRIMG_FS_FAT_ENCODE_H
#define CHRIMG_FS_FAT_ENCODE_H

#include "fs/fat_name.h"

/* Seconds since 1970, UTC; what FAT cannot hold (before 1980, after 2107) is moved to its end. */
struct fat_times {
    int64_t created;
    int64_t accessed; /* FAT keeps the day */
    int64_t modified; /* in steps of two seconds */
};

/* The times into the entry at P; the rest of it stays. */
void fat_encode_times(uint8_t *p, const struct fat_times *times);

/* The first cluster into the entry at P. */
void fat_encode_cluster(uint8_t *p, uint32_t cluster);

/* A whole short entry. */
void fat_encode_short(uint8_t *p, const uint8_t alias[FAT_ALIAS_SIZE], uint8_t attributes,
                      const struct fat_times *times, uint32_t cluster, uint32_t size);

/*
 * The entries of the long NAME, which fat_name_check() has passed, last piece
 * first; P has room for fat_name_long_entries().  Returns how many they are.
 */
unsigned fat_encode_long_name(uint8_t *p, const char *name, const uint8_t alias[FAT_ALIAS_SIZE]);

#endif
