/* chrimg inject */
#include "inject.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "json.h"
#include "ui.h"

/* ---- what is said ---- */

static int print_json(const struct inject_arguments *arguments,
                      const struct chr_inject_report *report)
{
    json_t *written = json_array();
    json_t *unused = json_array();
    json_t *verbatim = json_array();

    for (size_t i = 0; i < report->count; i++) {
        const struct chr_injected *item = &report->items[i];
        char mode[8];

        (void)snprintf(mode, sizeof mode, "%04o", item->mode);
        (void)json_array_append_new(
            written, json_pack("{s:s, s:o, s:s, s:o, s:s, s:b}", "partition",
                               item->on_boot ? "boot" : "root", "path", json_text(item->path),
                               "kind", item->is_folder ? "folder" : "file", "size",
                               item->holds_values ? json_null()
                                                  : json_integer((json_int_t)item->size),
                               "mode", mode, "replaced", item->replaced));
    }
    for (size_t i = 0; i < report->unused_set_count; i++)
        (void)json_array_append_new(unused, json_text(report->unused_sets[i]));
    for (size_t i = 0; i < report->verbatim_count; i++)
        (void)json_array_append_new(verbatim, json_text(report->verbatim[i]));
    return json_print(json_pack(
        "{s:i, s:o, s:b, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", 1, "image",
        json_text(arguments->image), "dry_run", arguments->options.dry_run, "changed_bytes",
        (json_int_t)report->changed_bytes, "written", written, "journal",
        json_journal(&report->journal), "lint",
        report->lint != NULL ? json_lint(report->lint) : json_array(), "unused_sets", unused,
        "verbatim", verbatim, "script", report->script != NULL ? json_text(report->script) : json_null()));
}

static void print_unchanged(const char *image)
{
    ui_name(image);
    ui_out(" is as it should be already\n");
}

static void print_text(const struct inject_arguments *arguments,
                       const struct chr_inject_report *report)
{
    bool dry = arguments->options.dry_run;

    for (size_t i = 0; i < report->count; i++) {
        const struct chr_injected *item = &report->items[i];

        ui_out("%s %s", dry ? "would write" : "wrote", item->on_boot ? "boot:/" : "");
        ui_name(item->path);
        if (item->is_folder || item->holds_values)
            ui_out("%s\n", item->is_folder ? "/" : "");
        else
            ui_out(", %llu byte%s\n", (unsigned long long)item->size, item->size == 1 ? "" : "s");
    }
    if (report->count == 0)
        print_unchanged(arguments->image);
    if (report->script != NULL) {
        ui_out("\n");
        ui_text(report->script);
    }
}

static int write_out(void *context, const void *buf, size_t len, struct chr_error *err)
{
    const char *p = buf;

    (void)context;
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, p, len); /* stdio would keep a copy */

        if (n <= 0) {
            *err = (struct chr_error){.code = CHR_E_IO,
                                      .message = "cannot write to standard output"};
            return -1;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* ---- the command ---- */

/* What is in memory here is nobody else's: no core dumps, no debugger of the same user. */
static void keep_memory_private(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

/* A script may set the password in its own way, so only where there is none. */
static void warn_open_admin(const struct inject_arguments *arguments)
{
    const struct chr_defaults *defaults = &arguments->defaults;

    if (!defaults->hardened || defaults->admin_password_from != NULL ||
        defaults->ssh_key_file_count > 0 || arguments->options.script_count > 0)
        return;
    ui_message("warning: --hardened leaves admin without a password");
    ui_hint("--admin-password-from REF gives one, --ssh-key FILE a key");
}

/* Warnings that belong to no line of a script. */
static void warn(const struct chr_inject_report *report)
{
    for (size_t i = 0; i < report->unused_set_count; i++)
        ui_message("warning: --set %s is not used: no script has {{ %s }}", report->unused_sets[i],
                   report->unused_sets[i]);
    for (size_t i = 0; i < report->verbatim_count; i++)
        ui_message("warning: references in %s stay as they are: values get into the scripts that "
                   "are named behind the image, and into no other file", report->verbatim[i]);
}

static int inject(struct inject_arguments *arguments)
{
    struct chr_inject_report report;
    struct chr_error err;
    int status = EXIT_DONE;
    int result = arguments->render
                     ? chr_render(&arguments->options, &report, write_out, NULL, &err)
                     : chr_inject(arguments->image, &arguments->options, &report, &err);

    if (report.lint != NULL && !arguments->json)
        ui_lint_messages(report.lint);
    if (!arguments->json)
        warn(&report);
    if (result == 0)
        warn_open_admin(arguments);
    if (report.recovered)
        ui_message("%s: a change in place was interrupted; it was taken back first",
                   arguments->image);
    if (result < 0) {
        if (report.lint != NULL && arguments->json)
            ui_lint_messages(report.lint);
        status = report_error(&err);
    } else if (arguments->json) {
        status = print_json(arguments, &report);
    } else if (!arguments->render) {
        report_journal(&report.journal, arguments->options.dry_run ? "would replay" : "replayed");
        print_text(arguments, &report);
    }
    chr_inject_release(&report);
    return status;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct inject_arguments arguments = {0};
    bool go_on;
    int status;

    keep_memory_private();
    status = inject_take_arguments(command, argc, argv, &arguments, &go_on);
    if (go_on)
        status = inject(&arguments);
    inject_release_arguments(&arguments);
    return status;
}

const struct command command_inject = {
    .name = "inject",
    .changes = true,
    .arguments = "[OPTIONS] IMG [FILE.rsc...]",
    .summary = "put a configuration and files into an image, secrets never on disk",
    .help = "The scripts are joined into rw/autorun.scr, which RouterOS runs at its first\n"
            "boot; - is standard input.  {{ env://NAME }}, {{ file:///PATH }},\n"
            "{{ cmd://NAME }}, {{ op://VAULT/ITEM/FIELD }} and {{ KEY }} in them become\n"
            "quoted values.\n"
            "\n"
            "      --append                   behind the commands that are there already\n"
            "      --replace                  instead of them; replace files, too\n"
            "      --set KEY=VALUE            what {{ KEY }} stands for\n"
            "      --allow-cmd NAME=PROGRAM   what {{ cmd://NAME }} runs\n"
            "      --file SRC[:NAME]          a file or folder into the router's own files,\n"
            "                                 rw/disk\n"
            "      --put SRC:/PATH            the same anywhere on the root partition\n"
            "      --mode OCTAL               of the files that --put puts\n"
            "      --boot SRC:/PATH           the same on the boot partition\n"
            "\n"
            "Commands for those who have no script yet, before the scripts:\n"
            "      --identity NAME            the router's name\n"
            "      --admin-password-from REF  a reference without braces: env://X\n"
            "      --address CIDR%IF          192.0.2.1/24%ether1; any number of times\n"
            "      --gateway ADDRESS          default route\n"
            "      --dns ADDRESSES            name servers, separated by commas\n"
            "      --ssh-key FILE             public key for the user admin\n"
            "      --hardened                 no MAC server, discovery, bandwidth server;\n"
            "                                 only SSH and WebFig\n"
            "      --defaults KEY=VALUE       the same: identity=NAME, hardened, ...\n"
            "\n"
            "      --lint MODE                warn: errors of lint stop it only where the\n"
            "                                 scripts have {{ }}; else error\n"
            "  -n, --dry-run                  all but the writing; shows the script, values\n"
            "                                 as ***\n"
            "      --render                   print the finished script, to a pipe or file;\n"
            "                                 no IMG then\n"
            "      --json                     report as JSON\n"
            "  -h, --help                     this\n",
    .run = run,
};
