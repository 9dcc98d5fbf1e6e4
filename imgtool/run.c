/* chrimg run: a machine for the time of one command. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot_options.h"
#include "guardian.h"
#include "interrupt.h"
#include "ui.h"
#include "vm.h"

/* As the shell has it. */
#define STATUS_NOT_FOUND 127
#define STATUS_NOT_STARTED 126
#define WAIT_STEP_MS 20
/* After the first signal, what is left of the command gets this long. */
#define CHILD_PATIENCE_MS 10000

static void set(const char *name, const char *value)
{
    (void)setenv(name, value, 1);
}

/* CHR_SSH=127.0.0.1:9182, CHR_SSH_PORT=9182; where HTTP is, the first is a URL. */
static void set_endpoint(const struct chr_vm *vm, const struct chr_endpoint *endpoint)
{
    char name[CHR_FORWARD_NAME_SIZE + 16];
    char value[128];
    const char *scheme = vm_scheme(endpoint);

    if (endpoint->name[0] == '\0')
        return;
    (void)snprintf(name, sizeof name, "CHR_%s", endpoint->name);
    for (char *p = name; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    (void)snprintf(value, sizeof value, "%s%s%.60s:%u", scheme != NULL ? scheme : "",
                   scheme != NULL ? "://" : "", vm_address(vm), endpoint->port);
    set(name, value);
    (void)strcat(name, "_PORT");
    (void)snprintf(value, sizeof value, "%u", endpoint->port);
    set(name, value);
}

static void set_environment(const struct chr_vm *vm)
{
    set("CHR_NAME", vm->name);
    set("CHR_HOST", vm_address(vm));
    for (size_t i = 0; i < vm->endpoint_count; i++)
        set_endpoint(vm, &vm->endpoints[i]);
}

/* Say why CMD does not run, and return our exit code. */
static int cannot_run(const char *program, int number)
{
    ui_message("cannot run %s: %s", program, strerror(number));
    return number == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_STARTED;
}

/* 0, or the error of executing PATH. */
static int look_at_program(const char *path)
{
    struct stat info;

    if (stat(path, &info) < 0)
        return errno;
    return S_ISREG(info.st_mode) && access(path, X_OK) == 0 ? 0 : EACCES;
}

/*
 * As execvp() will look for it, before a machine is started for nothing: 0, or an error.  So
 * empty and relative entries of PATH count here, which they do not for programs of chrimg's
 * own choice.
 */
static int look_for_program(const char *name)
{
    const char *folders = getenv("PATH");
    int problem = ENOENT;

    if (name[0] == '\0' || strchr(name, '/') != NULL)
        return look_at_program(name);
    if (folders == NULL)
        return 0; /* the C library has folders of its own for that */
    for (const char *p = folders;; p++) {
        size_t length = strcspn(p, ":");
        char path[PATH_MAX];
        int found;

        (void)snprintf(path, sizeof path, "%.*s%s%s", (int)length, p, length > 0 ? "/" : "", name);
        found = look_at_program(path);
        if (found == 0)
            return 0;
        if (found == EACCES)
            problem = EACCES;
        p += length;
        if (*p == '\0')
            return problem;
    }
}

static void become(char **argv)
{
    /* exec() undoes our handlers; what was ignored for us (nohup) is so for the command, too. */
    (void)execvp(argv[0], argv);
    _exit(cannot_run(argv[0], errno));
}

/* Passes the signals that end us on; a command that ignores them is killed after a while. */
static int wait_for_child(pid_t pid, int interrupts)
{
    int patience = CHILD_PATIENCE_MS;
    bool told = false;
    int raw = 0;

    for (;;) {
        struct pollfd poll_fd = {.fd = told ? -1 : interrupts, .events = POLLIN};
        pid_t done = waitpid(pid, &raw, WNOHANG);

        if (done == pid || (done < 0 && errno != EINTR))
            break;
        if (interrupt_signal() != 0 && !told) {
            (void)kill(pid, interrupt_signal());
            told = true;
        }
        if (told && (patience -= WAIT_STEP_MS) < 0)
            (void)kill(pid, SIGKILL);
        (void)poll(&poll_fd, 1, WAIT_STEP_MS);
    }
    if (interrupt_signal() != 0)
        return 128 + interrupt_signal();
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
}

static int run_command(char **argv, int interrupts, const struct guardian *guardian)
{
    int status;
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0)
        become(argv);
    if (pid < 0)
        return cannot_run(argv[0], errno);
    guardian_tell(guardian, pid);
    status = wait_for_child(pid, interrupts);
    guardian_tell(guardian, 0);
    return status;
}

