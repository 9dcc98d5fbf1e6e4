/* chr_shell_word() */
#include "base/shell.h"

#include <string.h>

/* Behind what OUT holds, as much as there is room for. */
static void append(char *out, size_t size, size_t *length, const char *bytes, size_t count)
{
    size_t room = size - 1 - *length;

    if (count > room)
        count = room;
    memcpy(out + *length, bytes, count);
    *length += count;
    out[*length] = '\0';
}

const char *chr_shell_word(const char *value, char *out, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_@%+=:,./-";
    size_t length = 0;
    const char *quote;

    if (value[0] != '\0' && value[strspn(value, plain)] == '\0') {
        append(out, size, &length, value, strlen(value));
        return out;
    }
    append(out, size, &length, "'", 1);
    while ((quote = strchr(value, '\'')) != NULL) {
        append(out, size, &length, value, (size_t)(quote - value));
        append(out, size, &length, "'\\''", 4);
        value = quote + 1;
    }
    append(out, size, &length, value, strlen(value));
    append(out, size, &length, "'", 1);
    return out;
}
