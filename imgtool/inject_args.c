/* What the command line of chrimg inject says. */
#include "inject.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ui.h"

enum {
    OPTION_APPEND = 256,
    OPTION_REPLACE,
    OPTION_FILE,
    OPTION_PUT,
    OPTION_MODE,
    OPTION_BOOT,
    OPTION_IDENTITY,
    OPTION_PASSWORD,
    OPTION_ADDRESS,
    OPTION_GATEWAY,
    OPTION_DNS,
    OPTION_SSH_KEY,
    OPTION_HARDENED,
    OPTION_DEFAULTS,
    OPTION_SET,
    OPTION_ALLOW_CMD,
    OPTION_LINT,
    OPTION_RENDER,
    OPTION_JSON,
};

static const struct option long_options[] = {
    {"append", no_argument, NULL, OPTION_APPEND},
    {"replace", no_argument, NULL, OPTION_REPLACE},
    {"file", required_argument, NULL, OPTION_FILE},
    {"put", required_argument, NULL, OPTION_PUT},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"boot", required_argument, NULL, OPTION_BOOT},
    {"identity", required_argument, NULL, OPTION_IDENTITY},
    {"admin-password-from", required_argument, NULL, OPTION_PASSWORD},
    {"address", required_argument, NULL, OPTION_ADDRESS},
    {"gateway", required_argument, NULL, OPTION_GATEWAY},
    {"dns", required_argument, NULL, OPTION_DNS},
    {"ssh-key", required_argument, NULL, OPTION_SSH_KEY},
    {"hardened", no_argument, NULL, OPTION_HARDENED},
    {"defaults", required_argument, NULL, OPTION_DEFAULTS},
    {"set", required_argument, NULL, OPTION_SET},
    {"allow-cmd", required_argument, NULL, OPTION_ALLOW_CMD},
    {"lint", required_argument, NULL, OPTION_LINT},
    {"render", no_argument, NULL, OPTION_RENDER},
    {"dry-run", no_argument, NULL, 'n'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* ---- the command line ---- */

/* "KEY=VALUE" taken apart where it stands. */
static int take_pair(const struct command *command, const char *option, char *text,
                     struct chr_pair *out)
{
    char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return usage_error(command, "%s wants NAME=VALUE", option);
    *equals = '\0';
    *out = (struct chr_pair){text, equals + 1};
    return 0;
}

/* "SRC:PATH" at the last colon with SEPARATOR behind it; a file of the whole name wins. */
static int take_put(const struct command *command, const char *option, char *text, bool must,
                    struct chr_put *out)
{
    char *colon = NULL;

    *out = (struct chr_put){text, NULL};
    if (must || access(text, F_OK) != 0)
        colon = strrchr(text, ':');
    while (must && colon != NULL && colon[1] != '/') {
        char *before = colon;

        while (before > text && *--before != ':')
            ;
        colon = *before == ':' && before > text ? before : NULL;
    }
    if (must && (colon == NULL || colon == text))
        return usage_error(command, "%s wants SRC:/PATH", option);
    if (colon != NULL && colon > text) {
        *colon = '\0';
        out->path = colon + 1;
    }
    return 0;
}

static int take_mode(const struct command *command, const char *text, struct inject_arguments *arguments)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    if (text[0] < '0' || text[0] > '7' || *end != '\0' || mode > 07777)
        return usage_error(command, "--mode is octal, 0 to 7777, not %s", text);
    arguments->mode = (uint32_t)mode;
    arguments->options.mode = &arguments->mode;
    return 0;
}

static int take_lint(const struct command *command, const char *text, enum chr_inject_lint *out)
{
    if (strcmp(text, "error") != 0 && strcmp(text, "warn") != 0)
        return usage_error(command, "--lint is error or warn, not %s", text);
    *out = strcmp(text, "warn") == 0 ? CHR_INJECT_LINT_WARN : CHR_INJECT_LINT_ERROR;
    return 0;
}

static const struct {
    const char *key;
    int option;
} default_keys[] = {
    {"identity", OPTION_IDENTITY}, {"admin-password-from", OPTION_PASSWORD},
    {"address", OPTION_ADDRESS},   {"gateway", OPTION_GATEWAY},
    {"dns", OPTION_DNS},           {"ssh-key", OPTION_SSH_KEY},
    {"hardened", OPTION_HARDENED},
};

