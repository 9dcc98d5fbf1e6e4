/* chrimg: the command line. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui.h"

static const struct command *const commands[] = {
    &command_info,
    &command_fatten,
    &command_extract,
    &command_convert,
    &command_snapshot,
    &command_resize,
    &command_check,
    &command_lint,
    &command_inject,
    &command_ls,
    &command_cat,
    &command_cp,
    &command_rm,
    &command_boot,
    &command_ps,
    &command_console,
    &command_logs,
    &command_stop,
    &command_restart,
    &command_wait,
    &command_run,
    &command_doctor,
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void show_overview(FILE *to)
{
    (void)fprintf(to, "usage: chrimg COMMAND [OPTIONS] IMG\n\n"
                      "Disk images of MikroTik RouterOS CHR: UEFI boot, conversion, snapshots, machines.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    (void)fprintf(to, "\n`chrimg COMMAND --help` shows a command's options, `man chrimg` all of it.\n");
}

int show_help(const struct command *command)
{
    (void)printf("usage: chrimg %s %s\n\n%s\n\n%s", command->name, command->arguments,
                 command->summary, command->help);
    return EXIT_DONE;
}

int usage_error(const struct command *command, const char *format, ...)
{
    char text[CHR_MESSAGE_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ui_message("%s: %s", command->name, text);
    ui_hint("chrimg %s --help", command->name);
    return EXIT_USAGE;
}

static int wrong_option(const struct command *command, int option, const char *word)
{
    if (option == ':')
        return usage_error(command, "%s wants a value", word);
    if (optopt > ' ' && optopt < 127 && word[1] != '-')
        return usage_error(command, "there is no option -%c", optopt);
    return usage_error(command, "there is no option %s", word);
}

bool take_options(const struct command *command, int argc, char **argv, const char *short_options,
                  const struct option *long_options, take_option_fn *take, void *arguments,
                  int *status)
{
    int option;

    opterr = 0;
    *status = EXIT_DONE;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            *status = show_help(command);
            return false;
        }
        *status = option == ':' || option == '?'
                      ? wrong_option(command, option, argv[optind - 1])
                      : take(command, option, arguments);
        if (*status != EXIT_DONE)
            return false;
    }
    return true;
}

const char *image_argument(const struct command *command, int argc, char **argv, int *status)
{
    if (optind == argc) {
        *status = usage_error(command, "name the image");
        return NULL;
    }
    if (optind + 1 < argc) {
        *status = usage_error(command, "one image at a time; what is %s?", argv[optind + 1]);
        return NULL;
    }
    return argv[optind];
}

int take_compression(const struct command *command, const char *value,
                     enum chr_compression *compression)
{
    if (value != NULL && strcmp(value, "zlib") != 0 && strcmp(value, "zstd") != 0)
        return usage_error(command, "compression is zlib or zstd, not %s", value);
    *compression = value != NULL && strcmp(value, "zstd") == 0 ? CHR_COMPRESS_ZSTD
                                                                : CHR_COMPRESS_ZLIB;
    return 0;
}

int open_image(const char *path, unsigned flags, struct chr_image **image)
{
    struct chr_error err;

    if (chr_image_open(path, flags, image, &err) < 0)
        return report_error(&err);
    if (chr_image_recovered(*image))
        ui_message("%s: a change in place was interrupted; this is the image as it was before",
                   path);
    return EXIT_DONE;
}

int take_source_date(const struct command *command, int64_t *value, const int64_t **modified)
{
    const char *text = getenv("SOURCE_DATE_EPOCH");
    char *end;
    long long number;

    *modified = NULL;
    if (text == NULL || text[0] == '\0')
        return 0;
    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < 0)
        return usage_error(command, "SOURCE_DATE_EPOCH is no number of seconds: %s", text);
    *value = number;
    *modified = value;
    return 0;
}

void report_journal(const struct chr_journal_report *report, const char *verb)
{
    if (report->transactions + report->blocks + report->orphans == 0)
        return;
    ui_message("%s the journal, as the router was not shut down: %u transaction%s, %u block%s, "
               "%u file%s that waited for removal", verb, report->transactions,
               report->transactions == 1 ? "" : "s", report->blocks,
               report->blocks == 1 ? "" : "s", report->orphans, report->orphans == 1 ? "" : "s");
}

int report_error(const struct chr_error *err)
{
    ui_message("%s", err->message);
    if (err->hint[0] != '\0')
        ui_hint("%s", err->hint);
    switch (err->code) {
    case CHR_E_USAGE:
        return EXIT_USAGE;
    case CHR_E_DAMAGED:
        return EXIT_DAMAGED;
    default:
        return EXIT_FAILED;
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    ui_message("there is no command %s", name);
    ui_hint("chrimg --help lists them");
    return EXIT_USAGE;
}

/* `chrimg help`, `chrimg help fatten`, `chrimg --help`. */
static int help(int argc, char **argv)
{
    const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;

    if (command != NULL)
        return show_help(command);
    if (argc > 2)
        return unknown_command(argv[2]);
    show_overview(stdout);
    return EXIT_DONE;
}

static int run(const struct command *command, int argc, char **argv)
{
    if (argc < 2) {
        show_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return help(argc, argv);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        (void)printf("chrimg %s\n", CHR_VERSION);
        return EXIT_DONE;
    }
    return command != NULL ? command->run(command, argc - 1, argv + 1) : unknown_command(argv[1]);
}

/*
 * A standard stream that is closed would be the number of the next file that is opened: what is
 * said would go into the image.  In its place stands one that can neither be read nor written.
 */
static bool fill_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    const struct command *command = argc > 1 ? find_command(argv[1]) : NULL;
    int status;

    if (!fill_streams())
        return EXIT_FAILED;

    /* Ignored by who started us, it would keep children's exit codes from us: all would seem well. */
    (void)signal(SIGCHLD, SIG_DFL);
    ui_init();
    status = run(command, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ui_message("cannot write to standard output");
        if (status == EXIT_DONE && command != NULL && command->changes)
            ui_hint("what chrimg %s was to do is done; only its report is lost", command->name);
        return EXIT_FAILED;
    }
    return status;
}
