/* Folder entries, taken apart.  The byte table is in fat_entry.h. */
#include "fs/fat_decode.h"

#include <ctype.h>

#include "base/bytes.h"
#include "base/utf.h"

enum fat_entry_kind fat_decode_kind(const uint8_t *entry)
{
    if (entry[0] == 0)
        return FAT_ENTRY_IS_END;
    if (entry[0] == FAT_ENTRY_DELETED)
        return FAT_ENTRY_IS_DELETED;
    if ((entry[11] & 0x3F) == FAT_ATTRIBUTE_LONG_NAME)
        return FAT_ENTRY_IS_LONG;
    if ((entry[11] & FAT_ATTRIBUTE_VOLUME) != 0)
        return FAT_ENTRY_IS_LABEL;
    if (memcmp(entry, ".          ", 11) == 0 || memcmp(entry, "..         ", 11) == 0)
        return FAT_ENTRY_IS_DOT;
    return FAT_ENTRY_IS_FILE;
}

void fat_long_name_take(struct fat_long_name *name, const uint8_t *entry)
{
    unsigned number = entry[0] & 0x3F;
    uint8_t *units;

    if ((entry[0] & FAT_LAST_LONG_ENTRY) != 0) {
        *name = (struct fat_long_name){
            .pieces = number, .expected = number, .any = true, .checksum = entry[13]};
        if (number > FAT_LONG_NAME_ENTRIES)
            name->any = false;
    }
    if (!name->any || number == 0 || number != name->expected || entry[13] != name->checksum) {
        name->any = false;
        return;
    }
    units = name->units + (number - 1) * FAT_LONG_ENTRY_UNITS * 2;
    memcpy(units, entry + 1, 10);
    memcpy(units + 10, entry + 14, 12);
    memcpy(units + 22, entry + 28, 4);
    name->expected--;
}

static uint8_t short_checksum(const uint8_t *p)
{
    uint8_t sum = 0;

    for (int i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + p[i]);
    return sum;
}

bool fat_long_name_belongs(const struct fat_long_name *name, const uint8_t *entry)
{
    return name->any && name->expected == 0 && name->checksum == short_checksum(entry);
}

/* "NAME    EXT" to "NAME.EXT"; bits 3 and 4 of byte 12 mean lower case (Windows NT). */
static void short_name_text(const uint8_t *p, char *out)
{
    size_t length = 0;

    out[0] = '\0';
    for (int i = 0; i < 11; i++) {
        bool lower = (p[12] & (i < 8 ? 0x08 : 0x10)) != 0;
        uint8_t c = i == 0 && p[0] == 0x05 ? 0xE5 : p[i];

        if (c == ' ')
            continue;
        if (i >= 8 && (length == 0 || strchr(out, '.') == NULL))
            out[length++] = '.';
        out[length++] = (char)(c >= 0x80 ? '_' : lower ? tolower(c) : c);
        out[length] = '\0';
    }
}

void fat_decode_name(const struct fat_long_name *name, const uint8_t *entry, char *out)
{
    if (fat_long_name_belongs(name, entry))
        utf16le_to_utf8(name->units, FAT_LONG_NAME_ENTRIES * FAT_LONG_ENTRY_UNITS, out);
    else
        short_name_text(entry, out);
}

/* Days from 1970 to a day of the Gregorian calendar, by the era of 400 years. */
static int64_t days_from_civil(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return (int64_t)era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
           day_of_year - 719468;
}

int64_t fat_decode_time(uint16_t date, uint16_t time)
{
    if (date == 0)
        return 0;
    return days_from_civil(1980 + (date >> 9), date >> 5 & 15, date & 31) * 86400 +
           (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2;
}

uint32_t fat_decode_cluster(const uint8_t *entry, unsigned bits)
{
    return le16(entry + 26) | (bits == 32 ? (uint32_t)le16(entry + 20) << 16 : 0);
}

uint32_t fat_decode_mode(const uint8_t *entry)
{
    if ((entry[11] & FAT_ATTRIBUTE_FOLDER) != 0)
        return 0755;
    return (entry[11] & FAT_ATTRIBUTE_READ_ONLY) != 0 ? 0444 : 0644;
}

void fat_decode_label(const uint8_t *p, char *out)
{
    size_t length = 11;

    while (length > 0 && p[length - 1] == ' ')
        length--;
    memcpy(out, p, length);
    out[length] = '\0';
}
