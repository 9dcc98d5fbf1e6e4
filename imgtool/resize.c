/* chrimg resize */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_TABLES_ONLY = 256, OPTION_JSON };

static const struct option long_options[] = {
    {"tables-only", no_argument, NULL, OPTION_TABLES_ONLY},
    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct chr_resize_options options;
    bool json;
    const char *image;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    (void)command;
    switch (option) {
    case 'n':
        arguments->options.dry_run = true;
        return 0;
    case OPTION_TABLES_ONLY:
        arguments->options.tables_only = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

/* "1G", "+512M", "268435456"; K, M, G and T are powers of 1024.  False when it is no size. */
static bool parse_size(const char *text, struct chr_resize_options *options)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    unsigned shift = 0;
    char *end;

    options->relative = text[0] == '+';
    text += options->relative;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    options->size = strtoull(text, &end, 10);
    suffix = *end != '\0' ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix != NULL) {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        end++;
    }
    if (errno != 0 || *end != '\0' || options->size > UINT64_MAX >> shift)
        return false;
    options->size <<= shift;
    return true;
}

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? json_text(text) : json_null();
}

static json_t *file_system_json(const struct chr_resize_report *report)
{
    bool known = report->old_fs_size > 0;

    return json_pack("{s:o, s:b, s:o, s:o, s:o, s:o}", "kind", text_or_null(report->fs_kind),
                     "grown", report->fs_grown, "old_size",
                     known ? json_integer((json_int_t)report->old_fs_size) : json_null(),
                     "new_size",
                     known ? json_integer((json_int_t)report->new_fs_size) : json_null(), "free",
                     known ? json_integer((json_int_t)report->fs_free) : json_null(), "reason",
                     text_or_null(report->fs_reason));
}

static int print_json(const struct arguments *arguments, const struct chr_resize_report *report)
{
    json_t *notes = json_array();

    for (size_t i = 0; i < report->note_count; i++)
        (void)json_array_append_new(notes, json_text(report->notes[i]));
    return json_print(json_pack(
        "{s:i, s:o, s:b, s:b, s:I, s:I, s:{s:i, s:I, s:I}, s:o, s:I, s:o}", "schema", 1, "image",
        json_text(arguments->image), "dry_run", arguments->options.dry_run, "changed",
        report->changed, "old_size", (json_int_t)report->old_size, "new_size",
        (json_int_t)report->new_size, "partition", "number", (int)report->partition, "old_size",
        (json_int_t)report->old_partition_size, "new_size", (json_int_t)report->new_partition_size,
        "file_system", file_system_json(report), "changed_bytes",
        (json_int_t)report->changed_bytes, "notes", notes));
}

static void print_change(const char *what, uint64_t old_size, uint64_t new_size)
{
    char old_text[UI_SIZE_TEXT];
    char new_text[UI_SIZE_TEXT];

    ui_out("%s %s", what, ui_size(old_size, old_text));
    if (new_size != old_size)
        ui_out(" -> %s", ui_size(new_size, new_text));
}

static void print_file_system(const struct chr_resize_report *report)
{
    char size[UI_SIZE_TEXT];

    ui_out("  ");
    if (report->old_fs_size > 0) {
        print_change(report->fs_kind, report->old_fs_size, report->new_fs_size);
        ui_out(", %s free\n", ui_size(report->fs_free, size));
        if (report->fs_reason[0] == '\0')
            return;
        ui_out("  ");
    }
    ui_wrapped(2, report->fs_reason);
}

static void print_text(const struct arguments *arguments, const struct chr_resize_report *report)
{
    if (!report->changed)
        ui_out("%s: nothing to change\n", arguments->image);
    else
        ui_out("%s %s\n", arguments->options.dry_run ? "would change" : "changed",
               arguments->image);
    ui_out("  ");
    print_change("disk", report->old_size, report->new_size);
    ui_out("\n  partition %u, ", report->partition);
    print_change("root", report->old_partition_size, report->new_partition_size);
    ui_out("\n");
    print_file_system(report);
    for (size_t i = 0; i < report->note_count; i++) {
        ui_out("  ");
        ui_wrapped(2, report->notes[i]);
    }
}

static int take_arguments(const struct command *command, int argc, char **argv,
                          struct arguments *arguments)
{
    if (argc - optind != 2)
        return usage_error(command, "wants an image and a size");
    arguments->image = argv[optind];
    if (!parse_size(argv[optind + 1], &arguments->options))
        return usage_error(command, "%s is no size: 1G, 512M, +256M", argv[optind + 1]);
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct chr_resize_report report;
    struct chr_error err;
    int status;

    if (!take_options(command, argc, argv, ":nh", long_options, take_option, &arguments, &status))
        return status;
    status = take_arguments(command, argc, argv, &arguments);
    if (status != EXIT_DONE)
        return status;
    if (chr_resize(arguments.image, &arguments.options, &report, &err) < 0)
        return report_error(&err);
    if (arguments.json)
        return print_json(&arguments, &report);
    print_text(&arguments, &report);
    return EXIT_DONE;
}

const struct command command_resize = {
    .name = "resize",
    .changes = true,
    .arguments = "[-n] IMG SIZE",
    .summary = "make the disk larger, with the root partition and its file system",
    .help = "  SIZE: bytes, or with K, M, G or T behind it; +SIZE is added\n"
            "      --tables-only     leave the file system for RouterOS to make larger\n"
            "  -n, --dry-run         do it in memory, write nothing\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n",
    .run = run,
};
