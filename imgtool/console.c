/* chrimg console, chrimg logs */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "ui.h"
#include "vm.h"

#define FOLLOW_STEP_MS 100

enum { OPTION_QEMU = 256 };

/* ---- console ---- */

static const struct option console_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int take_no_option(const struct command *command, int option, void *arguments)
{
    (void)command;
    (void)option;
    (void)arguments;
    return EXIT_USAGE;
}

static void say_attached(const char *name, void *context)
{
    (void)context;
    if (isatty(STDIN_FILENO))
        ui_message("attached to %s; Ctrl-] detaches", name);
}

static int run_console(const struct command *command, int argc, char **argv)
{
    struct chr_vm_watch watch;
    enum chr_console_end end = CHR_CONSOLE_CLOSED;
    struct chr_vm *vm = NULL;
    struct chr_error err;
    const char *name;
    int status;
    int result;

    if (!take_options(command, argc, argv, ":h", console_options, take_no_option, NULL, &status) ||
        !vm_name_argument(command, argc, argv, &name, &status))
        return status;
    if (chr_vm_get(name, false, &vm, &err) < 0)
        return report_error(&err);
    /* write() says it as well, and the terminal is restored then. */
    (void)signal(SIGPIPE, SIG_IGN);
    watch = vm_watch();
    watch.attached = say_attached;
    result = chr_vm_console(vm->name, false, STDIN_FILENO, STDOUT_FILENO, &watch, &end, &err);
    if (result < 0)
        status = report_error(&err);
    else if (end == CHR_CONSOLE_CANCELLED)
        status = 128 + interrupt_signal();
    if (result == 0 && isatty(STDIN_FILENO))
        ui_message("%s %s", end == CHR_CONSOLE_CLOSED ? "the machine is off:" : "detached from",
                   vm->name);
    chr_vm_free(vm);
    return status;
}

const struct command command_console = {
    .name = "console",
    .arguments = "[NAME]",
    .summary = "join this terminal with a machine's serial line",
    .help = "  -h, --help            this\n"
            "\n"
            "Ctrl-] detaches; the machine goes on. NAME may be left out where one runs.\n",
    .run = run_console,
};

/* ---- logs ---- */

static const struct option logs_options[] = {
    {"follow", no_argument, NULL, 'f'},
    {"qemu", no_argument, NULL, OPTION_QEMU},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct logs {
    bool follow;
    bool qemu;
};

static int take_logs_option(const struct command *command, int option, void *logs_)
{
    struct logs *logs = logs_;

    (void)command;
    logs->follow |= option == 'f';
    logs->qemu |= option == OPTION_QEMU;
    return 0;
}

/* What the guest says goes out byte for byte, but to a terminal without what would steer it:
 * -1 when writing fails, else how much there was. */
static long copy_rest(int fd)
{
    char bytes[8192];
    long copied = 0;
    ssize_t n;

    while ((n = read(fd, bytes, sizeof bytes - 1)) > 0) {
        copied += n;
        if (!ui_is_terminal()) {
            if (fwrite(bytes, 1, (size_t)n, stdout) != (size_t)n)
                return -1;
            continue;
        }
        for (ssize_t i = 0; i < n; i++)
            bytes[i] = bytes[i] == '\0' ? ' ' : bytes[i];
        bytes[n] = '\0';
        ui_serial(bytes);
    }
    return fflush(stdout) == 0 ? copied : -1;
}

/* Until the machine is off, and all it said has been read. */
static int follow(int fd, const char *name)
{
    struct pollfd poll_fd = {.fd = interrupt_begin(), .events = POLLIN};

    for (;;) {
        struct chr_vm *vm = NULL;
        struct chr_error err;
        bool running = chr_vm_get(name, false, &vm, &err) == 0;

        chr_vm_free(vm);
        if (copy_rest(fd) < 0)
            return EXIT_FAILED;
        if (!running)
            return EXIT_DONE;
        if (poll(&poll_fd, 1, FOLLOW_STEP_MS) > 0 || interrupt_signal() != 0)
            return 128 + interrupt_signal();
    }
}

static int run_logs(const struct command *command, int argc, char **argv)
{
    struct logs logs = {0};
    struct chr_vm *vm = NULL;
    struct chr_error err;
    const char *name;
    int status;
    int fd;

    if (!take_options(command, argc, argv, ":fh", logs_options, take_logs_option, &logs, &status) ||
        !vm_name_argument(command, argc, argv, &name, &status))
        return status;
    if (chr_vm_get(name, true, &vm, &err) < 0)
        return report_error(&err);
    fd = open(logs.qemu ? vm->qemu_log : vm->serial_log, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ui_message("%s has no log: %s", vm->name, strerror(errno));
        status = EXIT_FAILED;
    } else {
        status = logs.follow ? follow(fd, vm->name) : copy_rest(fd) < 0 ? EXIT_FAILED : EXIT_DONE;
        (void)close(fd);
    }
    chr_vm_free(vm);
    return status;
}

const struct command command_logs = {
    .name = "logs",
    .arguments = "[-f] [NAME]",
    .summary = "what a machine said on its serial line",
    .help = "  -f, --follow          go on until the machine is off\n"
            "      --qemu            QEMU's own messages instead\n"
            "  -h, --help            this\n"
            "\n"
            "NAME may be left out where there is one instance.\n",
    .run = run_logs,
};
