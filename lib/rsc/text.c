/* Text as it comes from editors, and as RouterOS should get it. */
#include "rsc/text.h"

#include <string.h>

#include "base/bytes.h"
#include "base/utf.h"

static size_t bom_length(const char *text, size_t len)
{
    return len >= RSC_BOM_SIZE && memcmp(text, RSC_BOM, RSC_BOM_SIZE) == 0 ? RSC_BOM_SIZE : 0;
}

int rsc_text_normalise(const char *text, size_t len, struct secret *out,
                       struct rsc_text_changes *changes, struct chr_error *err)
{
    size_t line = 1;
    size_t from = 0;

    *changes = (struct rsc_text_changes){0};
    while (from < len) {
        size_t mark = bom_length(text + from, len - from);
        const char *newline = memchr(text + from, '\n', len - from);
        size_t end = newline != NULL ? (size_t)(newline - text) : len;
        bool crlf = newline != NULL && end > from && text[end - 1] == '\r';

        if (mark > 0 && changes->boms++ == 0)
            changes->first_bom_line = line;
        from += mark;
        if (crlf && changes->crlf_lines++ == 0)
            changes->first_crlf_line = line;
        if (secret_append(out, text + from, end - from - crlf, err) < 0 ||
            (newline != NULL && secret_append(out, "\n", 1, err) < 0))
            return -1;
        from = end + 1;
        line++;
    }
    return 0;
}

/* How long the character at P is, of LEN bytes at least 1; 0 when it is not sound UTF-8. */
static size_t character_length(const char *p, size_t len)
{
    uint8_t lead = (uint8_t)p[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char character[5] = {0};
    uint16_t units[2];

    if (length == 1)
        return 1;
    if (length > len)
        return 0;
    memcpy(character, p, length);
    /* A lead byte that says more or less than LENGTH leaves a rest that is not sound. */
    return utf8_to_utf16(character, units, 2) == (length == 4 ? 2 : 1) ? length : 0;
}

size_t rsc_text_unfit(const char *text, size_t len, const char **why)
{
    const char *nul = len > 0 ? memchr(text, '\0', len) : NULL;

    if (len >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0)) {
        *why = "not UTF-8, but UTF-16 as some editors of Windows write it";
        return 0;
    }
    *why = nul != NULL ? "a NUL byte" : NULL;
    return nul != NULL ? (size_t)(nul - text) : len;
}

size_t rsc_text_not_utf8(const char *text, size_t len)
{
    size_t off = 0;

    while (off < len) {
        size_t length = character_length(text + off, len - off);

        if (length == 0)
            return off;
        off += length;
    }
    return len;
}

void rsc_text_make_sound(char *text, size_t len)
{
    for (size_t off = 0; off < len;) {
        size_t length = character_length(text + off, len - off);

        if (length == 0 || text[off] == '\0')
            text[off] = '?';
        off += length > 0 ? length : 1;
    }
}

size_t rsc_text_lines(const char *text, size_t len)
{
    size_t lines = 0;

    while (len > 0) {
        const char *newline = memchr(text, '\n', len);

        if (newline == NULL)
            break;
        lines++;
        len -= (size_t)(newline + 1 - text);
        text = newline + 1;
    }
    return lines;
}

size_t rsc_text_characters(const char *text, size_t len)
{
    size_t characters = 0;

    for (size_t off = 0; off < len; characters++) {
        size_t length = character_length(text + off, len - off);

        off += length > 0 ? length : 1;
    }
    return characters;
}
