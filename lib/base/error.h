/*
 * Errors say what, where and what next: a code, one sentence, and a hint
 * where there is a way out.
 *
 * Every function that can fail takes a `struct chr_error *` that is never
 * NULL, fills it once, at the place that knows, and returns -1.  Callers put
 * their context in front with err_context(); they never write a second
 * message.  Codes of other libraries (errno, errcode_t, zlib) end here.
 */
#ifndef CHRIMG_BASE_ERROR_H
#define CHRIMG_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#include "chrimg.h"

/* Set the error; always returns -1, so that `return err_set(...)` reads well. */
int err_set(struct chr_error *err, enum chr_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same from errno (taken as the argument NUMBER): ": strerror" follows,
 * and ENOSPC, EDQUOT, EEXIST, ENOENT, ENOMEM, EACCES get their own codes. */
int err_errno(struct chr_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " before the message; returns -1. */
int err_context(struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Say the way out; returns -1. */
int err_hint(struct chr_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* calloc() whose failure is an error; NULL then.  The caller owns the memory. */
void *mem_new(size_t count, size_t size, struct chr_error *err)
    __attribute__((malloc, warn_unused_result));

/* strdup() whose failure is an error; NULL then.  The caller owns the memory. */
char *mem_strdup(const char *text, struct chr_error *err)
    __attribute__((malloc, warn_unused_result));

/*
 * Make room for one more element behind COUNT of them: ARRAY points to the
 * array pointer, CAPACITY to how many it has room for.  Returns 0, or -1 with
 * the array as it was.
 */
int mem_grow(void *array, size_t *capacity, size_t count, size_t size,
             struct chr_error *err);

#endif
