/* chrimg fatten */
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_IN_PLACE = 256, OPTION_LAYOUT, OPTION_MBR, OPTION_REQUIRE_BIOS, OPTION_JSON };

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"in-place", no_argument, NULL, OPTION_IN_PLACE},
    {"layout", required_argument, NULL, OPTION_LAYOUT},
    {"mbr", required_argument, NULL, OPTION_MBR},
    {"require-bios", no_argument, NULL, OPTION_REQUIRE_BIOS},
    {"compress", optional_argument, NULL, 'c'},
    {"force", no_argument, NULL, 'f'},
    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct chr_fatten_options options;
    bool json;
    const char *image;
};

static bool choose(const char *value, const char *first, const char *second, bool *is_second)
{
    *is_second = strcmp(value, second) == 0;
    return *is_second || strcmp(value, first) == 0;
}

/* 0, or the exit code when the command line was help or wrong. */
static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;
    bool second;

    switch (option) {
    case 'o':
        arguments->options.output = optarg;
        return 0;
    case 'f':
        arguments->options.force = true;
        return 0;
    case 'n':
        arguments->options.dry_run = true;
        return 0;
    case 'c':
        return take_compression(command, optarg, &arguments->options.compression);
    case OPTION_IN_PLACE:
        arguments->options.in_place = true;
        return 0;
    case OPTION_REQUIRE_BIOS:
        arguments->options.require_bios = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case OPTION_LAYOUT:
        if (!choose(optarg, "keep", "compact", &second))
            return usage_error(command, "--layout is keep or compact, not %s", optarg);
        arguments->options.layout = second ? CHR_LAYOUT_COMPACT : CHR_LAYOUT_KEEP;
        return 0;
    case OPTION_MBR:
        if (!choose(optarg, "hybrid", "keep", &second))
            return usage_error(command, "--mbr is hybrid or keep, not %s", optarg);
        arguments->options.keep_mbr = second;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

static const char *source_name(enum chr_fatten_source source)
{
    return source == CHR_SOURCE_EXT ? "ext" : source == CHR_SOURCE_FAT ? "fat" : "kernel";
}

static int print_json(const struct arguments *arguments, const struct chr_fatten_report *report)
{
    json_t *notes = json_array();

    for (size_t i = 0; i < report->note_count; i++)
        (void)json_array_append_new(notes, json_text(report->notes[i]));
    return json_print(json_pack(
        "{s:i, s:o, s:o, s:b, s:b, s:s, s:s, s:o, s:s, s:{s:i, s:i, s:i, s:i, s:i}, s:i, s:i, s:I, "
        "s:b, s:o, s:o, s:o}",
        "schema", 1, "image", json_text(arguments->image), "output", json_text(report->output),
        "dry_run", arguments->options.dry_run, "changed", report->changed, "source",
        source_name(report->source), "layout",
        report->layout == CHR_LAYOUT_KEEP ? "keep" : "compact", "label", json_text(report->label),
        "serial", report->serial, "clusters", "size", (int)report->cluster_size, "count",
        (int)report->clusters, "kept", (int)report->kept_clusters, "moved",
        (int)report->moved_clusters, "zeroed", (int)report->zeroed_clusters, "files",
        (int)report->files, "folders", (int)report->folders, "changed_bytes",
        (json_int_t)report->changed_bytes, "gpt", report->has_gpt, "uefi",
        json_verdict(&report->uefi), "bios", json_verdict(&report->bios), "notes", notes));
}

static void print_verdict(const char *name, const struct chr_verdict *verdict)
{
    ui_out("  %s  ", name);
    ui_colour(verdict->yes ? GREEN : RED, "%-3s", verdict->yes ? "yes" : "no");
    ui_out("  ");
    ui_wrapped(13, verdict->reason);
}

static void print_what_was_done(const struct arguments *arguments,
                                const struct chr_fatten_report *report)
{
    bool dry = arguments->options.dry_run;
    char size[UI_SIZE_TEXT];

    if (!report->changed && report->source == CHR_SOURCE_FAT) {
        ui_out("%s: the boot partition is FAT and the tables are right: nothing to change\n",
               arguments->image);
        if (!arguments->options.in_place)
            ui_out("%s %s, an identical copy\n", dry ? "would write" : "wrote", report->output);
        return;
    }
    if (arguments->options.in_place)
        ui_out("%s %s in place, %s changed\n", dry ? "would change" : "changed", report->output,
               ui_size(report->changed_bytes, size));
    else
        ui_out("%s %s, %s different from the input\n", dry ? "would write" : "wrote",
               report->output, ui_size(report->changed_bytes, size));
}

static void print_clusters(const struct chr_fatten_report *report)
{
    char size[UI_SIZE_TEXT];
    char text[256];

    if (report->source == CHR_SOURCE_FAT) {
        if (report->changed)
            ui_out("  the boot partition was FAT already: only the tables were mended\n");
        return;
    }
    (void)snprintf(text, sizeof text,
                   "FAT16 \"%s\", %u file%s, clusters of %s: %u kept in place, %u moved",
                   report->label, report->files, report->files == 1 ? "" : "s",
                   ui_size(report->cluster_size, size), report->kept_clusters,
                   report->moved_clusters);
    ui_out("  ");
    ui_wrapped(2, text);
    if (report->zeroed_clusters > 0)
        ui_out("  %u clusters are holes in files, and zeroed\n", report->zeroed_clusters);
}

static void print_text(const struct arguments *arguments, const struct chr_fatten_report *report)
{
    print_what_was_done(arguments, report);
    print_clusters(report);
    for (size_t i = 0; i < report->note_count; i++) {
        ui_out("  ");
        ui_wrapped(2, report->notes[i]);
    }
    print_verdict("UEFI", &report->uefi);
    print_verdict("BIOS", &report->bios);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {.options = {.progress = ui_progress,
                                              .progress_context = (void *)"writing"}};
    struct chr_fatten_report report;
    struct chr_error err;
    int status;
    int result;

    if (!take_options(command, argc, argv, ":o:c::fnh", long_options, take_option, &arguments,
                      &status))
        return status;
    arguments.image = image_argument(command, argc, argv, &status);
    if (arguments.image == NULL)
        return status;
    result = chr_fatten(arguments.image, &arguments.options, &report, &err);
    ui_progress_end();
    if (result < 0)
        return report_error(&err);
    if (arguments.json)
        return print_json(&arguments, &report);
    print_text(&arguments, &report);
    return EXIT_DONE;
}

const struct command command_fatten = {
    .name = "fatten",
    .changes = true,
    .arguments = "[-o OUT | --in-place] IMG",
    .summary = "make the boot partition FAT16: boots with UEFI, and still with BIOS",
    .help = "  -o, --output OUT      write OUT; default: <stem>-efi.img beside the input\n"
            "                        OUT.qcow2 makes a qcow2 in the same pass\n"
            "  -c, --compress[=ALG]  compress it: zlib (default) or zstd\n"
            "      --in-place        change IMG itself; an interrupted change is taken back\n"
            "      --layout keep     leave file blocks on their sectors (default)\n"
            "      --layout compact  copy the files to the front; BIOS boot is lost\n"
            "      --mbr hybrid      add an 0xEE entry to the MBR's free slot (default)\n"
            "      --mbr keep        leave the MBR as it is\n"
            "      --require-bios    fail if the result would not boot on BIOS\n"
            "  -f, --force           replace OUT if it is there\n"
            "  -n, --dry-run         plan and verify, write nothing\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n",
    .run = run,
};
