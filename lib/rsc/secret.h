/*
 * Bytes that may be a password: in pages of their own, kept out of swap and core
 * dumps where the host allows it, and wiped before they are given back.
 */
#ifndef CHRIMG_RSC_SECRET_H
#define CHRIMG_RSC_SECRET_H

#include "base/cleanup.h"
#include "base/error.h"

/* All zero is an empty one.  DATA may be NULL while LEN is 0. */
struct secret {
    char *data;
    size_t len;
    size_t capacity; /* a multiple of the page size */
};

/* Make room for LEN bytes; what moves is wiped where it was. */
int secret_reserve(struct secret *secret, size_t len, struct chr_error *err);

int secret_append(struct secret *secret, const void *bytes, size_t len, struct chr_error *err);
int secret_append_text(struct secret *secret, const char *text, struct chr_error *err);

/* Put BYTES at OFF, which is LEN or less; what is behind moves up. */
int secret_insert(struct secret *secret, size_t off, const void *bytes, size_t len,
                  struct chr_error *err);

/*
 * Append all that FD gives, to its end; WHAT names it in errors.  More than LIMIT
 * bytes is CHR_E_REFUSED.
 */
int secret_read(struct secret *secret, int fd, size_t limit, const char *what,
                struct chr_error *err);

/* Wipe and free; all zero afterwards. */
void secret_release(struct secret *secret);

#define AUTO_SECRET CLEANUP(secret_release)

#endif
