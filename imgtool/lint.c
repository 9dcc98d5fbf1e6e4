/* chrimg lint */
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_JSON = 256 };

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int exit_code(const struct chr_lint_report *report)
{
    return report->errors > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int print_json(const struct chr_lint_report *report)
{
    json_t *files = json_array();
    int printed;

    for (size_t i = 0; i < report->name_count; i++)
        (void)json_array_append_new(files, json_text(report->names[i]));
    printed = json_print(json_pack("{s:i, s:o, s:I, s:I, s:o}", "schema", 1, "files", files,
                                   "errors", (json_int_t)report->errors, "warnings",
                                   (json_int_t)report->warnings, "findings", json_lint(report)));
    return printed != EXIT_DONE ? printed : exit_code(report);
}

static int take_option(const struct command *command, int option, void *json)
{
    (void)command;
    (void)option; /* there is only the one */
    *(bool *)json = true;
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct chr_lint_report *report = NULL;
    struct chr_error err;
    bool json = false;
    int status;

    if (!take_options(command, argc, argv, ":h", long_options, take_option, &json, &status))
        return status;
    if (optind == argc)
        return usage_error(command, "name the scripts, or - for standard input");
    if (chr_lint((const char *const *)(argv + optind), (size_t)(argc - optind), &report, &err) < 0)
        return report_error(&err);
    if (!json)
        ui_lint_report(report);
    status = json ? print_json(report) : exit_code(report);
    chr_lint_free(report);
    return status;
}

const struct command command_lint = {
    .name = "lint",
    .arguments = "FILE.rsc...",
    .summary = "check RouterOS scripts before a router runs them",
    .help = "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "The files are the parts of one configuration, in this order; - is standard\n"
            "input.\n"
            "References of templates, {{ env://NAME }}, are checked and not resolved.\n"
            "Exit code: 0 no errors (there may be warnings), 1 errors.\n",
    .run = run,
};
