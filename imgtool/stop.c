/* chrimg stop, chrimg restart, chrimg wait */
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "json.h"
#include "ui.h"
#include "vm.h"

enum { OPTION_NOW = 256, OPTION_TIMEOUT, OPTION_FORGET, OPTION_JSON };

struct arguments {
    struct chr_stop_options options;
    bool json;
};

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct arguments *arguments = arguments_;

    switch (option) {
    case OPTION_NOW:
        arguments->options.now = true;
        return 0;
    case OPTION_FORGET:
        arguments->options.forget = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case OPTION_TIMEOUT:
        return take_seconds(command, "--timeout", optarg, &arguments->options.timeout);
    default:
        return EXIT_USAGE;
    }
}

/* The one that is meant, by its whole name; false when the error has been printed. */
static bool find_name(const char *name, bool off_too, char found[CHR_BOOT_NAME_MAX + 1],
                      int *status)
{
    struct chr_vm *vm = NULL;
    struct chr_error err;

    if (chr_vm_get(name, off_too, &vm, &err) < 0) {
        *status = report_error(&err);
        return false;
    }
    (void)strcpy(found, vm->name);
    chr_vm_free(vm);
    return true;
}

/* ---- stop ---- */

static const struct option stop_options[] = {
    {"now", no_argument, NULL, OPTION_NOW},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"forget", no_argument, NULL, OPTION_FORGET},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char *const how_words[] = {
    [CHR_STOPPED_ALREADY] = "off",
    [CHR_STOPPED_POWERDOWN] = "powerdown",
    [CHR_STOPPED_DEAF] = "quit",
    [CHR_STOPPED_QUIT] = "quit",
    [CHR_STOPPED_KILLED] = "killed",
};

static const char *const how_texts[] = {
    [CHR_STOPPED_ALREADY] = "was off already",
    [CHR_STOPPED_POWERDOWN] = "has shut down",
    /* What it was writing may be lost. */
    [CHR_STOPPED_DEAF] = "did not shut down in time, and was turned off",
    [CHR_STOPPED_QUIT] = "was turned off: QEMU was told to quit",
    [CHR_STOPPED_KILLED] = "was killed: QEMU did not react",
};

static const char *how_text(enum chr_stopped how, bool now)
{
    return how == CHR_STOPPED_QUIT && !now
               ? "is paused or does not answer, and could not shut down: it was turned off"
               : how_texts[how];
}

/* What is left of an instance whose record is damaged. */
static int forget(const char *name, bool json)
{
    struct chr_error err;
    char *removed = NULL;

    if (chr_vm_forget(name, &removed, &err) < 0)
        return report_error(&err);
    if (json) {
        free(removed);
        return json_print(json_pack("{s:i, s:s, s:s, s:b, s:o}", "schema", 1, "name", name, "how",
                                    how_words[CHR_STOPPED_ALREADY], "forgotten", true, "saved",
                                    json_null()));
    }
    ui_out("%s is off, its record was damaged, and it is forgotten; removed: %s\n", name, removed);
    free(removed);
    return EXIT_DONE;
}

/* Whether NAME is there, and tells nothing about its machine. */
static bool is_damaged(const char *name)
{
    struct chr_vm *vm = NULL;
    struct chr_error err;

    if (chr_vm_get(name, true, &vm, &err) < 0)
        return err.code == CHR_E_DAMAGED;
    chr_vm_free(vm);
    return false;
}

static int stop(const char *name, struct arguments *arguments)
{
    enum chr_stopped how;
    struct chr_error err;
    char *saved = NULL;
    int status = EXIT_DONE;

    arguments->options.saved = &saved;
    if (chr_vm_stop(name, &arguments->options, &how, &err) < 0)
        status = report_error(&err);
    else if (arguments->json)
        status = json_print(json_pack("{s:i, s:s, s:s, s:b, s:o}", "schema", 1, "name", name, "how",
                                      how_words[how], "forgotten", arguments->options.forget,
                                      "saved", saved != NULL ? json_text(saved) : json_null()));
    else
        ui_out("%s %s%s\n", name, how_text(how, arguments->options.now),
               arguments->options.forget ? ", and is forgotten" : "");
    vm_say_saved(saved);
    free(saved);
    return status;
}

