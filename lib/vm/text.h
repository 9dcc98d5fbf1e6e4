/* A growing text; a failure is remembered and told once, at the end. */
#ifndef CHRIMG_VM_TEXT_H
#define CHRIMG_VM_TEXT_H

#include <stdarg.h>

#include "base/error.h"

struct text {
    char *bytes;
    size_t length;
    size_t capacity;
    bool failed;
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(struct text *text, const char *bytes, size_t length);

/* The text into *OUT, for the caller to free; TEXT is empty afterwards. */
int text_take(struct text *text, char **out, struct chr_error *err);
void text_release(struct text *text);

/* printf() into new memory; NULL with the error set. */
char *text_new(struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* VALUE as one word of a POSIX shell, in quotes where it needs them. */
void text_add_shell_word(struct text *text, const char *value);

#define AUTO_TEXT CLEANUP(text_release)

#endif
