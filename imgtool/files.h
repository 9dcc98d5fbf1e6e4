/* chrimg ls, cat, cp, rm: what they share. */
#ifndef CHRIMG_IMGTOOL_FILES_H
#define CHRIMG_IMGTOOL_FILES_H

#include "tool.h"

enum { FILES_OPTION_JSON = 256 };

struct files_arguments {
    struct chr_copy_options options;
    struct chr_copy_report report;
    int64_t source_date;
    unsigned flags;
    bool details;
    bool json;
};

/* For take_options(), with a struct files_arguments. */
int files_take_option(const struct command *command, int option, void *arguments);

/* The place that TEXT names; without NEEDS_PATH an image alone will do. */
int files_take_place(const struct command *command, const char *text, bool needs_path,
                     struct chr_place *place);

/* A command line of options and one place, to be released; else *STATUS says how it ends. */
struct files_line {
    const char *letters; /* as getopt(3) has them */
    const struct option *options;
    bool needs_path;
    struct files_arguments arguments;
    const char *text; /* the place, as it is given */
    struct chr_place place;
};
bool files_take_line(const struct command *command, int argc, char **argv, struct files_line *line,
                     int *status);

/* Print the file at PLACE on stdout; FLAGS for chr_image_open().  The exit code. */
int files_print(const struct chr_place *place, unsigned flags);

#define FILES_PLACES                                                                         \
    "\n"                                                                                   \
    "IMG:/PATH is on the root partition, IMG:boot:/PATH on the boot partition;\n"          \
    "IMG@TAG of a snapshot. A file of that whole name wins.\n"

#endif
