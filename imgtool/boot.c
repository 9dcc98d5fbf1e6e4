/* chrimg boot */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot_options.h"
#include "interrupt.h"
#include "json.h"
#include "ui.h"
#include "vm.h"

static int show(const char *image, const struct chr_boot_options *options)
{
    struct chr_error err;
    char *text = NULL;

    if (chr_boot_show(image, options, &text, &err) < 0)
        return report_error(&err);
    (void)fputs(text, stdout); /* as it is: it is for a shell or another program */
    free(text);
    return EXIT_DONE;
}

static int stop_now(const char *name, int status)
{
    char *saved = NULL;
    const struct chr_stop_options options = {.now = true, .saved = &saved};
    enum chr_stopped how;
    struct chr_error err;

    if (chr_vm_stop(name, &options, &how, &err) < 0 && err.code != CHR_E_MISSING)
        return report_error(&err);
    vm_say_saved(saved);
    free(saved);
    return status;
}

/* The serial line on the terminal until the machine ends, or is ended from there. */
static int attach(const char *name)
{
    struct chr_vm_watch watch = vm_watch();
    enum chr_console_end end = CHR_CONSOLE_CLOSED;
    struct chr_error err;

    watch.progress = NULL; /* the terminal is the guest's */
    /* write() says it as well, and the terminal is restored then. */
    (void)signal(SIGPIPE, SIG_IGN);
    if (chr_vm_console(name, true, STDIN_FILENO, STDOUT_FILENO, &watch, &end, &err) < 0) {
        /* It may have ended before the console was there. */
        return err.code == CHR_E_MISSING ? EXIT_DONE : stop_now(name, report_error(&err));
    }
    if (end == CHR_CONSOLE_CLOSED) {
        (void)chr_vm_wait(name, 10, -1, NULL, &err);
        return EXIT_DONE;
    }
    return stop_now(name, end == CHR_CONSOLE_CANCELLED ? 128 + interrupt_signal() : EXIT_DONE);
}

/* Without a terminal for the keys there are no commands among them. */
static void say_foreground(const char *name)
{
    if (!isatty(STDIN_FILENO))
        ui_message("%s runs until its router is shut down; SIGINT or SIGTERM ends it", name);
    else if (ui_is_terminal())
        ui_message("%s runs on this terminal; Ctrl-A X ends it, Ctrl-A H helps", name);
}

static int boot(const char *image, struct boot_arguments *arguments)
{
    struct chr_vm_watch watch = vm_watch();
    struct chr_boot_report *report = NULL;
    struct chr_error err;
    int status;
    int result;

    if (arguments->options.foreground)
        arguments->options.ready = CHR_READY_NONE; /* the terminal shows */
    result = chr_boot(image, &arguments->options, &watch, &report, &err);
    ui_waiting_end();
    if (result < 0)
        return vm_error(&err);
    if (arguments->options.foreground) {
        char name[CHR_BOOT_NAME_MAX + 1];

        (void)snprintf(name, sizeof name, "%s", report->vm->name);
        say_foreground(name);
        status = attach(name);
    } else {
        status = vm_print_started(report, arguments->json);
    }
    chr_boot_report_free(report);
    return status;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct boot_arguments arguments = {0};
    const char *image = NULL;
    int status;

    if (take_options(command, argc, argv, BOOT_SHORT_OPTIONS, boot_long_options, boot_take_option,
                     &arguments, &status) &&
        (status = boot_check_options(command, &arguments)) == EXIT_DONE &&
        (image = image_argument(command, argc, argv, &status)) != NULL)
        status = arguments.options.show != CHR_SHOW_NONE ? show(image, &arguments.options)
                                                         : boot(image, &arguments);
    boot_arguments_release(&arguments);
    return status;
}

const struct command command_boot = {
    .name = "boot",
    .changes = true,
    .arguments = "[OPTIONS] IMG",
    .summary = "start it in QEMU and wait until it answers",
    .help = boot_help,
    .run = run,
};
