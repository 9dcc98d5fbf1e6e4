/* chrimg check */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "tool.h"
#include "ui.h"

enum { OPTION_REPAIR = 256, OPTION_JSON };

static const struct option long_options[] = {
    {"repair", required_argument, NULL, OPTION_REPAIR},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int exit_code(const struct chr_check_report *report)
{
    return report->verdict == CHR_CHECK_SOUND   ? EXIT_DONE
           : report->verdict == CHR_CHECK_LEAKS ? EXIT_LEAKS
                                                : EXIT_DAMAGED;
}

static const char *verdict_name(const struct chr_check_report *report)
{
    return report->verdict == CHR_CHECK_SOUND   ? "sound"
           : report->verdict == CHR_CHECK_LEAKS ? "leaks"
                                                : "damaged";
}

static int print_json(const char *path, const struct chr_check_report *report)
{
    int printed = json_print(json_pack(
        "{s:i, s:o, s:s, s:I, s:I, s:o, s:o, s:o}", "schema", 1, "image", json_text(path),
        "verdict", verdict_name(report), "leaks", (json_int_t)report->leaks, "corruptions",
        (json_int_t)report->corruptions, "ext_judge",
        report->ext_judge[0] != '\0' ? json_text(report->ext_judge) : json_null(), "findings",
        json_findings(report->findings, report->finding_count), "repairs",
        json_findings(report->repairs, report->repair_count)));

    return printed != EXIT_DONE ? printed : exit_code(report);
}

static int print_text(const char *path, const struct chr_check_report *report)
{
    char word[CHR_HINT_SIZE];

    for (size_t i = 0; i < report->finding_count; i++)
        ui_finding(&report->findings[i], 0);
    for (size_t i = 0; i < report->repair_count; i++) {
        ui_colour(GREEN, "repaired");
        ui_out(" ");
        ui_wrapped(9, report->repairs[i].text);
    }
    ui_out("%s: ", path);
    ui_colour(report->verdict == CHR_CHECK_SOUND ? GREEN
              : report->verdict == CHR_CHECK_LEAKS ? YELLOW : RED, "%s", verdict_name(report));
    if (report->ext_judge[0] != '\0')
        ui_out(" (ext judged by %s)", report->ext_judge);
    ui_out("\n");
    if (report->repair_count == 0 && report->verdict == CHR_CHECK_LEAKS)
        ui_hint("chrimg check --repair leaks %s frees them",
                chr_shell_word(path, word, sizeof word));
    return exit_code(report);
}

static int check(const char *path, enum chr_repair repair, bool json)
{
    struct chr_check_report *report = NULL;
    struct chr_error err;
    int status;

    if (chr_check(path, repair, &report, &err) < 0)
        return report_error(&err);
    status = json ? print_json(path, report) : print_text(path, report);
    chr_check_free(report);
    return status;
}

struct arguments {
    enum chr_repair repair;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    if (option == OPTION_JSON)
        arguments->json = true;
    else if (strcmp(optarg, "leaks") == 0)
        arguments->repair = CHR_REPAIR_LEAKS;
    else if (strcmp(optarg, "all") == 0)
        arguments->repair = CHR_REPAIR_ALL;
    else
        return usage_error(command, "--repair is leaks or all, not %s", optarg);
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    const char *path;
    int status;

    if (!take_options(command, argc, argv, ":h", long_options, take_option, &arguments, &status))
        return status;
    path = image_argument(command, argc, argv, &status);
    return path == NULL ? status : check(path, arguments.repair, arguments.json);
}

const struct command command_check = {
    .name = "check",
    .arguments = "[--repair leaks|all] IMG",
    .summary = "one verdict over qcow2, partition tables, FAT and ext",
    .help = "      --repair leaks    free qcow2 clusters that nothing refers to\n"
            "      --repair all      and set wrong qcow2 refcounts right, and write a\n"
            "                        damaged copy of the GPT anew from the other one\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "Nothing is written without --repair. Exit code: 0 sound, 3 damaged, 4 leaks.\n",
    .run = run,
};
