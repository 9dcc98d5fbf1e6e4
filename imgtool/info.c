/* chrimg info */
#include <stdio.h>

#include "info.h"
#include "tool.h"

enum { OPTION_JSON = 256, OPTION_FORCE_SHARE };

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"force-share", no_argument, NULL, 'U'},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int inspect(const char *path, unsigned flags, bool json)
{
    struct chr_image *image = NULL;
    struct chr_report *report = NULL;
    struct chr_error err;
    int status = open_image(path, flags, &image);

    if (status != EXIT_DONE)
        return status;
    if (chr_inspect(image, &report, &err) < 0)
        status = report_error(&err);
    else if (json)
        status = info_print_json(path, report);
    else
        info_print_text(path, report);
    chr_report_free(report);
    chr_image_close(image);
    return status;
}

struct arguments {
    unsigned flags;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    (void)command;
    if (option == OPTION_JSON)
        arguments->json = true;
    else
        arguments->flags |= CHR_OPEN_FORCE_SHARE;
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    const char *path;
    int status;

    if (!take_options(command, argc, argv, ":Uh", long_options, take_option, &arguments, &status))
        return status;
    path = image_argument(command, argc, argv, &status);
    return path == NULL ? status : inspect(path, arguments.flags, arguments.json);
}

const struct command command_info = {
    .name = "info",
    .arguments = "[-U] [--json] IMG",
    .summary = "say what an image is, and whether it boots with UEFI and with BIOS",
    .help = "      --json            report as JSON\n"
            "  -U, --force-share     read it although a VM writes to it\n"
            "  -h, --help            this\n",
    .run = run,
};
