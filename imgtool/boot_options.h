/* The options that `chrimg boot` and `chrimg run` share. */
#ifndef CHRIMG_IMGTOOL_BOOT_OPTIONS_H
#define CHRIMG_IMGTOOL_BOOT_OPTIONS_H

#include "tool.h"

struct boot_arguments {
    struct chr_boot_options options;
    char *firmware_code; /* what options.firmware_code points to, when --firmware named two files */
    bool json;
};

/* For take_options(), with a struct boot_arguments as its arguments. */
#define BOOT_SHORT_OPTIONS ":ih"
extern const struct option boot_long_options[];
int boot_take_option(const struct command *command, int option, void *boot_arguments);

/* A line for each option, for a command's help. */
extern const char boot_help[];

/* What can be said only when all options are read; 0, or the exit code. */
int boot_check_options(const struct command *command, const struct boot_arguments *arguments);

void boot_arguments_release(struct boot_arguments *arguments);

#endif
