/* chrimg ps */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "ui.h"
#include "vm.h"

enum { OPTION_JSON = 256 };

#define CELL_SIZE 4096

static const struct option long_options[] = {
    {"all", no_argument, NULL, 'a'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    bool all;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    (void)command;
    arguments->all |= option == 'a';
    arguments->json |= option == OPTION_JSON;
    return 0;
}

/* "5 s", "12 min", "3 h", "40 d" */
static void age_text(int64_t seconds, char *text, size_t size)
{
    if (seconds < 120)
        (void)snprintf(text, size, "%lld s", (long long)(seconds < 0 ? 0 : seconds));
    else if (seconds < 7200)
        (void)snprintf(text, size, "%lld min", (long long)(seconds / 60));
    else if (seconds < 172800)
        (void)snprintf(text, size, "%lld h", (long long)(seconds / 3600));
    else
        (void)snprintf(text, size, "%lld d", (long long)(seconds / 86400));
}

/* The columns, and which of them go first where a terminal is narrow: the highest; 0 stays. */
enum { NAME, STATUS, ACCEL, PID, UP, HTTP, IMAGE, COLUMNS };

static const struct {
    const char *title;
    unsigned going;
    bool right;
} columns[COLUMNS] = {
    [NAME] = {"NAME", 0, false}, [STATUS] = {"STATUS", 0, false}, [ACCEL] = {"ACCEL", 5, false},
    [PID] = {"PID", 4, true},    [UP] = {"UP", 3, true},          [HTTP] = {"HTTP", 1, false},
    [IMAGE] = {"IMAGE", 2, false},
};

#define FIRST_TO_GO 5
/* An image's path is worth a column down to so many characters. */
#define IMAGE_LEAST 16
#define REPLACED "(replaced) "

struct row {
    char cells[COLUMNS][CELL_SIZE];
};

static struct row row_of(const struct chr_vm *vm)
{
    struct row row = {.cells = {[PID] = "-", [UP] = "-", [HTTP] = "-"}};

    (void)snprintf(row.cells[NAME], CELL_SIZE, "%s", vm->name);
    (void)snprintf(row.cells[STATUS], CELL_SIZE, "%s", vm->status);
    (void)snprintf(row.cells[ACCEL], CELL_SIZE, "%s", vm->accel);
    if (vm->image_replaced)
        (void)strcpy(row.cells[IMAGE], REPLACED);
    ui_escape(vm->image, row.cells[IMAGE] + strlen(row.cells[IMAGE]),
              CELL_SIZE - strlen(row.cells[IMAGE]));
    if (!vm->running)
        return row;
    age_text((int64_t)time(NULL) - vm->started, row.cells[UP], CELL_SIZE);
    (void)snprintf(row.cells[PID], CELL_SIZE, "%ld", vm->pid);
    for (size_t i = vm->endpoint_count; i-- > 0;) {
        const char *scheme = vm_scheme(&vm->endpoints[i]);

        if (scheme != NULL && strcmp(scheme, "http") == 0)
            (void)snprintf(row.cells[HTTP], CELL_SIZE, "%.60s:%u", vm_address(vm),
                           vm->endpoints[i].port);
    }
    return row;
}

/* How wide each column is; 0: it is left out. */
struct layout {
    unsigned widths[COLUMNS];
};

static unsigned total_width(const struct layout *layout)
{
    unsigned total = 0;

    for (size_t i = 0; i < COLUMNS; i++)
        total += layout->widths[i] != 0 ? layout->widths[i] + 1 : 0;
    return total - 1;
}

/* Narrow the image's path, then leave out one column after the other, until WIDTH is enough. */
static void fit(struct layout *layout, unsigned width)
{
    for (unsigned going = FIRST_TO_GO; total_width(layout) > width && going > 0; going--) {
        unsigned others = total_width(layout) - layout->widths[IMAGE];

        if (others + IMAGE_LEAST <= width) {
            layout->widths[IMAGE] = width - others;
            return;
        }
        for (size_t i = 0; i < COLUMNS; i++)
            if (columns[i].going == going)
                layout->widths[i] = 0;
    }
}

/* As wide as what is in them, and on a terminal all together no wider than that. */
static struct layout layout_of(const struct row *rows, size_t count)
{
    struct layout layout;

    for (size_t i = 0; i < COLUMNS; i++) {
        layout.widths[i] = ui_characters(columns[i].title);
        for (size_t j = 0; j < count; j++)
            if (ui_characters(rows[j].cells[i]) > layout.widths[i])
                layout.widths[i] = ui_characters(rows[j].cells[i]);
    }
    if (ui_is_terminal())
        fit(&layout, ui_width());
    return layout;
}

static void print_row(const struct layout *layout, const struct row *row, enum colour colour)
{
    const char *between = "";

    for (size_t i = 0; i < COLUMNS; i++) {
        unsigned width = layout->widths[i];
        char text[CELL_SIZE];
        unsigned padding;

        if (width == 0)
            continue;
        ui_shorten(row->cells[i], width, text, sizeof text);
        padding = i == IMAGE ? 0 : ui_padding(text, width);
        ui_colour(colour, "%s%*s%s%*s", between, columns[i].right ? (int)padding : 0, "", text,
                  columns[i].right ? 0 : (int)padding, "");
        between = " ";
    }
    ui_out("\n");
}

static int print_text(const struct chr_vm_list *list, bool all)
{
    struct row *rows = calloc(list->count + 1, sizeof *rows);
    struct row titles;
    struct layout layout;
    size_t count = 0;

    if (rows == NULL) {
        ui_message("out of memory for the list");
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->running || all)
            rows[count++] = row_of(list->items[i]);
    for (size_t i = 0; i < COLUMNS; i++)
        (void)strcpy(titles.cells[i], columns[i].title);
    layout = layout_of(rows, count);
    if (count > 0)
        print_row(&layout, &titles, BOLD);
    else
        ui_message("no instance %s", all ? "is there" : "runs");
    for (size_t i = 0; i < count; i++)
        print_row(&layout, &rows[i], PLAIN);
    free(rows);
    return EXIT_DONE;
}

static int print_json(const struct chr_vm_list *list, bool all)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->running || all)
            (void)json_array_append_new(array, vm_value(list->items[i]));
    return json_print(json_pack("{s:i, s:o}", "schema", 1, "instances", array));
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct chr_vm_list *list = NULL;
    struct chr_error err;
    int status;

    if (!take_options(command, argc, argv, ":ah", long_options, take_option, &arguments, &status))
        return status;
    if (optind < argc)
        return usage_error(command, "it takes no arguments; what is %s?", argv[optind]);
    if (chr_vm_list(&list, &err) < 0)
        return report_error(&err);
    status = arguments.json ? print_json(list, arguments.all) : print_text(list, arguments.all);
    chr_vm_list_free(list);
    return status;
}

const struct command command_ps = {
    .name = "ps",
    .arguments = "[-a]",
    .summary = "list the machines that run, and tidy up after those that ended",
    .help = "  -a, --all             those that are off, too\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n",
    .run = run,
};
