/* What every command shares: the table of commands, exit codes, options. */
#ifndef CHRIMG_IMGTOOL_TOOL_H
#define CHRIMG_IMGTOOL_TOOL_H

#include <getopt.h>
#include <stdbool.h>

#include "chrimg.h"

/* Exit codes; documented in chrimg(1). */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGED = 3,
    EXIT_LEAKS = 4,
};

struct command {
    const char *name;
    const char *arguments; /* "IMG [-o OUT]" */
    const char *summary;   /* one line */
    const char *help;      /* the options, a line each */
    bool changes;          /* what it prints is not all that it is for */
    int (*run)(const struct command *command, int argc, char **argv);
};

extern const struct command command_info;
extern const struct command command_fatten;
extern const struct command command_extract;
extern const struct command command_convert;
extern const struct command command_snapshot;
extern const struct command command_resize;
extern const struct command command_check;
extern const struct command command_lint;
extern const struct command command_inject;
extern const struct command command_ls;
extern const struct command command_cat;
extern const struct command command_cp;
extern const struct command command_rm;
extern const struct command command_boot;
extern const struct command command_ps;
extern const struct command command_console;
extern const struct command command_logs;
extern const struct command command_stop;
extern const struct command command_restart;
extern const struct command command_wait;
extern const struct command command_run;
extern const struct command command_doctor;

/* Options that mean the same in every command. */
#define OPTION_HELP 'h'

/* Say what was wrong with the command line, and where help is; returns EXIT_USAGE. */
int usage_error(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The command's help on stdout; returns EXIT_DONE. */
int show_help(const struct command *command);

/*
 * Read a command's options (argv[0] is its name): TAKE gets each one and returns
 * 0, or the exit code to stop with.  Help and unknown options are dealt with
 * here.  False when the command is over: *STATUS is its exit code then.
 */
typedef int take_option_fn(const struct command *command, int option, void *arguments);
bool take_options(const struct command *command, int argc, char **argv, const char *short_options,
                  const struct option *long_options, take_option_fn *take, void *arguments,
                  int *status);

/* The one image argument; NULL, and *STATUS set, when there is none or more than one. */
const char *image_argument(const struct command *command, int argc, char **argv, int *status);

/* The value of -c: "zlib", "zstd", or NULL for zlib; 0, or the exit code. */
int take_compression(const struct command *command, const char *value,
                     enum chr_compression *compression);

/* chr_image_open() for a command that reads; says so when a change was interrupted.
 * EXIT_DONE, or the exit code with the error printed. */
int open_image(const char *path, unsigned flags, struct chr_image **image);

/*
 * The time of files that are written into an image: $SOURCE_DATE_EPOCH (reproducible-builds.org)
 * in VALUE, and *MODIFIED points there; NULL without.  0, or the exit code.
 */
int take_source_date(const struct command *command, int64_t *value, const int64_t **modified);

/* Say on stderr that a journal was replayed, as VERB says ("replayed", "would replay"). */
void report_journal(const struct chr_journal_report *report, const char *verb);

/* Print the error and its hint; returns the exit code that belongs to it. */
int report_error(const struct chr_error *err);

#endif
