/*
 * The numbers of a FAT folder entry, 32 bytes, for those who read and who write it.
 *
 *    0 11 name, padded with spaces         20  2 first cluster, high (FAT32)
 *   11  1 attributes                       22  2 modified, time; 24 2 date
 *   12  1 lower case of base and extension 26  2 first cluster, low
 *   13  1 created, 10 ms                   28  4 size
 *   14  2 created, time; 16 2 date
 *   18  2 accessed, date
 *
 * Format: FATGEN103, "FAT Directory Structure" and "FAT Long Directory Entries".
 */
#ifndef CHRIMG_FS_FAT_ENTRY_H
#define CHRIMG_FS_FAT_ENTRY_H

#define FAT_ENTRY_SIZE 32
#define FAT_LONG_ENTRY_UNITS 13 /* UTF-16 units of a name in one entry */
#define FAT_LAST_LONG_ENTRY 0x40
/* A folder has no more entries, whatever its chain could hold. */
#define FAT_FOLDER_MAX_ENTRIES 65536

#define FAT_ENTRY_DELETED 0xE5

enum {
    FAT_ATTRIBUTE_READ_ONLY = 0x01,
    FAT_ATTRIBUTE_HIDDEN = 0x02,
    FAT_ATTRIBUTE_SYSTEM = 0x04,
    FAT_ATTRIBUTE_VOLUME = 0x08,
    FAT_ATTRIBUTE_FOLDER = 0x10,
    FAT_ATTRIBUTE_ARCHIVE = 0x20,
    FAT_ATTRIBUTE_LONG_NAME = 0x0F,
};

#endif
