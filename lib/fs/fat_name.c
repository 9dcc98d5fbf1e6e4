/* Short aliases and long names. */
#include "fs/fat_name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf.h"

/* What a long name may not hold, control characters apart. */
#define FORBIDDEN "\"*/:<>?\\|"
/* What an alias may hold besides letters and digits. */
#define ALIAS_MARKS "$%'-_@~`!(){}^#&"

int fat_name_check(const char *name, struct chr_error *err)
{
    uint16_t units[FAT_LONG_NAME_MAX];
    size_t length = strlen(name);
    int count = utf8_to_utf16(name, units, FAT_LONG_NAME_MAX);

    for (const char *p = name; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || strchr(FORBIDDEN, *p) != NULL)
            return err_set(err, CHR_E_REFUSED, "FAT cannot hold a name with the character 0x%02x",
                           (unsigned char)*p);
    if (count <= 0)
        return err_set(err, CHR_E_REFUSED,
                       "FAT cannot hold the name: it is not UTF-8 of 1 to 255 characters");
    if (name[length - 1] == '.' || name[length - 1] == ' ')
        return err_set(err, CHR_E_REFUSED, "FAT cannot hold a name that ends in a dot or a space");
    return 0;
}

/*
 * Add the alias form of the bytes [from, to) to OUT, at most ROOM of them;
 * returns how many.  *EXACT becomes false when a character had to go.
 */
static size_t alias_part(const char *from, const char *to, uint8_t *out, size_t room, bool *exact)
{
    size_t length = 0;

    for (const char *p = from; p < to; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == ' ' || c == '.') {
            *exact = false;
            continue;
        }
        if (c >= 0x80 && (c & 0xC0) == 0x80)
            continue; /* one underscore for each character, not for each byte of it */
        if (length == room) {
            *exact = false;
            break;
        }
        if (c >= 0x80 || (!isalnum(c) && strchr(ALIAS_MARKS, c) == NULL)) {
            *exact = false;
            c = '_';
        }
        out[length++] = (uint8_t)toupper(c);
    }
    return length;
}

bool fat_name_alias(const char *name, unsigned attempt, uint8_t alias[FAT_ALIAS_SIZE])
{
    const char *end = name + strlen(name);
    const char *dot = strrchr(name, '.');
    bool exact = true;
    size_t base;

    memset(alias, ' ', FAT_ALIAS_SIZE);
    if (dot == NULL || dot == name)
        dot = end;
    base = alias_part(name, dot, alias, 8, &exact);
    if (dot < end)
        (void)alias_part(dot + 1, end, alias + 8, 3, &exact);
    if (attempt == 0)
        return exact && base > 0;
    if (base == 0)
        alias[base++] = '_';
    if (attempt > 0) {
        char tail[8];
        size_t length = (size_t)snprintf(tail, sizeof tail, "~%u", attempt % 1000000);

        if (base > 8 - length)
            base = 8 - length;
        memset(alias + base, ' ', 8 - base);
        memcpy(alias + base, tail, length);
    }
    return true;
}

void fat_name_alias_text(const uint8_t alias[FAT_ALIAS_SIZE], char *text)
{
    for (int i = 0; i < FAT_ALIAS_SIZE; i++) {
        if (i == 8 && alias[8] != ' ')
            *text++ = '.';
        if (alias[i] != ' ')
            *text++ = (char)alias[i];
    }
    *text = '\0';
}

bool fat_name_needs_long(const char *name, const uint8_t alias[FAT_ALIAS_SIZE])
{
    char text[FAT_ALIAS_TEXT_SIZE];

    fat_name_alias_text(alias, text);
    return strcmp(text, name) != 0;
}

unsigned fat_name_long_entries(const char *name)
{
    uint16_t units[FAT_LONG_NAME_MAX];
    int count = utf8_to_utf16(name, units, FAT_LONG_NAME_MAX);

    return count <= 0 ? 0
                      : ((unsigned)count + FAT_LONG_ENTRY_UNITS - 1) / FAT_LONG_ENTRY_UNITS;
}

/* A block of letters in which lower case follows upper case at a fixed distance. */
struct case_range {
    uint16_t first; /* lower case */
    uint16_t last;
    uint16_t distance; /* PAIRS: upper and lower take turns */
};

#define PAIRS 0

/* Unicode's simple case mapping for the alphabets that have one below U+1F00. */
static const struct case_range case_ranges[] = {
    {0x0061, 0x007A, 32},    {0x00E0, 0x00F6, 32},    {0x00F8, 0x00FE, 32},
    {0x0101, 0x012F, PAIRS}, {0x0133, 0x0137, PAIRS}, {0x013A, 0x0148, PAIRS},
    {0x014B, 0x0177, PAIRS}, {0x017A, 0x017E, PAIRS}, {0x03AD, 0x03AF, 37},
    {0x03B1, 0x03C1, 32},    {0x03C3, 0x03CB, 32},    {0x0430, 0x044F, 32},
    {0x0450, 0x045F, 80},    {0x0461, 0x0481, PAIRS}, {0x048B, 0x04BF, PAIRS},
    {0x04D1, 0x052F, PAIRS}, {0x0561, 0x0586, 48},    {0x1E01, 0x1E95, PAIRS},
    {0x1EA1, 0x1EFF, PAIRS},
};

static uint16_t upper(uint16_t c)
{
    if (c == 0x00FF)
        return 0x0178;
    if (c == 0x03AC || c == 0x03CC)
        return c == 0x03AC ? 0x0386 : 0x038C;
    if (c == 0x03CD || c == 0x03CE)
        return (uint16_t)(c - 63);
    for (size_t i = 0; i < sizeof case_ranges / sizeof case_ranges[0]; i++) {
        const struct case_range *range = &case_ranges[i];

        if (c < range->first || c > range->last)
            continue;
        if (range->distance != PAIRS)
            return (uint16_t)(c - range->distance);
        return (uint16_t)((c - range->first) % 2 == 0 ? c - 1 : c);
    }
    return c;
}

static bool is_ascii(const char *name)
{
    while (*name != '\0')
        if ((unsigned char)*name++ >= 0x80)
            return false;
    return true;
}

bool fat_name_same(const char *a, const char *b)
{
    uint16_t ua[FAT_LONG_NAME_MAX];
    uint16_t ub[FAT_LONG_NAME_MAX];
    int na;
    int nb;

    if (is_ascii(a) || is_ascii(b)) /* ASCII letters have no other case outside of ASCII */
        return strcasecmp(a, b) == 0;
    na = utf8_to_utf16(a, ua, FAT_LONG_NAME_MAX);
    nb = utf8_to_utf16(b, ub, FAT_LONG_NAME_MAX);
    if (na < 0 || na != nb)
        return false;
    for (int i = 0; i < na; i++)
        if (upper(ua[i]) != upper(ub[i]))
            return false;
    return true;
}
