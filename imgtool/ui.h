/*
 * How chrimg speaks: data on stdout, messages on stderr, colour and progress on
 * a terminal only (and colour not with NO_COLOR set, see no-color.org).
 */
#ifndef CHRIMG_IMGTOOL_UI_H
#define CHRIMG_IMGTOOL_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chrimg.h"

enum colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, BLUE, CYAN };

void ui_init(void);

/* "chrimg: ..." and "hint: ..." on stderr. */
void ui_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ui_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Text on stdout.  Control characters in it, which may come from an image, are
 * shown as \xNN; a newline is a newline.
 */
void ui_out(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same of any length; a tab is a tab. */
void ui_text(const char *text);
void ui_colour(enum colour colour, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* TEXT with its control characters as \xNN, newlines too, into OUT. */
void ui_escape(const char *text, char *out, size_t size);

/* How many characters TEXT has on a terminal. */
unsigned ui_characters(const char *text);

/* TEXT in at most WIDTH characters, the middle left out where it is longer; for paths. */
void ui_shorten(const char *text, unsigned width, char *out, size_t size);

/* How many blanks fill TEXT up to WIDTH characters; 0 when it is longer. */
unsigned ui_padding(const char *text, unsigned width);

/* A paragraph whose first line starts at column INDENT (it is there already); wraps on a terminal. */
void ui_wrapped(unsigned indent, const char *text);
/* The same behind a LABEL at that column, which it prints, too: "LABEL: TEXT". */
void ui_labelled(unsigned indent, const char *label, const char *text);

/* "note", "warning", "damage" */
const char *ui_severity(enum chr_severity severity);

/* "note", "warning", "error" */
const char *ui_lint_severity(enum chr_lint_severity severity);

/* "base.rsc:3:7: error: ...", a line for each: on stderr, and on stdout as data. */
void ui_lint_messages(const struct chr_lint_report *report);
void ui_lint_report(const struct chr_lint_report *report);

/* A name that may come from an image: on stdout, on one line whatever is in it. */
void ui_name(const char *name);

/* A finding on a line of its own, INDENT columns in. */
void ui_finding(const struct chr_finding *finding, unsigned indent);

/* Whether stdout is a terminal, how wide it is (80 when it is none), and whether it shows UTF-8. */
bool ui_is_terminal(void);
unsigned ui_width(void);
bool ui_utf8(void);

/* "35.2 MiB", as many digits as matter; BUF of 16 bytes at least, returned. */
#define UI_SIZE_TEXT 24
char *ui_size(uint64_t bytes, char *buf);

/* A progress line on stderr while something takes long; a callback for the library. */
void ui_progress(uint64_t done, uint64_t total, void *what);
/* The same where nobody knows how much is left: time passed, and the time it may take. */
void ui_waiting(const char *what, int64_t elapsed_ms, int64_t limit_ms);
void ui_waiting_end(void);

/*
 * What a machine says on its serial line, to a terminal: text, line ends, tabs and colours,
 * and nothing else that would steer the terminal.
 */
void ui_serial(const char *text);

/* Take the progress line away again. */
void ui_progress_end(void);

#endif
