/* UTF-8 and UTF-16 (RFC 3629, RFC 2781). */
#include "base/utf.h"

#include <stdbool.h>

#include "base/bytes.h"

#define REPLACEMENT 0xFFFD

static bool is_high_surrogate(uint32_t c)
{
    return c >= 0xD800 && c <= 0xDBFF;
}

static bool is_low_surrogate(uint32_t c)
{
    return c >= 0xDC00 && c <= 0xDFFF;
}

static size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

void utf16le_to_utf8(const uint8_t *in, size_t units, char *out)
{
    for (size_t i = 0; i < units; i++) {
        uint32_t c = le16(in + 2 * i);

        if (c == 0)
            break;
        if (is_high_surrogate(c) && i + 1 < units && is_low_surrogate(le16(in + 2 * i + 2))) {
            c = 0x10000 + ((c - 0xD800) << 10) + (le16(in + 2 * i + 2) - 0xDC00u);
            i++;
        } else if (is_high_surrogate(c) || is_low_surrogate(c)) {
            c = REPLACEMENT;
        }
        out += put_utf8(c, out);
    }
    *out = '\0';
}

/* One code point from *IN, which moves on; -1 where it is not sound. */
static int32_t next_code_point(const uint8_t **in)
{
    static const uint32_t smallest[4] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *p = *in;
    int more = p[0] < 0x80 ? 0 : p[0] >> 5 == 6 ? 1 : p[0] >> 4 == 14 ? 2 : p[0] >> 3 == 30 ? 3 : -1;
    uint32_t c;

    if (more < 0)
        return -1;
    c = more == 0 ? p[0] : p[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        if (p[i] >> 6 != 2)
            return -1;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if (c < smallest[more] || c > 0x10FFFF || is_high_surrogate(c) || is_low_surrogate(c))
        return -1;
    *in = p + more + 1;
    return (int32_t)c;
}

int utf8_to_utf16(const char *in, uint16_t *out, size_t room)
{
    const uint8_t *p = (const uint8_t *)in;
    size_t count = 0;

    while (*p != '\0') {
        int32_t c = next_code_point(&p);
        size_t units = c >= 0x10000 ? 2 : 1;

        if (c < 0 || count + units > room)
            return -1;
        if (units == 2) {
            out[count++] = (uint16_t)(0xD800 + ((c - 0x10000) >> 10));
            out[count++] = (uint16_t)(0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
            out[count++] = (uint16_t)c;
        }
    }
    return (int)count;
}
