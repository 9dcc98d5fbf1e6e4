/* chrimg ls, cat: files of boot and root partition, read. */
#include "files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "ui.h"

static const struct option list_options[] = {
    {"long", no_argument, NULL, 'l'},         {"recursive", no_argument, NULL, 'R'},
    {"force-share", no_argument, NULL, 'U'},  {"json", no_argument, NULL, FILES_OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option cat_options[] = {
    {"force-share", no_argument, NULL, 'U'},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

int files_take_option(const struct command *command, int option, void *arguments_)
{
    struct files_arguments *arguments = arguments_;

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

int files_take_place(const struct command *command, const char *text, bool needs_path,
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

bool files_take_line(const struct command *command, int argc, char **argv, struct files_line *line,
                     int *status)
{
    if (!take_options(command, argc, argv, line->letters, line->options, files_take_option,
                      &line->arguments, status))
        return false;
    line->text = image_argument(command, argc, argv, status);
    if (line->text == NULL)
        return false;
    *status = files_take_place(command, line->text, line->needs_path, &line->place);
    return *status == EXIT_DONE;
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

static int list(const struct chr_place *place, const struct files_arguments *arguments)
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
    struct files_line line = {.letters = ":lRUh", .options = list_options};
    int status;

    if (!files_take_line(command, argc, argv, &line, &status))
        return status;
    status = list(&line.place, &line.arguments);
    chr_place_release(&line.place);
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

int files_print(const struct chr_place *place, unsigned flags)
{
    struct chr_image *image = NULL;
    struct chr_error err;
    int status = open_image(place->image, flags, &image);

    if (status == EXIT_DONE &&
        chr_read_file(image, place->on_boot, place->path, write_out, NULL, &err) < 0)
        status = report_error(&err);
    chr_image_close(image);
    return status;
}

static int run_cat(const struct command *command, int argc, char **argv)
{
    struct files_line line = {.letters = ":Uh", .options = cat_options, .needs_path = true};
    int status;

    if (!files_take_line(command, argc, argv, &line, &status))
        return status;
    status = files_print(&line.place, line.arguments.flags);
    chr_place_release(&line.place);
    return status;
}

/* ---- the commands ---- */

const struct command command_ls = {
    .name = "ls",
    .arguments = "[-lRU] IMG[:/PATH]",
    .summary = "list files of the root or boot partition",
    .help = "  -l, --long            mode, owner, group, size and time (UTC), too\n"
            "  -R, --recursive       all below\n"
            "  -U, --force-share     read although a VM writes\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n" FILES_PLACES,
    .run = run_ls,
};

const struct command command_cat = {
    .name = "cat",
    .arguments = "[-U] IMG:/PATH",
    .summary = "print a file of an image",
    .help = "  -U, --force-share     read although a VM writes\n"
            "  -h, --help            this\n" FILES_PLACES,
    .run = run_cat,
};
