/* Short aliases and long names. */
#include "fs/fat_name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

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

/* Simple upper case for the scripts that have it below U+0530; others have one case here. */
static uint16_t upper(uint16_t c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 0xE0 && c <= 0xFE && c != 0xF7))
        return (uint16_t)(c - 32);
    if (c >= 0x100 && c <= 0x137)
        return c & (uint16_t)~1;
    if (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2)
        return (uint16_t)(c - 32);
    if (c >= 0x430 && c <= 0x44F)
        return (uint16_t)(c - 32);
    if (c >= 0x450 && c <= 0x45F)
        return (uint16_t)(c - 80);
    return c;
}

bool fat_name_same(const char *a, const char *b)
{
    uint16_t ua[FAT_LONG_NAME_MAX];
    uint16_t ub[FAT_LONG_NAME_MAX];
    int na = utf8_to_utf16(a, ua, FAT_LONG_NAME_MAX);
    int nb = utf8_to_utf16(b, ub, FAT_LONG_NAME_MAX);

    if (na < 0 || na != nb)
        return false;
    for (int i = 0; i < na; i++)
        if (upper(ua[i]) != upper(ub[i]))
            return false;
    return true;
}
