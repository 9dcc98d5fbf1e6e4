/* chrimg extract */
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_RAW = 256, OPTION_PARTITION, OPTION_JSON };

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"raw", required_argument, NULL, OPTION_RAW},
    {"partition", required_argument, NULL, OPTION_PARTITION},
    {"force", no_argument, NULL, 'f'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static void print_partition(const struct chr_extract_options *options,
                            const struct chr_extract_report *report)
{
    if (options->partition == NULL || strcmp(options->partition, "boot") == 0)
        ui_out("wrote the boot partition");
    else if (strcmp(options->partition, "root") == 0)
        ui_out("wrote the root partition");
    else
        ui_out("wrote partition %u", report->partition);
}

static int print_report(const struct chr_extract_options *options,
                        const struct chr_extract_report *report, bool json)
{
    char size[UI_SIZE_TEXT];

    if (json)
        return json_print(json_pack("{s:i, s:i, s:i, s:I, s:o}", "schema", 1, "files",
                                    (int)report->files, "folders", (int)report->folders, "bytes",
                                    (json_int_t)report->bytes, "partition",
                                    options->raw != NULL ? json_integer(report->partition)
                                                         : json_null()));
    if (options->folder != NULL) {
        ui_out("extracted %u file%s and %u folder%s to ", report->files,
               report->files == 1 ? "" : "s", report->folders, report->folders == 1 ? "" : "s");
        ui_name(options->folder);
        ui_out("\n");
    }
    if (options->raw != NULL) {
        print_partition(options, report);
        ui_out(" to ");
        ui_name(options->raw);
        ui_out("\n");
    }
    ui_out("%s in all\n", ui_size(report->bytes, size));
    return EXIT_DONE;
}

static int extract(const char *path, const struct chr_extract_options *options, bool json)
{
    struct chr_image *image = NULL;
    struct chr_extract_report report;
    struct chr_error err;
    int status = open_image(path, 0, &image);
    int result;

    if (status != EXIT_DONE)
        return status;
    result = chr_extract(image, options, &report, &err);
    chr_image_close(image);
    return result < 0 ? report_error(&err) : print_report(options, &report, json);
}

struct arguments {
    struct chr_extract_options options;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    (void)command;
    if (option == 'o')
        arguments->options.folder = optarg;
    else if (option == OPTION_RAW)
        arguments->options.raw = optarg;
    else if (option == OPTION_PARTITION)
        arguments->options.partition = optarg;
    else if (option == 'f')
        arguments->options.force = true;
    else
        arguments->json = true;
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    const char *path;
    int status;

    if (!take_options(command, argc, argv, ":o:fh", long_options, take_option, &arguments, &status))
        return status;
    path = image_argument(command, argc, argv, &status);
    if (path == NULL)
        return status;
    if (arguments.options.folder == NULL && arguments.options.raw == NULL)
        return usage_error(command, "say where to: -o FOLDER, or --raw FILE");
    if (arguments.options.partition != NULL && arguments.options.raw == NULL)
        return usage_error(command, "--partition is of --raw; files of the root partition "
                                    "are copied by chrimg cp -r IMG:/ FOLDER");
    if (arguments.options.raw != NULL && strcmp(arguments.options.raw, "-") == 0)
        return usage_error(command, "a partition is written to a file, not to standard output");
    return extract(path, &arguments.options, arguments.json);
}

const struct command command_extract = {
    .name = "extract",
    .changes = true,
    .arguments = "[-o FOLDER] [--raw FILE [--partition WHICH]] IMG",
    .summary = "take the boot partition's files out, or a whole partition",
    .help = "  -o, --output FOLDER   write the files there; made if need be\n"
            "      --raw FILE        write the partition itself, byte for byte\n"
            "      --partition WHICH  of --raw: boot (the default), root, or its number\n"
            "  -f, --force           replace files that are there\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n",
    .run = run,
};
