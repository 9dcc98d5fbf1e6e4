/*
 * File names in FAT: the short alias and the long name.
 *
 * Format: FATGEN103, "FAT Directory Structure" and "FAT Long Directory Entries".
 */
#ifndef CHRIMG_FS_FAT_NAME_H
#define CHRIMG_FS_FAT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "fs/fat_entry.h"

#define FAT_ALIAS_SIZE 11
#define FAT_LONG_NAME_MAX 255 /* UTF-16 units */

/* CHR_E_REFUSED with the reason when FAT cannot hold NAME (UTF-8). */
int fat_name_check(const char *name, struct chr_error *err);

/*
 * The short alias of NAME.  ATTEMPT 0 is the name itself as far as it fits,
 * 1 and up end in ~1, ~2, ...: the caller takes the first that is free in the
 * folder.  False when this attempt is not allowed: 0 for a name that an alias
 * cannot spell.
 */
bool fat_name_alias(const char *name, unsigned attempt, uint8_t alias[FAT_ALIAS_SIZE]);

/* "NAME    EXT" as "NAME.EXT". */
#define FAT_ALIAS_TEXT_SIZE (FAT_ALIAS_SIZE + 2)
void fat_name_alias_text(const uint8_t alias[FAT_ALIAS_SIZE], char *text);

/* Whether NAME is more than its ALIAS says, so that it needs long name entries. */
bool fat_name_needs_long(const char *name, const uint8_t alias[FAT_ALIAS_SIZE]);

/* How many 32-byte entries the long NAME takes, without the short one. */
unsigned fat_name_long_entries(const char *name);

/* Whether FAT takes A and B for the same name: compared without case. */
bool fat_name_same(const char *a, const char *b);

#endif
