/* Following a script for what it takes away. */
#include "rsc/lockout.h"

#include <stdio.h>
#include <string.h>

#include "rsc/value.h"

/* ---- commands that need no following ---- */

struct danger {
    const char *command;
    const char *id;
    const char *text;
};

static const struct danger dangers[] = {
    {"system reset-configuration", "configuration-reset",
     "this erases the configuration, and what this script did with it"},
    {"system reset", "configuration-reset",
     "this erases the configuration, and what this script did with it"},
    {"system backup load", "configuration-replaced",
     "this replaces the configuration and restarts the router; what follows may not run"},
    {"system reboot", "restart", "this restarts the router; what follows may not run"},
    {"system shutdown", "restart", "this turns the router off; what follows may not run"},
    {"system package update install", "restart",
     "this restarts the router; what follows may not run"},
    {"system package downgrade", "restart", "this restarts the router; what follows may not run"},
};

static int take_danger(const char *path, size_t off, struct rsc_remarks *remarks,
                       struct chr_error *err)
{
    for (size_t i = 0; i < sizeof dangers / sizeof dangers[0]; i++)
        if (rsc_path_is(path, dangers[i].command))
            return rsc_remark(remarks, CHR_LINT_WARNING, dangers[i].id, off, err, "%s",
                              dangers[i].text);
    return 0;
}

/* The words of a command in the string at TEXT, without slashes, one after the other. */
static int take_string(const char *text, size_t len, size_t off, struct rsc_remarks *remarks,
                       struct chr_error *err)
{
    char path[RSC_PATH_MAX] = "";
    size_t used = 0;

    for (size_t i = 0; i < len && strchr("\";\n\\$", text[i]) == NULL; i++) {
        bool between = text[i] == ' ' || text[i] == '/';

        if (between && used > 0 && path[used - 1] != ' ') {
            size_t before = remarks->count;

            path[used] = '\0';
            if (take_danger(path, off, remarks, err) < 0)
                return -1;
            if (remarks->count > before)
                return 0;
            path[used++] = ' ';
        } else if (!between) {
            path[used++] = text[i];
        }
        if (used + 2 > sizeof path)
            return 0;
    }
    path[used] = '\0';
    return take_danger(path, off, remarks, err);
}

/* ":execute", and a command in a string. */
static int take_executed(const struct rsc_statement *statement, struct rsc_remarks *remarks,
                         struct chr_error *err)
{
    const struct rsc_word *first = &statement->words[0];
    const char *word = statement->text + first->off;
    size_t sign = word[0] == ':' || word[0] == '/';

    if (first->len - sign < 3 || first->len - sign > strlen("execute") ||
        strncmp(word + sign, "execute", first->len - sign) != 0)
        return 0;
    for (size_t i = 1; i < statement->count; i++) {
        const struct rsc_word *argument = &statement->words[i];
        size_t begin = argument->has_key ? argument->key_len + 1 : 0;

        if ((!argument->has_key || rsc_word_has_key(statement, i, "script")) &&
            argument->len > begin + 1 && statement->text[argument->off + begin] == '"')
            return take_string(statement->text + argument->off + begin + 1,
                               argument->len - begin - 1, first->off, remarks, err);
    }
    return 0;
}

/* ---- /ip service ---- */

static const char *const service_names[RSC_SERVICE_COUNT] = {
    "ssh", "www", "winbox", "telnet", "api", "api-ssl", "www-ssl"};

static bool any_service(const struct rsc_lockout *lockout)
{
    for (size_t i = 0; i < RSC_SERVICE_COUNT; i++)
        if (lockout->services[i] && !lockout->loopback[i])
            return true;
    return false;
}

/* Whether all of the LIST are addresses of the router to itself. */
static bool is_loopback(const char *list)
{
    for (;;) {
        if (strncmp(list, "127.", 4) != 0 && strcmp(list, "::1") != 0 &&
            strncmp(list, "::1/128", 7) != 0 && strncmp(list, "::1,", 4) != 0)
            return false;
        list = strchr(list, ',');
        if (list == NULL)
            return true;
        list++;
    }
}

/* From where a service can be reached. */
static void take_service_address(struct rsc_lockout *lockout,
                                 const struct rsc_statement *statement)
{
    char addresses[256];

    if (!rsc_path_is(statement->path, "ip service set") ||
        !rsc_value_text(lockout->script, statement, "address", addresses, sizeof addresses))
        return;
    for (size_t i = 0; i < RSC_SERVICE_COUNT; i++)
        if (rsc_targets(lockout->script, statement, service_names[i]))
            lockout->loopback[i] = is_loopback(addresses);
}

static void take_service(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    enum rsc_answer disabled = rsc_path_is(statement->path, "ip service disable") ? RSC_YES
                               : rsc_path_is(statement->path, "ip service enable") ? RSC_NO
                               : rsc_path_is(statement->path, "ip service set")
                                   ? rsc_answer_of(lockout->script, statement, "disabled")
                                   : RSC_UNKNOWN;
    bool before = any_service(lockout);

    take_service_address(lockout, statement);
    for (size_t i = 0; disabled != RSC_UNKNOWN && i < RSC_SERVICE_COUNT; i++)
        if (rsc_targets(lockout->script, statement, service_names[i]))
            lockout->services[i] = disabled == RSC_NO;
    if (before && !any_service(lockout))
        lockout->last_service = statement->words[0].off;
}

/* ---- /user ---- */

static bool any_user(const struct rsc_lockout *lockout)
{
    for (size_t i = 0; i < lockout->user_count; i++)
        if (lockout->users[i].full && !lockout->users[i].disabled)
            return true;
    return lockout->unknown_user;
}

