/* chrimg ls, cat, cp, rm: files of boot and root partition. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_JSON = 256 };

static const struct option list_options[] = {
    {"long", no_argument, NULL, 'l'},         {"recursive", no_argument, NULL, 'R'},
    {"force-share", no_argument, NULL, 'U'},  {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option cat_options[] = {
    {"force-share", no_argument, NULL, 'U'},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option copy_options[] = {
    {"recursive", no_argument, NULL, 'r'},   {"force", no_argument, NULL, 'f'},
    {"force-share", no_argument, NULL, 'U'}, {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, OPTION_JSON}, {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option remove_options[] = {
    {"recursive", no_argument, NULL, 'r'},    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, OPTION_JSON}, {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct chr_copy_options options;
    struct chr_copy_report report;
    int64_t source_date;
    unsigned flags;
    bool details;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    (void)command;
    switch (option) {
    case 'l':
        arguments->details = true;
        break;
    case 'r':
    case 'R':
        arguments->options.recursive = true;
        break;
    case 'f':
        arguments->options.force = true;
        break;
    case 'n':
        arguments->options.dry_run = true;
        break;
    case 'U':
        arguments->flags = CHR_OPEN_FORCE_SHARE;
        break;
    default:
        arguments->json = true;
    }
    return EXIT_DONE;
}

/* The place that TEXT names; without NEEDS_PATH an image alone will do. */
static int take_place(const struct command *command, const char *text, bool needs_path,
                      struct chr_place *place)
{
    struct chr_error err;

    if (chr_place_parse(text, place, &err) < 0)
        return report_error(&err);
    if (!needs_path || place->named)
        return EXIT_DONE;
    chr_place_release(place);
    return usage_error(command, "%s names no file of an image: IMG:/PATH, or IMG:boot:/PATH", text);
}

static const char *partition_name(const struct chr_place *place)
{
    return place->on_boot ? "boot" : "root";
}

/* ---- ls ---- */

static const char *kind_name(enum chr_file_kind kind)
{
    return kind == CHR_FILE_REGULAR   ? "file"
           : kind == CHR_FILE_FOLDER  ? "folder"
           : kind == CHR_FILE_SYMLINK ? "link"
                                      : "other";
}

static int print_list_json(const struct chr_place *place, const struct chr_listing *listing)
{
    json_t *files = json_array();

    for (size_t i = 0; i < listing->count; i++) {
        const struct chr_entry *entry = &listing->entries[i];
        char mode[8];

        (void)snprintf(mode, sizeof mode, "%04o", entry->mode);
        (void)json_array_append_new(
            files, json_pack("{s:o, s:s, s:I, s:s, s:I, s:I, s:o}", "path",
                             json_text(entry->path), "kind", kind_name(entry->kind), "size",
                             (json_int_t)entry->size, "mode", mode, "uid", (json_int_t)entry->uid,
                             "gid", (json_int_t)entry->gid, "modified",
                             json_time(entry->modified)));
    }
    return json_print(json_pack("{s:i, s:o, s:s, s:o, s:o}", "schema", 1, "image",
                                json_text(place->image), "partition", partition_name(place),
                                "path", json_text(place->path), "files", files));
}

