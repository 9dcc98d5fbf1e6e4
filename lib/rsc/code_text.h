/*
 * Which text of a script is itself run as a script: what on-event=, source= and their
 * like hold, and what :execute and :parse are given.
 *
 * In such a text a value that is safe as a string is safe no more: its own quotes are
 * taken away once before it is run.  A {block} is no such text, as its quotes are those
 * of the script.
 */
#ifndef CHRIMG_RSC_CODE_TEXT_H
#define CHRIMG_RSC_CODE_TEXT_H

#include "rsc/scan.h"

#define RSC_KEY_MAX 32 /* no name that matters is longer */

enum rsc_code_key { RSC_NO_KEY, RSC_DATA_KEY, RSC_CODE_KEY };

/* The beginning of a word; LEN is RSC_KEY_MAX when it is as long, or longer. */
struct rsc_code_word {
    char text[RSC_KEY_MAX];
    size_t len;
};

struct rsc_code_frame {
    char kind;             /* 0 for the script, else as in struct rsc_open */
    bool code;             /* all in it belongs to such a text */
    bool inner_string;     /* between \" and \" of a string */
    bool has_command;      /* the first word of the statement is over, */
    bool runs_argument;    /* and is a command that runs its argument, */
    bool runs_in;          /* or what its in= holds */
    enum rsc_code_key key; /* behind KEY= */
    bool value;            /* the value of KEY has begun */
    bool blank;            /* a blank stands behind the word */
    bool line_begins;      /* in a line that goes on with the one before: nothing but blanks yet */
    bool split;            /* the word goes over the end of a line, */
    struct rsc_code_word rest; /* and this is what is in the last one */
    struct rsc_code_word word; /* of a string: all of it */
};

struct rsc_code_text {
    struct rsc_code_frame frames[RSC_DEPTH_MAX + 1];
    size_t depth; /* index of the innermost */
};

/* Follow UNIT of SCANNER, which has just given it; what begins all zero follows from the start. */
void rsc_code_text_take(struct rsc_code_text *code, const struct rsc_unit *unit,
                        const struct rsc_scanner *scanner);

/* A reference stands here: it is (a part of) a value. */
void rsc_code_text_take_value(struct rsc_code_text *code);

/* Whether what comes next belongs to a text that is run. */
bool rsc_code_text_here(const struct rsc_code_text *code);

/* Whether it stands between escaped quotes, so that the text may be run some day. */
bool rsc_code_text_in_inner_string(const struct rsc_code_text *code);

#endif
