/* The text of sources: lines, UTF-8, and what editors leave in it. */
#ifndef CHRIMG_RSC_TEXT_H
#define CHRIMG_RSC_TEXT_H

#include "rsc/secret.h"

/* What was changed on the way in. */
struct rsc_text_changes {
    size_t boms;
    size_t first_bom_line;  /* from 1; 0 when there is none */
    size_t crlf_lines;
    size_t first_crlf_line; /* from 1; 0 when there is none */
};

#define RSC_BOM "\xEF\xBB\xBF"
#define RSC_BOM_SIZE 3

/*
 * Append TEXT to OUT without a BOM at the start of a line, where joined files have theirs,
 * and with LF for CR LF.
 */
int rsc_text_normalise(const char *text, size_t len, struct secret *out,
                       struct rsc_text_changes *changes, struct chr_error *err);

/*
 * Where the first byte is that makes TEXT no script at all: a NUL, or the mark of UTF-16;
 * LEN when there is none.  *WHY is what it is, for a message.
 */
size_t rsc_text_unfit(const char *text, size_t len, const char **why);

/* Where the first byte is that belongs to no character of sound UTF-8; LEN when there is none. */
size_t rsc_text_not_utf8(const char *text, size_t len);

/* A question mark for each byte that is not sound UTF-8, and for each NUL. */
void rsc_text_make_sound(char *text, size_t len);

/* How many newlines are in TEXT, and characters: of UTF-8, or a byte that is not. */
size_t rsc_text_lines(const char *text, size_t len);
size_t rsc_text_characters(const char *text, size_t len);

#endif
