/* chrimg cp, rm: files of boot and root partition, taken out, put in and removed. */
#include <stdio.h>
#include <string.h>

#include "files.h"
#include "json.h"
#include "ui.h"

static const struct option copy_options[] = {
    {"recursive", no_argument, NULL, 'r'},   {"force", no_argument, NULL, 'f'},
    {"force-share", no_argument, NULL, 'U'}, {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, FILES_OPTION_JSON}, {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option remove_options[] = {
    {"recursive", no_argument, NULL, 'r'},    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, FILES_OPTION_JSON}, {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* ---- cp ---- */

/* What is said of a copy, in or out. */
static int print_copied(const struct files_arguments *arguments, const char *target)
{
    const struct chr_copy_report *report = &arguments->report;
    char size[UI_SIZE_TEXT];

    if (arguments->json)
        return json_print(json_pack("{s:i, s:b, s:i, s:i, s:i, s:i, s:I, s:I, s:o}", "schema", 1,
                                    "dry_run", arguments->options.dry_run, "files",
                                    (int)report->files, "folders", (int)report->folders,
                                    "folders_above", (int)report->folders_above, "skipped",
                                    (int)report->skipped, "bytes", (json_int_t)report->bytes,
                                    "changed_bytes", (json_int_t)report->changed_bytes, "journal",
                                    json_journal(&report->journal)));
    ui_out("%s %u file%s", arguments->options.dry_run ? "would copy" : "copied", report->files,
           report->files == 1 ? "" : "s");
    if (report->folders > 0)
        ui_out(" and %u folder%s", report->folders, report->folders == 1 ? "" : "s");
    ui_out(" to ");
    ui_name(target);
    ui_out(", %s\n", ui_size(report->bytes, size));
    if (report->folders_above > 0)
        ui_out("%s %u folder%s above %s\n", arguments->options.dry_run ? "would make" : "made",
               report->folders_above, report->folders_above == 1 ? "" : "s",
               report->files + report->folders == 1 ? "it" : "them");
    if (report->skipped > 0)
        ui_out("left out %u link%s or device%s\n", report->skipped,
               report->skipped == 1 ? "" : "s", report->skipped == 1 ? "" : "s");
    return EXIT_DONE;
}

static void report_change(const struct files_arguments *arguments, const char *image)
{
    if (arguments->report.recovered)
        ui_message("%s: a change in place was interrupted; it was taken back first", image);
    if (!arguments->json)
        report_journal(&arguments->report.journal,
                       arguments->options.dry_run ? "would replay" : "replayed");
}

/* The bytes alone, so that they can go into a pipe. */
static int copy_to_stdout(const struct command *command, const struct chr_place *place,
                          const struct files_arguments *arguments)
{
    if (arguments->json)
        return usage_error(command, "--json and a target of - both write to standard output");
    return files_print(place, arguments->flags);
}

static int copy_out(const struct chr_place *place, const char *target, struct files_arguments *arguments)
{
    struct chr_image *image = NULL;
    struct chr_error err;
    int status = open_image(place->image, arguments->flags, &image);
    int result;

    if (status != EXIT_DONE)
        return status;
    result = chr_copy_out(image, place->on_boot, place->path, target, &arguments->options,
                          &arguments->report, &err);
    chr_image_close(image);
    if (result < 0)
        return report_error(&err);
    if (!arguments->json)
        report_journal(&arguments->report.journal, "replayed in memory");
    return print_copied(arguments, target);
}

static int copy_in(const struct command *command, const char *source,
                   const struct chr_place *place, const char *target, struct files_arguments *arguments)
{
    struct chr_error err;
    int status = take_source_date(command, &arguments->source_date, &arguments->options.modified);

    if (status != 0)
        return status;
    if (chr_copy_in(source, place, &arguments->options, &arguments->report, &err) < 0)
        return report_error(&err);
    report_change(arguments, place->image);
    return print_copied(arguments, target);
}

/* Says what each was taken for: a colon makes an image of much. */
static int refuse_sides(const struct command *command, const char *source, const char *target,
                        const struct chr_place *from, const struct chr_place *to)
{
    if (from->named)
        return usage_error(command, "%s is in the image %s, and %s in the image %s; one side is "
                           "an image, the other the host", source, from->image, target, to->image);
    return usage_error(command, "%s and %s are both on the host; name a file of an image: "
                       "IMG:/PATH", source, target);
}

static int copy(const struct command *command, const char *source, const char *target,
                struct files_arguments *arguments)
{
    struct chr_place from = {0};
    struct chr_place to = {0};
    int status = files_take_place(command, source, false, &from);

    if (status == EXIT_DONE)
        status = files_take_place(command, target, false, &to);
    if (status != EXIT_DONE)
        ;
    else if (from.named == to.named)
        status = refuse_sides(command, source, target, &from, &to);
    else if (from.named && arguments->options.dry_run)
        status = usage_error(command, "-n is for copying into an image");
    else if (to.named && arguments->flags != 0)
        status = usage_error(command, "--force-share is for copying out of an image");
    else
        status = !from.named                 ? copy_in(command, source, &to, target, arguments)
                 : strcmp(target, "-") == 0 ? copy_to_stdout(command, &from, arguments)
                                            : copy_out(&from, target, arguments);
    chr_place_release(&from);
    chr_place_release(&to);
    return status;
}

static int run_cp(const struct command *command, int argc, char **argv)
{
    struct files_arguments arguments = {0};
    int status;

    if (!take_options(command, argc, argv, ":rfnUh", copy_options, files_take_option, &arguments, &status))
        return status;
    if (argc - optind != 2)
        return usage_error(command, "two places: from and to");
    return copy(command, argv[optind], argv[optind + 1], &arguments);
}

/* ---- rm ---- */

static int print_removed(const struct files_arguments *arguments, const char *text)
{
    if (arguments->json)
        return json_print(json_pack("{s:i, s:b, s:o, s:I, s:o}", "schema", 1, "dry_run",
                                    arguments->options.dry_run, "removed", json_text(text),
                                    "changed_bytes", (json_int_t)arguments->report.changed_bytes,
                                    "journal", json_journal(&arguments->report.journal)));
    ui_out("%s ", arguments->options.dry_run ? "would remove" : "removed");
    ui_name(text);
    ui_out("\n");
    return EXIT_DONE;
}

static int run_rm(const struct command *command, int argc, char **argv)
{
    struct files_line line = {.letters = ":rnh", .options = remove_options, .needs_path = true};
    struct chr_error err;
    int status;

    if (!files_take_line(command, argc, argv, &line, &status))
        return status;
    if (chr_remove_file(&line.place, &line.arguments.options, &line.arguments.report, &err) < 0) {
        status = report_error(&err);
    } else {
        report_change(&line.arguments, line.place.image);
        status = print_removed(&line.arguments, line.text);
    }
    chr_place_release(&line.place);
    return status;
}

/* ---- the commands ---- */

const struct command command_cp = {
    .name = "cp",
    .changes = true,
    .arguments = "[-rfnU] IMG:/PATH FILE | FILE IMG:/PATH",
    .summary = "copy files out of an image, or into it",
    .help = "  -r, --recursive       folders, too\n"
            "  -f, --force           replace files that are there\n"
            "  -n, --dry-run         into an image: all but the writing\n"
            "  -U, --force-share     out of an image: read although a VM writes\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "FILE may be -: standard output, or standard input.\n" FILES_PLACES,
    .run = run_cp,
};

const struct command command_rm = {
    .name = "rm",
    .changes = true,
    .arguments = "[-rn] IMG:/PATH",
    .summary = "remove a file of an image",
    .help = "  -r, --recursive       a folder with all below it\n"
            "  -n, --dry-run         all but the writing\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n" FILES_PLACES,
    .run = run_rm,
};
