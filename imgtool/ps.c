/* chrimg ps */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "ui.h"
#include "vm.h"

enum { OPTION_JSON = 256 };

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

static void print_vm(const struct chr_vm *vm)
{
    char age[32] = "-";
    char pid[24] = "-";
    char http[128] = "-";

    if (vm->running) {
        age_text((int64_t)time(NULL) - vm->started, age, sizeof age);
        (void)snprintf(pid, sizeof pid, "%ld", vm->pid);
        for (size_t i = 0; i < vm->endpoint_count; i++)
            if (strcmp(vm->endpoints[i].name, "http") == 0)
                (void)snprintf(http, sizeof http, "%.60s:%u", vm_address(vm),
                               vm->endpoints[i].port);
    }
    ui_out("%-16s %-10s %-5s %8s %8s  %-16s %s\n", vm->name, vm->status, vm->accel, pid, age, http,
           vm->image);
}

static int print_text(const struct chr_vm_list *list, bool all)
{
    size_t shown = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (!list->items[i]->running && !all)
            continue;
        if (shown++ == 0)
            ui_colour(BOLD, "%-16s %-10s %-5s %8s %8s  %-16s %s\n", "NAME", "STATUS", "ACCEL",
                      "PID", "UP", "HTTP", "IMAGE");
        print_vm(list->items[i]);
    }
    if (shown == 0)
        ui_message("no instance %s", all ? "is there" : "runs");
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