/* The groups that RouterOS has from the start, and that cannot change users: the others may. */
static bool is_lesser_group(const char *group)
{
    return strcmp(group, "read") == 0 || strcmp(group, "write") == 0;
}

static void add_user(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    struct rsc_user user = {.full = true};
    char group[RSC_USER_NAME_MAX];

    if (rsc_value_text(lockout->script, statement, "group", group, sizeof group))
        user.full = !is_lesser_group(group);
    user.disabled = rsc_answer_of(lockout->script, statement, "disabled") == RSC_YES;
    if (!rsc_value_text(lockout->script, statement, "name", user.name, sizeof user.name) ||
        lockout->user_count == RSC_USERS_MAX) {
        lockout->unknown_user = lockout->unknown_user || (user.full && !user.disabled);
        return;
    }
    lockout->users[lockout->user_count++] = user;
}

/* By name or by number: users are numbered as they were added, from 0. */
static bool targets_user(const struct rsc_lockout *lockout, const struct rsc_statement *statement,
                         size_t i)
{
    char number[24];

    (void)snprintf(number, sizeof number, "%zu", i);
    return rsc_targets(lockout->script, statement, lockout->users[i].name) ||
           rsc_names(lockout->script, statement, number);
}

static void remove_users(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    size_t kept = 0;

    for (size_t i = 0; i < lockout->user_count; i++)
        if (!targets_user(lockout, statement, i))
            lockout->users[kept++] = lockout->users[i];
    lockout->user_count = kept;
}

static void change_users(struct rsc_lockout *lockout, const struct rsc_statement *statement,
                         enum rsc_answer disabled)
{
    char group[RSC_USER_NAME_MAX];
    char name[RSC_USER_NAME_MAX];
    bool has_group = rsc_value_text(lockout->script, statement, "group", group, sizeof group);
    bool has_name = rsc_value_text(lockout->script, statement, "name", name, sizeof name);

    for (size_t i = 0; i < lockout->user_count; i++) {
        struct rsc_user *user = &lockout->users[i];

        if (!targets_user(lockout, statement, i))
            continue;
        if (disabled != RSC_UNKNOWN)
            user->disabled = disabled == RSC_YES;
        if (has_group)
            user->full = !is_lesser_group(group);
        if (has_name)
            memcpy(user->name, name, sizeof name);
    }
}

static void take_user(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    bool before = any_user(lockout);

    if (rsc_path_is(statement->path, "user add"))
        add_user(lockout, statement);
    else if (rsc_path_is(statement->path, "user remove"))
        remove_users(lockout, statement);
    else if (rsc_path_is(statement->path, "user disable"))
        change_users(lockout, statement, RSC_YES);
    else if (rsc_path_is(statement->path, "user enable"))
        change_users(lockout, statement, RSC_NO);
    else if (rsc_path_is(statement->path, "user set"))
        change_users(lockout, statement, rsc_answer_of(lockout->script, statement, "disabled"));
    if (before && !any_user(lockout))
        lockout->last_user = statement->words[0].off;
}

/* ---- /interface ---- */

static int take_interface(const struct rsc_lockout *lockout,
                          const struct rsc_statement *statement, struct rsc_remarks *remarks,
                          struct chr_error *err)
{
    bool disable = rsc_path_is(statement->path, "interface disable") ||
                   rsc_path_is(statement->path, "interface ethernet disable");
    bool set = rsc_path_is(statement->path, "interface set") ||
               rsc_path_is(statement->path, "interface ethernet set");

    if (!disable &&
        !(set && rsc_answer_of(lockout->script, statement, "disabled") == RSC_YES))
        return 0;
    for (size_t i = statement->arguments; i < statement->count; i++)
        if (statement->words[i].selection.kind == RSC_SELECT_ALL)
            return rsc_remark(remarks, CHR_LINT_WARNING, "interfaces-disabled",
                              statement->words[0].off, err,
                              "this turns all interfaces off; only the console is left");
    return 0;
}

void rsc_lockout_begin(struct rsc_lockout *lockout, const struct rsc_script *script)
{
    *lockout = (struct rsc_lockout){.script = script, .user_count = 1};
    lockout->users[0] = (struct rsc_user){.name = "admin", .full = true};
    for (size_t i = 0; i < RSC_SERVICE_COUNT; i++)
        lockout->services[i] = strcmp(service_names[i], "www-ssl") != 0;
}

int rsc_lockout_take(struct rsc_lockout *lockout, const struct rsc_statement *statement,
                     struct rsc_remarks *remarks, struct chr_error *err)
{
    if (statement->runs && take_executed(statement, remarks, err) < 0)
        return -1;
    /* Without a word of its own in the path, the statement is in a menu, but no command of it. */
    if (!statement->runs || statement->arguments == 0)
        return 0;
    take_service(lockout, statement);
    take_user(lockout, statement);
    rsc_firewall_take(lockout->rules, lockout->script, statement);
    if (take_interface(lockout, statement, remarks, err) < 0)
        return -1;
    return take_danger(statement->path, statement->words[0].off, remarks, err);
}

int rsc_lockout_end(const struct rsc_lockout *lockout, struct rsc_remarks *remarks,
                    struct chr_error *err)
{
    if (!any_service(lockout) &&
        rsc_remark(remarks, CHR_LINT_WARNING, "services-disabled", lockout->last_service, err,
                   "with this, every service that one can log in to is off or out of reach") < 0)
        return -1;
    if (!any_user(lockout) &&
        rsc_remark(remarks, CHR_LINT_WARNING, "users-removed", lockout->last_user, err,
                   "with this, no user is left who may change the configuration") < 0)
        return -1;
    return rsc_firewall_end(lockout->rules, remarks, err);
}
