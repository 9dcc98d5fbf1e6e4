/* chrimg doctor */
#include <stdio.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_JSON = 256 };

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int take_option(const struct command *command, int option, void *json)
{
    (void)command;
    *(bool *)json |= option == OPTION_JSON;
    return 0;
}

static bool all_needed_is_there(const struct chr_doctor_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        if (report->items[i].needed && !report->items[i].good)
            return false;
    return true;
}

static void print_item(const struct chr_doctor_item *item)
{
    ui_colour(item->good ? GREEN : item->needed ? RED : YELLOW, "%-8s",
              item->good ? "good" : item->needed ? "missing" : "lacking");
    ui_out(" ");
    ui_labelled(9, item->what, item->state);
    if (item->remedy[0] == '\0')
        return;
    ui_out("%*s", 9, "");
    ui_wrapped(9, item->remedy);
}

static json_t *items_value(const struct chr_doctor_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->count; i++) {
        const struct chr_doctor_item *item = &report->items[i];

        (void)json_array_append_new(
            array, json_pack("{s:b, s:b, s:o, s:o, s:o}", "good", item->good, "needed",
                             item->needed, "what", json_text(item->what), "state",
                             json_text(item->state), "remedy", json_text(item->remedy)));
    }
    return array;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct chr_doctor_report *report = NULL;
    struct chr_error err;
    bool json = false;
    bool good;
    int status;

    if (!take_options(command, argc, argv, ":h", long_options, take_option, &json, &status))
        return status;
    if (optind < argc)
        return usage_error(command, "it takes no arguments; what is %s?", argv[optind]);
    if (chr_doctor(&report, &err) < 0)
        return report_error(&err);
    good = all_needed_is_there(report);
    if (json)
        status = json_print(json_pack("{s:i, s:b, s:o}", "schema", 1, "good", good, "items",
                                      items_value(report)));
    for (size_t i = 0; i < report->count && !json; i++)
        print_item(&report->items[i]);
    chr_doctor_free(report);
    return status != EXIT_DONE ? status : good ? EXIT_DONE : EXIT_FAILED;
}

const struct command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "what this host has for virtual machines, and how to get the rest",
    .help = "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "Fails when something is missing without which no machine runs.\n",
    .run = run,
};