static void print_details(const struct chr_entry *entry)
{
    static const char letters[] = "rwxrwxrwx";
    char mode[] = "---------";
    char date[32] = "-";
    time_t time = (time_t)entry->modified;
    struct tm tm;

    for (int i = 0; i < 9; i++)
        if ((entry->mode & (0400u >> i)) != 0)
            mode[i] = letters[i];
    for (int i = 0; i < 3; i++) /* setuid, setgid and sticky, as ls(1) has them */
        if ((entry->mode & (04000u >> i)) != 0)
            mode[3 * i + 2] = (mode[3 * i + 2] == '-' ? "SST" : "sst")[i];
    if (gmtime_r(&time, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    ui_out("%c%s %5u %5u %10" PRIu64 " %s ",
           entry->kind == CHR_FILE_FOLDER    ? 'd'
           : entry->kind == CHR_FILE_SYMLINK ? 'l'
           : entry->kind == CHR_FILE_OTHER   ? '?'
                                             : '-',
           mode, entry->uid, entry->gid, entry->size, date);
}

/* Names are shown from the folder on that was asked for; a file has its whole path. */
static const char *shown_name(const struct chr_place *place, const struct chr_entry *entry)
{
    size_t length = strlen(place->path);

    return length > 0 && strncmp(entry->path, place->path, length) == 0 &&
                   entry->path[length] == '/'
               ? entry->path + length + 1
               : entry->path;
}

static void print_list(const struct chr_place *place, const struct chr_listing *listing,
                       bool details)
{
    for (size_t i = 0; i < listing->count; i++) {
        const struct chr_entry *entry = &listing->entries[i];

        if (details)
            print_details(entry);
        ui_name(shown_name(place, entry));
        ui_out("%s\n", entry->kind == CHR_FILE_FOLDER ? "/" : "");
    }
}

static int list(const struct chr_place *place, const struct arguments *arguments)
{
    struct chr_image *image = NULL;
    struct chr_listing *listing = NULL;
    struct chr_error err;
    int status = open_image(place->image, arguments->flags, &image);

    if (status != EXIT_DONE)
        return status;
    if (chr_list_files(image, place->on_boot, place->path, arguments->options.recursive, &listing,
                       &err) < 0) {
        status = report_error(&err);
    } else if (arguments->json) {
        status = print_list_json(place, listing);
    } else {
        report_journal(&listing->journal, "replayed in memory");
        print_list(place, listing, arguments->details);
    }
    chr_listing_free(listing);
    chr_image_close(image);
    return status;
}

static int run_ls(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct chr_place place;
    const char *text;
    int status;

    if (!take_options(command, argc, argv, ":lRUh", list_options, take_option, &arguments, &status))
        return status;
    text = image_argument(command, argc, argv, &status);
    if (text == NULL)
        return status;
    status = take_place(command, text, false, &place);
    if (status == EXIT_DONE) {
        status = list(&place, &arguments);
        chr_place_release(&place);
    }
    return status;
}

/* ---- cat ---- */

static int write_out(void *context, const void *buf, size_t len, struct chr_error *err)
{
    (void)context;
    if (fwrite(buf, 1, len, stdout) == len)
        return 0;
    *err = (struct chr_error){.code = CHR_E_IO, .message = "cannot write to standard output"};
    return -1;
}

static int run_cat(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct chr_image *image = NULL;
    struct chr_place place;
    struct chr_error err;
    const char *text;
    int status;

    if (!take_options(command, argc, argv, ":Uh", cat_options, take_option, &arguments, &status))
        return status;
    text = image_argument(command, argc, argv, &status);
    if (text == NULL)
        return status;
    status = take_place(command, text, true, &place);
    if (status != EXIT_DONE)
        return status;
    status = open_image(place.image, arguments.flags, &image);
    if (status == EXIT_DONE &&
        chr_read_file(image, place.on_boot, place.path, write_out, NULL, &err) < 0)
        status = report_error(&err);
    chr_image_close(image);
    chr_place_release(&place);
    return status;
}

/* ---- cp ---- */

/* What is said of a copy, in or out. */
static int print_copied(const struct arguments *arguments, const char *target)
{
    const struct chr_copy_report *report = &arguments->report;
    char size[UI_SIZE_TEXT];

    if (arguments->json)
        return json_print(json_pack("{s:i, s:b, s:i, s:i, s:i, s:I, s:I, s:o}", "schema", 1,
                                    "dry_run", arguments->options.dry_run, "files",
                                    (int)report->files, "folders", (int)report->folders, "skipped",
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
    if (report->skipped > 0)
        ui_out("left out %u link%s or device%s\n", report->skipped,
               report->skipped == 1 ? "" : "s", report->skipped == 1 ? "" : "s");
    return EXIT_DONE;
}

static void report_change(const struct arguments *arguments, const char *image)
{
    if (arguments->report.recovered)
        ui_message("%s: a change in place was interrupted; it was taken back first", image);
    if (!arguments->json)
        report_journal(&arguments->report.journal,
                       arguments->options.dry_run ? "would replay" : "replayed");
}

static int copy_out(const struct chr_place *place, const char *target, struct arguments *arguments)
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
                   const struct chr_place *place, const char *target, struct arguments *arguments)
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

static int copy(const struct command *command, const char *source, const char *target,
                struct arguments *arguments)
{
    struct chr_place from = {0};
    struct chr_place to = {0};
    int status = take_place(command, source, false, &from);

    if (status == EXIT_DONE)
        status = take_place(command, target, false, &to);
    if (status != EXIT_DONE)
        ;
    else if (from.named == to.named)
        status = usage_error(command, from.named ? "one side is an image, the other the host"
                                                 : "name a file of an image: IMG:/PATH");
    else if (from.named && arguments->options.dry_run)
        status = usage_error(command, "-n is for copying into an image");
    else if (to.named && arguments->flags != 0)
        status = usage_error(command, "--force-share is for copying out of an image");
    else
        status = from.named ? copy_out(&from, target, arguments)
                            : copy_in(command, source, &to, target, arguments);
    chr_place_release(&from);
    chr_place_release(&to);
    return status;
}

static int run_cp(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    int status;

    if (!take_options(command, argc, argv, ":rfnUh", copy_options, take_option, &arguments, &status))
        return status;
    if (argc - optind != 2)
        return usage_error(command, "two places: from and to");
    return copy(command, argv[optind], argv[optind + 1], &arguments);
}

/* ---- rm ---- */

static int print_removed(const struct arguments *arguments, const char *text)
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
    struct arguments arguments = {0};
    struct chr_place place;
    struct chr_error err;
    const char *text;
    int status;

    if (!take_options(command, argc, argv, ":rnh", remove_options, take_option, &arguments,
                      &status))
        return status;
    text = image_argument(command, argc, argv, &status);
    if (text == NULL)
        return status;
    status = take_place(command, text, true, &place);
    if (status != EXIT_DONE)
        return status;
    if (chr_remove_file(&place, &arguments.options, &arguments.report, &err) < 0) {
        status = report_error(&err);
    } else {
        report_change(&arguments, place.image);
        status = print_removed(&arguments, text);
    }
    chr_place_release(&place);
    return status;
}

/* ---- the commands ---- */

#define PLACES                                                                             \
    "\n"                                                                                   \
    "IMG:/PATH is on the root partition, IMG:boot:/PATH on the boot partition; IMG@TAG of\n" \
    "a snapshot. A file of that whole name wins.\n"

const struct command command_ls = {
    .name = "ls",
    .arguments = "[-lRU] IMG[:/PATH]",
    .summary = "list files of the root or boot partition",
    .help = "  -l, --long            mode, owner, group, size and time (UTC), too\n"
            "  -R, --recursive       all below\n"
            "  -U, --force-share     read although a VM writes\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n" PLACES,
    .run = run_ls,
};

const struct command command_cat = {
    .name = "cat",
    .arguments = "[-U] IMG:/PATH",
    .summary = "print a file of an image",
    .help = "  -U, --force-share     read although a VM writes\n"
            "  -h, --help            this\n" PLACES,
    .run = run_cat,
};

const struct command command_cp = {
    .name = "cp",
    .arguments = "[-rfnU] IMG:/PATH FILE | FILE IMG:/PATH",
    .summary = "copy files out of an image, or into it",
    .help = "  -r, --recursive       folders, too\n"
            "  -f, --force           replace files that are there\n"
            "  -n, --dry-run         into an image: all but the writing\n"
            "  -U, --force-share     out of an image: read although a VM writes\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n" PLACES,
    .run = run_cp,
};

const struct command command_rm = {
    .name = "rm",
    .arguments = "[-rn] IMG:/PATH",
    .summary = "remove a file of an image",
    .help = "  -r, --recursive       a folder with all below it\n"
            "  -n, --dry-run         all but the writing\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n" PLACES,
    .run = run_rm,
};
