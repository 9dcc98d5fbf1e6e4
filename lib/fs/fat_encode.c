/* Folder entries, put together.  The byte table is in fat_entry.h. */
#include "fs/fat_encode.h"

#include <time.h>

#include "base/bytes.h"
#include "base/utf.h"
#include "fs/fat_entry.h"

/* FAT counts from 1980 to 2107 in steps of two seconds. */
static int64_t clamp_time(int64_t seconds)
{
    const int64_t first = 315532800; /* 1980-01-01 */
    const int64_t last = 4354819199; /* 2107-12-31 23:59:59 */

    return seconds < first ? first : seconds > last ? last : seconds;
}

/* UTC, so that the output does not depend on where it was made. */
static void encode_time(int64_t seconds, uint16_t *date, uint16_t *time_of_day)
{
    time_t clamped = (time_t)clamp_time(seconds);
    struct tm tm;

    (void)gmtime_r(&clamped, &tm);
    *date = (uint16_t)((tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
    *time_of_day = (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | tm.tm_sec / 2);
}

void fat_encode_times(uint8_t *p, const struct fat_times *times)
{
    uint16_t date;
    uint16_t time_of_day;

    encode_time(times->created, &date, &time_of_day);
    p[13] = (uint8_t)(clamp_time(times->created) % 2 != 0 ? 100 : 0);
    put_le16(p + 14, time_of_day);
    put_le16(p + 16, date);
    encode_time(times->accessed, &date, &time_of_day);
    put_le16(p + 18, date);
    encode_time(times->modified, &date, &time_of_day);
    put_le16(p + 22, time_of_day);
    put_le16(p + 24, date);
}

void fat_encode_cluster(uint8_t *p, uint32_t cluster)
{
    put_le16(p + 20, (uint16_t)(cluster >> 16));
    put_le16(p + 26, (uint16_t)cluster);
}

void fat_encode_short(uint8_t *p, const uint8_t alias[FAT_ALIAS_SIZE], uint8_t attributes,
                      const struct fat_times *times, uint32_t cluster, uint32_t size)
{
    memset(p, 0, FAT_ENTRY_SIZE);
    memcpy(p, alias, FAT_ALIAS_SIZE);
    p[11] = attributes;
    fat_encode_times(p, times);
    fat_encode_cluster(p, cluster);
    put_le32(p + 28, size);
}

static uint8_t alias_checksum(const uint8_t alias[FAT_ALIAS_SIZE])
{
    uint8_t sum = 0;

    for (int i = 0; i < FAT_ALIAS_SIZE; i++)
        sum = (uint8_t)(((sum & 1) << 7) + (sum >> 1) + alias[i]);
    return sum;
}

unsigned fat_encode_long_name(uint8_t *p, const char *name, const uint8_t alias[FAT_ALIAS_SIZE])
{
    static const uint8_t unit_offset[FAT_LONG_ENTRY_UNITS] = {1,  3,  5,  7,  9,  14, 16,
                                                              18, 20, 22, 24, 28, 30};
    uint16_t units[FAT_LONG_NAME_MAX];
    unsigned length = (unsigned)utf8_to_utf16(name, units, FAT_LONG_NAME_MAX);
    unsigned count = fat_name_long_entries(name);

    for (unsigned piece = count; piece >= 1; piece--, p += FAT_ENTRY_SIZE) {
        memset(p, 0, FAT_ENTRY_SIZE);
        p[0] = (uint8_t)(piece | (piece == count ? FAT_LAST_LONG_ENTRY : 0));
        p[11] = FAT_ATTRIBUTE_LONG_NAME;
        p[13] = alias_checksum(alias);
        for (unsigned i = 0; i < FAT_LONG_ENTRY_UNITS; i++) {
            unsigned at = (piece - 1) * FAT_LONG_ENTRY_UNITS + i;

            /* One zero ends the name, what is left is filled with ones. */
            put_le16(p + unit_offset[i], at < length ? units[at] : at == length ? 0 : 0xFFFF);
        }
    }
    return count;
}