/* The machine's disk is thrown away: there is nothing to shut down in good order. */
static int end_machine(const char *name, int status)
{
    const struct chr_stop_options options = {.now = true, .forget = true};
    enum chr_stopped how;
    struct chr_error err;

    if (chr_vm_stop(name, &options, &how, &err) == 0 || err.code == CHR_E_MISSING)
        return status;
    (void)report_error(&err);
    return status != EXIT_DONE ? status : EXIT_FAILED;
}

static int boot_and_run(const char *image, struct chr_boot_options *options, char **argv,
                        const struct guardian *guardian)
{
    struct chr_vm_watch watch = vm_watch();
    struct chr_boot_report *report = NULL;
    struct chr_error err;
    int result;

    result = chr_boot(image, options, &watch, &report, &err);
    ui_waiting_end();
    if (result < 0)
        return vm_error(&err);
    set_environment(report->vm);
    chr_boot_report_free(report);
    return end_machine(options->name, run_command(argv, watch.cancel_fd, guardian));
}

static int run_guarded(const char *image, struct chr_boot_options *options, char **argv)
{
    struct guardian guardian;
    char name[CHR_BOOT_NAME_MAX + 1];
    int result = look_for_program(argv[0]);

    if (result != 0)
        return cannot_run(argv[0], result);
    /* Several may run at once, also from one image. */
    (void)snprintf(name, sizeof name, "run-%ld", (long)getpid());
    if (options->name == NULL)
        options->name = name;
    options->throwaway = true;
    options->remove = true;
    options->for_command = true;
    guardian = guardian_begin(options->name);
    result = boot_and_run(image, options, argv, &guardian);
    guardian_end(&guardian);
    return result;
}

/* Where the first "--" is, behind which nothing is ours; ARGC for none. */
static int end_of_ours(int argc, char **argv)
{
    int i = 1;

    while (i < argc && strcmp(argv[i], "--") != 0)
        i++;
    return i;
}

/* "IMG -- CMD...": what getopt has left up to END, and then the command; NULL, and the exit code. */
static char **take_command(const struct command *command, int end, int argc, char **argv,
                           int *status)
{
    *status = EXIT_DONE;
    if (optind + 1 < end)
        *status = usage_error(command, "-- goes before the command: IMG -- CMD...; what is %s?",
                              argv[optind + 1]);
    else if (optind >= end || end + 1 >= argc)
        *status = usage_error(command, "name the image and the command: IMG -- CMD...");
    return *status == EXIT_DONE ? argv + end + 1 : NULL;
}

static int check_options(const struct command *command, const struct boot_arguments *arguments)
{
    int status = boot_check_options(command, arguments);

    if (status != EXIT_DONE)
        return status;
    if (arguments->options.show != CHR_SHOW_NONE || arguments->options.foreground ||
        arguments->options.write || arguments->json)
        return usage_error(command, "-i, --write, --json and the options that show the command are "
                                    "for chrimg boot");
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct boot_arguments arguments = {0};
    int end = end_of_ours(argc, argv);
    char **rest;
    int status;

    /* Without a "--", "+": what is behind the image may be a command's option. */
    if (take_options(command, end, argv, end < argc ? BOOT_SHORT_OPTIONS : "+" BOOT_SHORT_OPTIONS,
                     boot_long_options, boot_take_option, &arguments, &status) &&
        (status = check_options(command, &arguments)) == EXIT_DONE &&
        (rest = take_command(command, end, argc, argv, &status)) != NULL)
        status = run_guarded(argv[optind], &arguments.options, rest);
    boot_arguments_release(&arguments);
    return status;
}

const struct command command_run = {
    .name = "run",
    .arguments = "[OPTIONS] IMG -- CMD [ARG...]",
    .summary = "boot a throwaway copy, run a command against it, stop it",
    .help = "  -h, --help            this\n"
            "\n"
            "And the options of `chrimg boot`, but for -i, --write, --json and what only\n"
            "shows. CMD finds CHR_NAME, CHR_HOST, CHR_HTTP, CHR_HTTPS, CHR_SSH, CHR_API,\n"
            "CHR_API_SSL and CHR_WINBOX in its environment, each of the last six with its\n"
            "_PORT, too. The exit code is CMD's.\n",
    .run = run,
};
