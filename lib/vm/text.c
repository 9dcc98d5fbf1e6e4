/* A growing text, and words for the shell. */
#include "vm/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/shell.h"

static bool make_room(struct text *text, size_t length)
{
    size_t wanted = text->length + length + 1;
    size_t capacity = text->capacity != 0 ? text->capacity : 1024;
    char *grown;

    while (capacity < wanted)
        capacity *= 2;
    if (capacity == text->capacity)
        return true;
    grown = realloc(text->bytes, capacity);
    if (grown == NULL) {
        text->failed = true;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

void text_add_bytes(struct text *text, const char *bytes, size_t length)
{
    if (text->failed || !make_room(text, length))
        return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    AUTO_FREE char *piece = NULL;
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(&piece, format, args);
    va_end(args);
    if (length < 0) {
        piece = NULL; /* undefined after a failure */
        text->failed = true;
        return;
    }
    text_add_bytes(text, piece, (size_t)length);
}

int text_take(struct text *text, char **out, struct chr_error *err)
{
    text_add_bytes(text, "", 0);
    if (text->failed)
        return err_set(err, CHR_E_MEMORY, "out of memory for a text");
    *out = STEAL(text->bytes);
    text->length = text->capacity = 0;
    return 0;
}

void text_release(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

char *text_new(struct chr_error *err, const char *format, ...)
{
    char *out;
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(&out, format, args);
    va_end(args);
    if (length >= 0)
        return out;
    (void)err_set(err, CHR_E_MEMORY, "out of memory for a text");
    return NULL;
}

void text_add_shell_word(struct text *text, const char *value)
{
    size_t size = SHELL_WORD_SIZE(value);
    AUTO_FREE char *word = malloc(size);

    if (word == NULL)
        text->failed = true;
    else
        text_add(text, "%s", chr_shell_word(value, word, size));
}