static int run_stop(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    char found[CHR_BOOT_NAME_MAX + 1];
    const char *name;
    int status;

    if (!take_options(command, argc, argv, ":h", stop_options, take_option, &arguments, &status) ||
        !vm_name_argument(command, argc, argv, &name, &status))
        return status;
    if (arguments.options.now && arguments.options.timeout != 0)
        return usage_error(command, "--now and --timeout exclude each other: does the guest get time?");
    if (arguments.options.forget && name != NULL && is_damaged(name))
        return forget(name, arguments.json);
    if (!find_name(name, name != NULL, found, &status))
        return status;
    return stop(found, &arguments);
}

const struct command command_stop = {
    .name = "stop",
    .changes = true,
    .arguments = "[--now] [NAME]",
    .summary = "shut a machine down, and see that it is gone",
    .help = "      --now             do not ask the guest: QEMU quits\n"
            "      --timeout SEC     how long the guest has before that; default 60\n"
            "      --forget          remove what is kept of the instance, too: overlay,\n"
            "                        firmware variables, logs; also of one that is off\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "NAME may be left out where one runs.\n",
    .run = run_stop,
};

/* ---- restart ---- */

static const struct option restart_options[] = {
    {"now", no_argument, NULL, OPTION_NOW},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int run_restart(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    struct chr_boot_report *report = NULL;
    struct chr_vm_watch watch;
    struct chr_error err;
    const char *name;
    int status;
    int result;

    if (!take_options(command, argc, argv, ":h", restart_options, take_option, &arguments,
                      &status) ||
        !vm_name_argument(command, argc, argv, &name, &status))
        return status;
    watch = vm_watch();
    result = chr_vm_restart(name, &arguments.options, &watch, &report, &err);
    ui_waiting_end();
    if (result < 0)
        return vm_error(&err);
    status = vm_print_started(report, arguments.json);
    chr_boot_report_free(report);
    return status;
}

const struct command command_restart = {
    .name = "restart",
    .changes = true,
    .arguments = "[--now] [NAME]",
    .summary = "stop a machine if it runs, and start it as it was started",
    .help = "      --now             do not ask the guest: QEMU quits\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "NAME may be left out where there is one instance.\n",
    .run = run_restart,
};

/* ---- wait ---- */

static const struct option wait_options[] = {
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int run_wait(const struct command *command, int argc, char **argv)
{
    struct arguments arguments = {0};
    char found[CHR_BOOT_NAME_MAX + 1];
    struct chr_error err;
    int64_t waited_ms;
    const char *name;
    int status;

    if (!take_options(command, argc, argv, ":h", wait_options, take_option, &arguments, &status) ||
        !vm_name_argument(command, argc, argv, &name, &status) ||
        !find_name(name, name != NULL, found, &status))
        return status;
    if (chr_vm_wait(found, arguments.options.timeout, interrupt_begin(), &waited_ms, &err) == 0)
        return arguments.json ? json_print(json_pack("{s:i, s:s, s:I}", "schema", 1, "name", found,
                                                     "waited_ms", (json_int_t)waited_ms))
                              : EXIT_DONE;
    return interrupt_signal() != 0 ? 128 + interrupt_signal() : report_error(&err);
}

const struct command command_wait = {
    .name = "wait",
    .arguments = "[NAME]",
    .summary = "wait until a machine is off",
    .help = "      --timeout SEC     fail when it still runs then\n"
            "      --json            report as JSON\n"
            "  -h, --help            this\n"
            "\n"
            "NAME may be left out where one runs.\n",
    .run = run_wait,
};
