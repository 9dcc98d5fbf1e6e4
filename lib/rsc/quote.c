/* Quoting for RouterOS. */
#include "rsc/quote.h"

#include <string.h>

int rsc_quote_hex(struct secret *out, char c, struct chr_error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned byte = (unsigned char)c;
    char escape[3] = {'\\', digits[byte >> 4], digits[byte & 15]};

    return secret_append(out, escape, sizeof escape, err);
}

static int append_escaped(struct secret *out, char c, struct chr_error *err)
{
    /* What RouterOS has a letter for: the byte, then the letter. */
    static const char letters[] = "\"\"\\\\$$\nn\rr\tt";
    unsigned byte = (unsigned char)c;

    for (const char *p = letters; *p != '\0'; p += 2)
        if (*p == c)
            return secret_append(out, (char[]){'\\', p[1]}, 2, err);
    if (byte < 0x20 || byte >= 0x7F)
        return rsc_quote_hex(out, c, err);
    return secret_append(out, &c, 1, err);
}

int rsc_quote_inside(struct secret *out, const char *bytes, size_t len, struct chr_error *err)
{
    if (len > 0 && memchr(bytes, '\0', len) != NULL)
        return err_set(err, CHR_E_REFUSED, "a NUL byte cannot be in a string of RouterOS");
    for (size_t i = 0; i < len; i++)
        if (append_escaped(out, bytes[i], err) < 0)
            return -1;
    return 0;
}

int rsc_quote(struct secret *out, const char *bytes, size_t len, struct chr_error *err)
{
    if (secret_append(out, "\"", 1, err) < 0 || rsc_quote_inside(out, bytes, len, err) < 0)
        return -1;
    return secret_append(out, "\"", 1, err);
}