/* An option that can be given once; NAME without its dashes. */
static int take_single(const struct command *command, const char *name, const char *value,
                       const char **out)
{
    if (*out != NULL)
        return usage_error(command, "--%s is given twice", name);
    *out = value;
    return 0;
}

static int take_default(const struct command *command, int option, const char *value,
                        struct inject_arguments *arguments)
{
    struct chr_defaults *defaults = &arguments->defaults;
    struct inject_lists *lists = &arguments->lists;

    arguments->options.defaults = defaults;
    switch (option) {
    case OPTION_IDENTITY:
        return take_single(command, "identity", value, &defaults->identity);
    case OPTION_PASSWORD:
        return take_single(command, "admin-password-from", value, &defaults->admin_password_from);
    case OPTION_ADDRESS:
        lists->addresses[defaults->address_count++] = value;
        return 0;
    case OPTION_GATEWAY:
        lists->gateways[defaults->gateway_count++] = value;
        return 0;
    case OPTION_DNS:
        lists->dns[defaults->dns_count++] = value;
        return 0;
    case OPTION_SSH_KEY:
        lists->ssh_key_files[defaults->ssh_key_file_count++] = value;
        return 0;
    default:
        defaults->hardened = true;
        return 0;
    }
}

/* "identity=r1" as --identity r1, and "hardened" or "hardened=yes" as --hardened. */
static int take_default_pair(const struct command *command, char *text,
                             struct inject_arguments *arguments)
{
    char *value = strchr(text, '=');

    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < sizeof default_keys / sizeof default_keys[0]; i++) {
        bool flag = default_keys[i].option == OPTION_HARDENED;

        if (strcmp(default_keys[i].key, text) != 0)
            continue;
        if (flag ? value != NULL && strcmp(value, "yes") != 0 : value == NULL)
            return usage_error(command, "--defaults %s wants %s", text,
                               flag ? "no value, or yes" : "a value: KEY=VALUE");
        return take_default(command, default_keys[i].option, value, arguments);
    }
    return usage_error(command, "--defaults has no key %s", text);
}

static int take_list_option(const struct command *command, int option, struct inject_arguments *arguments)
{
    struct chr_inject_options *options = &arguments->options;
    struct inject_lists *lists = &arguments->lists;

    switch (option) {
    case OPTION_FILE:
        return take_put(command, "--file", optarg, false, &lists->files[options->files.count++]);
    case OPTION_PUT:
        return take_put(command, "--put", optarg, true, &lists->root[options->root.count++]);
    case OPTION_BOOT:
        return take_put(command, "--boot", optarg, true, &lists->boot[options->boot.count++]);
    case OPTION_SET:
        return take_pair(command, "--set", optarg, &lists->sets[options->templates.set_count++]);
    default:
        if (optarg[0] != '\0' && optarg[strlen(optarg) - 1] == '=')
            return usage_error(command, "--allow-cmd %s names no program", optarg);
        return take_pair(command, "--allow-cmd", optarg,
                         &lists->allow_cmds[options->templates.allow_cmd_count++]);
    }
}

static int take_option(const struct command *command, int option, void *arguments_)
{
    struct inject_arguments *arguments = arguments_;

    switch (option) {
    case OPTION_APPEND:
        arguments->append = true;
        return 0;
    case OPTION_REPLACE:
        arguments->replace = true;
        return 0;
    case OPTION_RENDER:
        arguments->render = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case 'n':
        arguments->options.dry_run = true;
        return 0;
    case OPTION_MODE:
        return take_mode(command, optarg, arguments);
    case OPTION_LINT:
        return take_lint(command, optarg, &arguments->options.lint);
    case OPTION_DEFAULTS:
        return take_default_pair(command, optarg, arguments);
    case OPTION_FILE:
    case OPTION_PUT:
    case OPTION_BOOT:
    case OPTION_SET:
    case OPTION_ALLOW_CMD:
        return take_list_option(command, option, arguments);
    default:
        return take_default(command, option, optarg, arguments);
    }
}

