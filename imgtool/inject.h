/* chrimg inject: its arguments. */
#ifndef CHRIMG_IMGTOOL_INJECT_H
#define CHRIMG_IMGTOOL_INJECT_H

#include "tool.h"

/* As many of each as there are words on the command line. */
struct inject_lists {
    struct chr_pair *sets;
    struct chr_pair *allow_cmds;
    const char **addresses;
    const char **gateways;
    const char **dns;
    const char **ssh_key_files;
    struct chr_put *files;
    struct chr_put *root;
    struct chr_put *boot;
};

struct inject_arguments {
    struct chr_inject_options options;
    struct chr_defaults defaults;
    struct inject_lists lists;
    uint32_t mode;
    int64_t source_date;
    bool append;
    bool replace;
    bool render;
    bool json;
    const char *image;
};

/*
 * Read the command line; *GO_ON is whether there is something to do, else what is returned
 * is the exit code.  Release ARGUMENTS in any case.
 */
int inject_take_arguments(const struct command *command, int argc, char **argv,
                          struct inject_arguments *arguments, bool *go_on);
void inject_release_arguments(struct inject_arguments *arguments);

#endif
