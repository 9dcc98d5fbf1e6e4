/*
 * Folder entries of a FAT, taken apart: for the reader and the editor.  The
 * other way round is fat_encode.h, which shares nothing with it.
 */
#ifndef CHRIMG_FS_FAT_DECODE_H
#define CHRIMG_FS_FAT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fat_entry.h"

#define FAT_LONG_NAME_ENTRIES 20 /* 255 units at the most */
#define FAT_NAME_TEXT_SIZE (FAT_LONG_NAME_ENTRIES * FAT_LONG_ENTRY_UNITS * 3 + 1)

enum fat_entry_kind {
    FAT_ENTRY_IS_END,     /* nothing from here on */
    FAT_ENTRY_IS_DELETED, /* free */
    FAT_ENTRY_IS_LONG,    /* a piece of a long name */
    FAT_ENTRY_IS_LABEL,   /* the volume's label */
    FAT_ENTRY_IS_DOT,     /* "." or ".." */
    FAT_ENTRY_IS_FILE,    /* a file or a folder */
};

enum fat_entry_kind fat_decode_kind(const uint8_t *entry);

/* The pieces of a long name stand before its short entry, last piece first.  Starts as zeros. */
struct fat_long_name {
    uint8_t units[FAT_LONG_NAME_ENTRIES * FAT_LONG_ENTRY_UNITS * 2];
    unsigned pieces;   /* how many there are */
    unsigned expected; /* number of the piece that must come next; 0 = complete */
    bool any;
    uint8_t checksum;
};

/* Take the next piece. */
void fat_long_name_take(struct fat_long_name *name, const uint8_t *entry);

/* Whether NAME is whole and the short ENTRY right behind it is its own. */
bool fat_long_name_belongs(const struct fat_long_name *name, const uint8_t *entry);

/* The name of the short ENTRY, the long one if it has one; UTF-8 into FAT_NAME_TEXT_SIZE bytes. */
void fat_decode_name(const struct fat_long_name *name, const uint8_t *entry, char *out);

/* Seconds since 1970, UTC; 0 for no date. */
int64_t fat_decode_time(uint16_t date, uint16_t time);

uint32_t fat_decode_cluster(const uint8_t *entry, unsigned bits);

/* The 11 bytes of a label without the spaces behind it; 12 bytes into OUT. */
void fat_decode_label(const uint8_t *p, char *out);

/* The permission bits that a file or folder with these attributes shows. */
uint32_t fat_decode_mode(const uint8_t *entry);

#endif
