/*
 * Statements of RouterOS scripts: words, the menu they are in, and whether they run.
 *
 * A statement is "[/menu menu] command [target...] [name=value...]"; menus may also be
 * joined by slashes (/ip/address/add).  A line that names only a menu makes it the
 * current one for the rest of its block.  Statements stand in the script itself, in
 * [brackets], and in {blocks} that are commands, not arrays.
 */
#ifndef CHRIMG_RSC_STATEMENT_H
#define CHRIMG_RSC_STATEMENT_H

#include "base/error.h"
#include "rsc/path.h"
#include "rsc/scan.h"

#define RSC_WORDS_MAX 2048 /* of all statements that are open at one time; more are passed over */

/* What [find ...] selects. */
enum rsc_selection_kind {
    RSC_SELECT_NOTHING,   /* the word is no [find] */
    RSC_SELECT_ALL,       /* [find] */
    RSC_SELECT_EQUAL,     /* [find name=x] */
    RSC_SELECT_NOT_EQUAL, /* [find name!=x] */
    RSC_SELECT_MATCH,     /* [find name~"x|y"] */
    RSC_SELECT_UNKNOWN,   /* anything else */
};

struct rsc_span {
    size_t off;
    size_t len;
};

struct rsc_selection {
    enum rsc_selection_kind kind;
    struct rsc_span value; /* what "name" is compared with */
};

struct rsc_word {
    size_t off;
    size_t len;
    bool has_key;    /* "name=value" */
    bool literal;    /* no variable, bracket or parenthesis in it */
    size_t key_len;
    struct rsc_selection selection;
};

/* The :foreach around a statement, the innermost: of what its variable is each in turn. */
struct rsc_loop {
    struct rsc_span variable; /* its name, without $; length 0: there is none */
    struct rsc_span list;     /* {ssh;www}, ssh,www */
    struct rsc_selection selection; /* in=[find ...] */
};

struct rsc_statement {
    const char *text; /* all of it; offsets count from here */
    const struct rsc_word *words;
    size_t count;          /* at least 1 */
    size_t arguments;      /* the first word behind the command */
    char path[RSC_PATH_MAX]; /* menu and command, separated by blanks: "ip address add" */
    struct rsc_loop loop;
    bool at_root;    /* no menu is chosen where it stands */
    bool unsure;     /* it may be no statement at all, or stand in another menu when it runs */
    bool runs;       /* when the script does: not kept as a script or function for later */
};

/* Called for each; 0, or -1 to stop. */
typedef int rsc_statement_fn(const struct rsc_statement *statement, void *context,
                             struct chr_error *err);

struct rsc_parser;

/* A parser of TEXT[BEGIN, END); free with rsc_parser_free(). */
struct rsc_parser *rsc_parser_new(const char *text, rsc_statement_fn *each, void *context,
                                  struct chr_error *err);
void rsc_parser_free(struct rsc_parser *parser);

/* The next UNIT of a scanner that starts with the parser; DEPTH is the scanner's after it. */
int rsc_parser_take(struct rsc_parser *parser, const struct rsc_unit *unit,
                    const struct rsc_scanner *scanner, struct chr_error *err);

/* The text is over. */
int rsc_parser_end(struct rsc_parser *parser, struct chr_error *err);

#endif