static bool make_lists(struct inject_lists *lists, size_t count)
{
    lists->sets = calloc(count, sizeof *lists->sets);
    lists->allow_cmds = calloc(count, sizeof *lists->allow_cmds);
    lists->addresses = calloc(count, sizeof *lists->addresses);
    lists->gateways = calloc(count, sizeof *lists->gateways);
    lists->dns = calloc(count, sizeof *lists->dns);
    lists->ssh_key_files = calloc(count, sizeof *lists->ssh_key_files);
    lists->files = calloc(count, sizeof *lists->files);
    lists->root = calloc(count, sizeof *lists->root);
    lists->boot = calloc(count, sizeof *lists->boot);
    return lists->sets != NULL && lists->allow_cmds != NULL && lists->addresses != NULL &&
           lists->gateways != NULL && lists->dns != NULL && lists->ssh_key_files != NULL &&
           lists->files != NULL && lists->root != NULL && lists->boot != NULL;
}

static void free_lists(struct inject_lists *lists)
{
    free(lists->sets);
    free(lists->allow_cmds);
    free(lists->addresses);
    free(lists->gateways);
    free(lists->dns);
    free(lists->ssh_key_files);
    free(lists->files);
    free(lists->root);
    free(lists->boot);
}

static void link_lists(struct inject_arguments *arguments)
{
    struct chr_inject_options *options = &arguments->options;

    options->templates.sets = arguments->lists.sets;
    options->templates.allow_cmds = arguments->lists.allow_cmds;
    options->files.items = arguments->lists.files;
    options->root.items = arguments->lists.root;
    options->boot.items = arguments->lists.boot;
    arguments->defaults.addresses = arguments->lists.addresses;
    arguments->defaults.gateways = arguments->lists.gateways;
    arguments->defaults.dns = arguments->lists.dns;
    arguments->defaults.ssh_key_files = arguments->lists.ssh_key_files;
    options->existing = arguments->append    ? CHR_EXISTING_APPEND
                        : arguments->replace ? CHR_EXISTING_REPLACE
                                             : CHR_EXISTING_REFUSE;
}

static int check_pairs(const struct command *command, const char *option,
                       const struct chr_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++)
            if (strcmp(pairs[i].key, pairs[k].key) == 0)
                return usage_error(command, "%s %s is given twice", option, pairs[i].key);
    return 0;
}

static int check_arguments(const struct command *command, const struct inject_arguments *arguments)
{
    const struct chr_template_options *templates = &arguments->options.templates;

    if (check_pairs(command, "--set", templates->sets, templates->set_count) != 0 ||
        check_pairs(command, "--allow-cmd", templates->allow_cmds, templates->allow_cmd_count) != 0)
        return EXIT_USAGE;
    if (arguments->append && arguments->replace)
        return usage_error(command, "--append and --replace exclude each other");
    if (arguments->options.mode != NULL && arguments->options.root.count == 0)
        return usage_error(command, "--mode goes with --put");
    if (!arguments->render)
        return 0;
    if (arguments->json || arguments->options.dry_run)
        return usage_error(command, "--render prints the script alone, without -n and --json");
    if (arguments->options.files.count + arguments->options.root.count +
            arguments->options.boot.count > 0)
        return usage_error(command, "--render is of the script; it takes no files");
    if (ui_is_terminal())
        return usage_error(command, "--render shows passwords, so not on a terminal: write it to "
                                    "a pipe or a file");
    return 0;
}

/* IMG first, then the scripts; with --render the scripts alone. */
static int take_arguments(const struct command *command, int argc, char **argv,
                          struct inject_arguments *arguments)
{
    if (!arguments->render && optind == argc)
        return usage_error(command, "name the image");
    if (!arguments->render)
        arguments->image = argv[optind++];
    arguments->options.scripts = (const char *const *)(argv + optind);
    arguments->options.script_count = (size_t)(argc - optind);
    return take_source_date(command, &arguments->source_date, &arguments->options.modified);
}

int inject_take_arguments(const struct command *command, int argc, char **argv,
                          struct inject_arguments *arguments, bool *go_on)
{
    int status = EXIT_FAILED;

    *go_on = false;
    if (!make_lists(&arguments->lists, (size_t)argc + 1)) {
        ui_message("out of memory");
        return EXIT_FAILED;
    }
    if (!take_options(command, argc, argv, ":nh", long_options, take_option, arguments, &status))
        return status;
    link_lists(arguments);
    status = check_arguments(command, arguments);
    if (status == 0)
        status = take_arguments(command, argc, argv, arguments);
    *go_on = status == 0;
    return status;
}

void inject_release_arguments(struct inject_arguments *arguments)
{
    free_lists(&arguments->lists);
}
