/*
 * The lexer of RouterOS scripts: text in units, with what is open around each.
 *
 * Code and strings nest: "a $[:pick "b" 0 1] c" holds code, and that a string.
 * Line rules are those of the RouterOS manual, Scripting, section "Line structure":
 * a statement ends at ; or a newline, # begins a comment where a word could begin,
 * a backslash at the end of a line joins the next to it, but not in a comment; the
 * blanks that the next begins with are passed over, as exports of RouterOS are wrapped so.
 */
#ifndef CHRIMG_RSC_SCAN_H
#define CHRIMG_RSC_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* Deeper is refused; what people write stays below ten. */
#define RSC_DEPTH_MAX 64

enum rsc_unit_kind {
    RSC_BARE,          /* one byte of a word */
    RSC_BLANK,         /* one blank or tab */
    RSC_SEPARATOR,     /* ; or newline */
    RSC_CONTINUATION,  /* backslash and newline, in code or in a string; in code there may be
                          blanks between, where RouterOS may not go on */
    RSC_COMMENT,       /* from # up to the newline */
    RSC_OPEN,          /* { [ (, and in a string $[ $( */
    RSC_CLOSE,         /* } ] ) that closes what is open */
    RSC_STRAY_CLOSE,   /* } ] ) that does not */
    RSC_QUOTE,         /* " that begins a string */
    RSC_UNQUOTE,       /* " that ends one */
    RSC_TEXT,          /* one byte in a string */
    RSC_ESCAPE,        /* backslash and what belongs to it, in a string */
    RSC_BAD_ESCAPE,    /* backslash and a byte that means nothing, in a string */
    RSC_STRAY_BACKSLASH, /* a backslash in code that continues nothing */
    RSC_TOO_DEEP,      /* the end: RSC_DEPTH_MAX is reached */
};

struct rsc_unit {
    enum rsc_unit_kind kind;
    size_t off;
    size_t len;
};

struct rsc_open {
    char kind; /* " { [ ( */
    size_t off;
};

struct rsc_scanner {
    const char *text;
    size_t len;
    size_t off;      /* of the next unit; a caller may move it on */
    bool in_word;    /* the next unit goes on with a word */
    struct rsc_open open[RSC_DEPTH_MAX];
    size_t depth;
};

/* The next unit; false at the end of the text. */
bool rsc_scan(struct rsc_scanner *scanner, struct rsc_unit *unit);

/* Whether the next unit is in a string itself, not in code. */
bool rsc_scan_in_string(const struct rsc_scanner *scanner);

/* Whether a string is open anywhere around the next unit. */
bool rsc_scan_within_string(const struct rsc_scanner *scanner);

#endif
