/* Following a script for what it takes away. */
#include "rsc/lockout.h"

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

static int take_danger(const struct rsc_statement *statement, struct rsc_remarks *remarks,
                       struct chr_error *err)
{
    for (size_t i = 0; i < sizeof dangers / sizeof dangers[0]; i++)
        if (rsc_path_is(statement->path, dangers[i].command))
            return rsc_remark(remarks, CHR_LINT_WARNING, dangers[i].id, statement->words[0].off,
                              err, "%s", dangers[i].text);
    return 0;
}

/* ---- /ip service ---- */

static const char *const service_names[RSC_SERVICE_COUNT] = {
    "ssh", "www", "winbox", "telnet", "api", "api-ssl", "www-ssl"};

static bool any_service(const struct rsc_lockout *lockout)
{
    for (size_t i = 0; i < RSC_SERVICE_COUNT; i++)
        if (lockout->services[i])
            return true;
    return false;
}

static void take_service(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    enum rsc_answer disabled = rsc_path_is(statement->path, "ip service disable") ? RSC_YES
                               : rsc_path_is(statement->path, "ip service enable") ? RSC_NO
                               : rsc_path_is(statement->path, "ip service set")
                                   ? rsc_answer_of(lockout->script, statement, "disabled")
                                   : RSC_UNKNOWN;
    bool before = any_service(lockout);

    if (disabled == RSC_UNKNOWN)
        return;
    for (size_t i = 0; i < RSC_SERVICE_COUNT; i++)
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

static void remove_users(struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    size_t kept = 0;

    for (size_t i = 0; i < lockout->user_count; i++)
        if (!rsc_targets(lockout->script, statement, lockout->users[i].name))
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

        if (!rsc_targets(lockout->script, statement, user->name))
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

/* ---- /ip firewall filter ---- */

/* Whether the rule has no property but those that say what is done, not to what. */
static bool is_for_all(const struct rsc_statement *statement)
{
    static const char *const harmless[] = {"chain", "action", "comment", "disabled", "log",
                                           "log-prefix", "place-before", "reject-with"};

    for (size_t i = statement->arguments; i < statement->count; i++) {
        bool known = false;

        for (size_t k = 0; k < sizeof harmless / sizeof harmless[0]; k++)
            known = known || rsc_word_has_key(statement, i, harmless[k]);
        if (!known)
            return false;
    }
    return true;
}

/* Whether new connections pass by it: one for answers alone lets nobody in. */
static bool lets_in(const struct rsc_lockout *lockout, const struct rsc_statement *statement)
{
    char text[64];

    if (rsc_value_text(lockout->script, statement, "connection-state", text, sizeof text) &&
        strstr(text, "new") == NULL)
        return false;
    return !rsc_value_text(lockout->script, statement, "protocol", text, sizeof text) ||
           strncmp(text, "icmp", 4) != 0;
}

static int take_filter(struct rsc_lockout *lockout, const struct rsc_statement *statement,
                       struct rsc_remarks *remarks, struct chr_error *err)
{
    bool v6 = rsc_path_is(statement->path, "ipv6 firewall filter add");
    char chain[32];
    char action[32] = "accept";

    if ((!v6 && !rsc_path_is(statement->path, "ip firewall filter add")) ||
        rsc_answer_of(lockout->script, statement, "disabled") == RSC_YES ||
        !rsc_value_text(lockout->script, statement, "chain", chain, sizeof chain) ||
        strcmp(chain, "input") != 0)
        return 0;
    (void)rsc_value_text(lockout->script, statement, "action", action, sizeof action);
    if (strcmp(action, "accept") == 0 || strcmp(action, "jump") == 0) {
        if (lets_in(lockout, statement))
            lockout->input_accepted[v6] = true;
        return 0;
    }
    if ((strcmp(action, "drop") != 0 && strcmp(action, "reject") != 0 &&
         strcmp(action, "tarpit") != 0) ||
        !is_for_all(statement) || lockout->input_accepted[v6])
        return 0;
    return rsc_remark(remarks, CHR_LINT_WARNING, "input-dropped", statement->words[0].off, err,
                      "this drops all %s to the router, and no rule before it lets anybody in",
                      v6 ? "IPv6" : "IPv4");
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
    /* Without a word of its own in the path, the statement is in a menu, but no command of it. */
    if (!statement->runs || statement->arguments == 0)
        return 0;
    take_service(lockout, statement);
    take_user(lockout, statement);
    if (take_filter(lockout, statement, remarks, err) < 0 ||
        take_interface(lockout, statement, remarks, err) < 0)
        return -1;
    return take_danger(statement, remarks, err);
}

int rsc_lockout_end(const struct rsc_lockout *lockout, struct rsc_remarks *remarks,
                    struct chr_error *err)
{
    if (!any_service(lockout) &&
        rsc_remark(remarks, CHR_LINT_WARNING, "services-disabled", lockout->last_service, err,
                   "with this, every service that one can log in to is off") < 0)
        return -1;
    if (!any_user(lockout) &&
        rsc_remark(remarks, CHR_LINT_WARNING, "users-removed", lockout->last_user, err,
                   "with this, no user is left who may change the configuration") < 0)
        return -1;
    return 0;
}
