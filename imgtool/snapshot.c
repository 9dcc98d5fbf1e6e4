/* chrimg snapshot */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_DIFF = 256, OPTION_NO_KEEP, OPTION_WITH_MEMORY, OPTION_JSON };

static const struct option long_options[] = {
    {"create", required_argument, NULL, 'c'},
    {"list", no_argument, NULL, 'l'},
    {"apply", required_argument, NULL, 'a'},
    {"delete", required_argument, NULL, 'd'},
    {"diff", required_argument, NULL, OPTION_DIFF},
    {"no-keep", no_argument, NULL, OPTION_NO_KEEP},
    {"with-memory", no_argument, NULL, OPTION_WITH_MEMORY},
    {"force-share", no_argument, NULL, 'U'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    int action; /* 'c', 'l', 'a', 'd', OPTION_DIFF; 0 = none yet */
    const char *tag;
    const char *other_tag; /* of --diff; NULL = now */
    bool no_keep;
    bool with_memory;
    bool json;
    unsigned flags;
    const char *image;
    char found[4096]; /* where the image was not named */
};

/* ---- actions ---- */

static int print_list_json(const char *path, const struct chr_snapshot *list, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(array, json_snapshot(&list[i]));
    return json_print(json_pack("{s:i, s:o, s:o}", "schema", 1, "image", json_text(path),
                                "snapshots", array));
}

/* Characters of a row of the table, and where what does not fit there begins on a narrow terminal. */
#define TABLE_WIDTH 79
#define NARROW_INDENT 5

static void print_row(const struct chr_snapshot *row, bool narrow)
{
    char vm[UI_SIZE_TEXT] = "-";
    char exclusive[UI_SIZE_TEXT];
    char date[32] = "-";
    char text[128];
    time_t time = (time_t)row->date;
    struct tm tm;

    if (localtime_r(&time, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
    if (row->vm_state_size > 0)
        (void)ui_size(row->vm_state_size, vm);
    (void)ui_size(row->exclusive, exclusive);
    if (!narrow) {
        ui_out("%-4s %s%*s %-19s %10s %10s\n", row->id, row->tag, (int)ui_padding(row->tag, 32), "",
               date, vm, exclusive);
        return;
    }
    (void)snprintf(text, sizeof text, "%s, VM state %s, alone %s", date, vm, exclusive);
    ui_out("%-4s %s\n%*s", row->id, row->tag, NARROW_INDENT, "");
    ui_wrapped(NARROW_INDENT, text);
}

static int print_list_text(const char *path, const struct chr_snapshot *list, size_t count)
{
    bool narrow = ui_is_terminal() && ui_width() < TABLE_WIDTH;

    if (count == 0) {
        ui_out("%s has no snapshots\n", path);
        return EXIT_DONE;
    }
    if (!narrow)
        ui_colour(BOLD, "%-4s %-32s %-19s %10s %10s\n", "ID", "TAG", "DATE", "VM STATE", "ALONE");
    for (size_t i = 0; i < count; i++)
        print_row(&list[i], narrow);
    return EXIT_DONE;
}

/* The image itself, or its state TAG (NULL: as it is now). */
static int open_by_name(const struct arguments *arguments, const char *tag, unsigned flags,
                        struct chr_image **image, struct chr_error *err)
{
    char name[sizeof arguments->found + CHR_TAG_MAX + 2];

    (void)snprintf(name, sizeof name, "%s%s%s", arguments->image, tag != NULL ? "@" : "",
                   tag != NULL ? tag : "");
    return chr_image_open(name, arguments->flags | flags, image, err);
}

/*
 * What one of our machines writes to is read all the same: snapshots do not change under
 * us, and their table is read anew if torn.
 */
static int open_shared(const struct arguments *arguments, const char *tag,
                       struct chr_image **image, struct chr_error *err)
{
    char vm[CHR_BOOT_NAME_MAX + 1];

    if (open_by_name(arguments, tag, 0, image, err) == 0)
        return 0;
    return err->code == CHR_E_BUSY && chr_vm_of_image(arguments->image, vm)
               ? open_by_name(arguments, tag, CHR_OPEN_FORCE_SHARE, image, err)
               : -1;
}

static int list_snapshots(const struct arguments *arguments)
{
    struct chr_image *image = NULL;
    struct chr_snapshot *list = NULL;
    struct chr_error err;
    size_t count = 0;
    int status;

    if (open_shared(arguments, NULL, &image, &err) < 0)
        return report_error(&err);
    if (chr_snapshot_list(image, &list, &count, &err) < 0)
        status = report_error(&err);
    else
        status = arguments->json ? print_list_json(arguments->image, list, count)
                                 : print_list_text(arguments->image, list, count);
    free(list);
    chr_image_close(image);
    return status;
}

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? json_text(text) : json_null();
}

static int print_done(const struct arguments *arguments, const char *what,
                      const struct chr_snapshot_result *done)
{
    bool by_id = strcmp(done->tag, arguments->tag) != 0;

    if (arguments->json)
        return json_print(json_pack("{s:i, s:o, s:s, s:o, s:o, s:o, s:b}", "schema", 1, "image",
                                    json_text(arguments->image), "action", what, "tag",
                                    json_text(arguments->tag), "kept", text_or_null(done->kept),
                                    "instance", text_or_null(done->vm), "restarted",
                                    done->restarted));
    ui_out("%s: %s snapshot %s%s%s%s%s%s%s\n", arguments->image, what, done->tag,
           by_id ? " (ID " : "", by_id ? arguments->tag : "", by_id ? ")" : "",
           done->vm[0] != '\0' ? " of the running " : "", done->vm,
           arguments->with_memory ? ", with its memory" : "");
    if (done->kept[0] != '\0')
        ui_out("what was there before is kept as %s\n", done->kept);
    if (done->restarted)
        ui_out("%s was turned off for it, and is started again\n", done->vm);
    return EXIT_DONE;
}

static int change_snapshots(const struct arguments *arguments)
{
    struct chr_snapshot_result done = {0};
    struct chr_error err;
    int result;

    if (arguments->action == 'c')
        result = chr_snapshot_create_live(arguments->image, arguments->tag, arguments->with_memory,
                                          &done, &err);
    else if (arguments->action == 'a')
        result = chr_snapshot_apply_live(arguments->image, arguments->tag, !arguments->no_keep,
                                         &done, &err);
    else
        result = chr_snapshot_delete_live(arguments->image, arguments->tag, &done, &err);
    if (result < 0)
        return report_error(&err);
    return print_done(arguments,
                      arguments->action == 'c'   ? "created"
                      : arguments->action == 'a' ? "applied"
                                                 : "deleted",
                      &done);
}

/* ---- diff ---- */

static const char *difference_name(enum chr_difference kind)
{
    return kind == CHR_ADDED ? "added" : kind == CHR_REMOVED ? "removed" : "changed";
}

static json_t *diff_value(const struct chr_diff *diff)
{
    json_t *array = json_array();

    for (size_t i = 0; i < diff->count; i++) {
        const struct chr_file_difference *item = &diff->items[i];

        (void)json_array_append_new(
            array, json_pack("{s:s, s:s, s:o, s:I, s:I}", "difference",
                             difference_name(item->kind), "partition",
                             item->on_boot ? "boot" : "root", "path", json_text(item->path),
                             "old_size", (json_int_t)item->old_size, "new_size",
                             (json_int_t)item->new_size));
    }
    return array;
}

static void print_difference(const struct chr_file_difference *item)
{
    static const enum colour colours[] = {
        [CHR_ADDED] = GREEN, [CHR_REMOVED] = RED, [CHR_CHANGED] = YELLOW};
    char old_size[UI_SIZE_TEXT];
    char new_size[UI_SIZE_TEXT];

    ui_colour(colours[item->kind], "%-8s", difference_name(item->kind));
    ui_out(" %s:/%s", item->on_boot ? "boot" : "root", item->path);
    if (item->kind == CHR_CHANGED && item->old_size != item->new_size)
        ui_out("  %s -> %s", ui_size(item->old_size, old_size), ui_size(item->new_size, new_size));
    else if (item->old_size + item->new_size > 0)
        ui_out("  %s", ui_size(item->kind == CHR_REMOVED ? item->old_size : item->new_size,
                               new_size));
    ui_out("\n");
}

static int print_diff(const struct arguments *arguments, const struct chr_diff *diff)
{
    if (arguments->json)
        return json_print(json_pack(
            "{s:i, s:o, s:o, s:o, s:o}", "schema", 1, "image", json_text(arguments->image), "from",
            json_text(arguments->tag), "to",
            arguments->other_tag != NULL ? json_text(arguments->other_tag) : json_null(),
            "differences", diff_value(diff)));
    for (size_t i = 0; i < diff->count; i++)
        print_difference(&diff->items[i]);
    if (diff->count == 0)
        ui_out("no file differs\n");
    return EXIT_DONE;
}

static bool is_in_use(const struct arguments *arguments)
{
    struct chr_image *image = NULL;
    struct chr_error err;

    if (chr_image_open(arguments->image, 0, &image, &err) < 0)
        return err.code == CHR_E_BUSY;
    chr_image_close(image);
    return false;
}

/* Files change while they are compared: a snapshot holds them still. */
static void point_at_snapshot(const struct arguments *arguments, struct chr_error *err)
{
    (void)snprintf(err->hint, sizeof err->hint,
                   "chrimg snapshot -c b %s, then chrimg snapshot --diff %s b %s", arguments->image,
                   arguments->tag, arguments->image);
}

/* The state to compare with: the disk as it is now only where nobody writes to it, or with -U. */
static int open_other(const struct arguments *arguments, struct chr_image **image,
                      struct chr_error *err)
{
    char vm[CHR_BOOT_NAME_MAX + 1];

    if (arguments->other_tag != NULL)
        return open_shared(arguments, arguments->other_tag, image, err);
    if (open_by_name(arguments, NULL, 0, image, err) == 0)
        return 0;
    if (err->code == CHR_E_BUSY && chr_vm_of_image(arguments->image, vm)) {
        (void)snprintf(err->message, sizeof err->message, "%s is in use: instance %s writes to it",
                       arguments->image, vm);
        point_at_snapshot(arguments, err);
    }
    return -1;
}

/* With -U, what looks like damage may be half old and half new. */
static int report_failed_diff(const struct arguments *arguments, struct chr_error *err)
{
    struct chr_error torn = {.code = CHR_E_BUSY};

    if (arguments->flags == 0 || arguments->other_tag != NULL || err->code == CHR_E_BUSY ||
        !is_in_use(arguments))
        return report_error(err);
    (void)snprintf(torn.message, sizeof torn.message,
                   "%s: changed while it was read, as another process writes to it: %.600s",
                   arguments->image, err->message);
    point_at_snapshot(arguments, &torn);
    return report_error(&torn);
}

static int diff_snapshots(const struct arguments *arguments)
{
    struct chr_image *from = NULL;
    struct chr_image *to = NULL;
    struct chr_diff *diff = NULL;
    struct chr_error err;
    int status;

    if (open_shared(arguments, arguments->tag, &from, &err) < 0 ||
        open_other(arguments, &to, &err) < 0)
        status = report_error(&err);
    else if (chr_diff(from, to, &diff, &err) < 0)
        status = report_failed_diff(arguments, &err);
    else
        status = print_diff(arguments, diff);
    chr_diff_free(diff);
    chr_image_close(from);
    chr_image_close(to);
    return status;
}

/* ---- the command line ---- */

static int take_action(const struct command *command, int action, struct arguments *arguments)
{
    if (arguments->action != 0)
        return usage_error(command, "one of -c, -l, -a, -d and --diff at a time");
    arguments->action = action;
    arguments->tag = optarg;
    return 0;
}

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;
    switch (option) {
    case OPTION_NO_KEEP:
        arguments->no_keep = true;
        return 0;
    case OPTION_WITH_MEMORY:
        arguments->with_memory = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case 'U':
        arguments->flags |= CHR_OPEN_FORCE_SHARE;
        return 0;
    default:
        return take_action(command, option, arguments);
    }
}

static bool is_file(const char *name)
{
    FILE *file = fopen(name, "re");

    if (file != NULL)
        (void)fclose(file);
    return file != NULL;
}

/* [IMG], and before it [B] for --diff A [B] [IMG]: a lone argument that is no file is B. */
static int take_arguments(const struct command *command, int argc, char **argv,
                          struct arguments *arguments)
{
    struct chr_error err;
    int left = argc - optind;

    if (arguments->action == OPTION_DIFF && left > 0 && (left == 2 || !is_file(argv[optind]))) {
        arguments->other_tag = argv[optind++];
        left--;
    }
    if (left > 1)
        return usage_error(command, "one image at a time; what is %s?", argv[optind + 1]);
    if (left == 1) {
        arguments->image = argv[optind];
        return 0;
    }
    if (chr_find_image(arguments->found, sizeof arguments->found, &err) < 0)
        return report_error(&err);
    arguments->image = arguments->found;
    return 0;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    int status;

    if (!take_options(command, argc, argv, ":c:la:d:Uh", long_options, take_option, &arguments,
                      &status))
        return status;
    if (arguments.action == 0)
        arguments.action = 'l';
    if (arguments.with_memory && arguments.action != 'c')
        return usage_error(command, "--with-memory goes with -c");
    if (arguments.no_keep && arguments.action != 'a')
        return usage_error(command, "--no-keep goes with -a");
    if (arguments.flags != 0 && arguments.action != 'l' && arguments.action != OPTION_DIFF)
        return usage_error(command, "--force-share goes with -l and --diff");
    status = take_arguments(command, argc, argv, &arguments);
    if (status != 0)
        return status;
    if (arguments.action == 'l')
        return list_snapshots(&arguments);
    return arguments.action == OPTION_DIFF ? diff_snapshots(&arguments)
                                           : change_snapshots(&arguments);
}

const struct command command_snapshot = {
    .name = "snapshot",
    .changes = true,
    .arguments = "[-l | -c TAG | -a TAG | -d TAG | --diff A [B]] [IMG]",
    .summary = "restore points inside of a qcow2",
    .help = "  -l, --list            list them (default); ALONE is what only this one holds\n"
            "  -c, --create TAG      keep the disk as it is now\n"
            "  -a, --apply TAG       make the disk what it was; what it is now is first kept\n"
            "                        as before-apply-<time>\n"
            "      --no-keep         with -a: do not keep it\n"
            "      --with-memory     with -c: the memory of the machine that runs IMG, too\n"
            "  -d, --delete TAG      forget a snapshot\n"
            "      --diff A [B]      files that differ between A and B, or A and now\n"
            "  -U, --force-share     with -l and --diff: read although a VM writes\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "An image that a machine of chrimg runs from is changed by QEMU; -a of a snapshot\n"
            "without memory turns the machine off and on. TAG may be an ID. IMG may be left\n"
            "out: $CHRIMG_IMAGE, else the one *.qcow2 in the current folder that holds a CHR.\n",
    .run = run,
};
