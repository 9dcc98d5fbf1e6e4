/* Errors and the allocations that report them. */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int err_set(struct chr_error *err, enum chr_code code, const char *format, ...)
{
    va_list args;

    err->code = code;
    err->hint[0] = '\0';
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return -1;
}

static enum chr_code code_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return CHR_E_SPACE;
    case EEXIST:
        return CHR_E_EXISTS;
    case ENOENT:
    case ENOTDIR:
        return CHR_E_MISSING;
    case ENOMEM:
        return CHR_E_MEMORY;
    case EAGAIN:
    case EBUSY:
        return CHR_E_BUSY;
    default:
        return CHR_E_IO;
    }
}

int err_errno(struct chr_error *err, int number, const char *format, ...)
{
    va_list args;
    char text[CHR_MESSAGE_SIZE];

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(err, code_of_errno(number), "%.900s: %s", text, strerror(number));
}

int err_context(struct chr_error *err, const char *format, ...)
{
    va_list args;
    char text[CHR_MESSAGE_SIZE];
    char message[CHR_MESSAGE_SIZE];
    size_t length;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    length = strlen(text);
    if (strncmp(err->message, text, length) == 0 && strchr(": ", err->message[length]) != NULL)
        return -1; /* the place that knew has said it already */
    memcpy(message, err->message, sizeof message);
    (void)snprintf(err->message, sizeof err->message, "%.400s: %.600s", text, message);
    return -1;
}

int err_hint(struct chr_error *err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return -1;
}

static void out_of_memory(struct chr_error *err, size_t count, size_t size)
{
    (void)err_set(err, CHR_E_MEMORY, "out of memory: could not get %zu x %zu bytes", count, size);
}

void *mem_new(size_t count, size_t size, struct chr_error *err)
{
    void *p = calloc(count != 0 ? count : 1, size);

    if (p == NULL)
        out_of_memory(err, count, size);
    return p;
}

char *mem_strdup(const char *text, struct chr_error *err)
{
    char *copy = strdup(text);

    if (copy == NULL)
        out_of_memory(err, 1, strlen(text) + 1);
    return copy;
}

int mem_grow(void *array, size_t *capacity, size_t count, size_t size, struct chr_error *err)
{
    void *old;
    void *grown;
    size_t room = *capacity != 0 ? *capacity * 2 : 16;

    if (count < *capacity)
        return 0;
    memcpy(&old, array, sizeof old);
    grown = room <= SIZE_MAX / size ? realloc(old, room * size) : NULL;
    if (grown == NULL) {
        out_of_memory(err, room, size);
        return -1;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = room;
    return 0;
}
