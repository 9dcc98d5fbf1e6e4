/* Rules of the firewall that leave no way to the router. */
#include <stdio.h>
#include <string.h>

#include "rsc/lockout.h"
#include "rsc/value.h"

struct table {
    const char *menu;
    const char *chain;
};

static const struct table tables[RSC_TABLE_COUNT] = {
    [RSC_FILTER_IPV4] = {"ip firewall filter", "input"},
    [RSC_FILTER_IPV6] = {"ipv6 firewall filter", "input"},
    [RSC_RAW_IPV4] = {"ip firewall raw", "prerouting"},
    [RSC_RAW_IPV6] = {"ipv6 firewall raw", "prerouting"},
};

/* Whether the value of KEY is one of the LIST, which ends with NULL. */
static bool value_is(const struct rsc_script *script, const struct rsc_statement *statement,
                     const char *key, const char *const *list)
{
    char text[64];

    if (!rsc_value_text(script, statement, key, text, sizeof text))
        return false;
    for (; *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

/* Whether KEY, which says to what the rule applies, has a value that all have. */
static bool is_any(const struct rsc_script *script, const struct rsc_statement *statement,
                   const char *key)
{
    static const char *const all[] = {"0.0.0.0/0", "::/0", "", "all", NULL};

    return value_is(script, statement, key, all);
}

/* Whether word I says what is done, or applies to all. */
static bool is_no_condition(const struct rsc_script *script,
                            const struct rsc_statement *statement, size_t i)
{
    static const char *const harmless[] = {"chain", "action", "comment", "disabled", "log",
                                           "log-prefix", "place-before", "reject-with"};
    static const char *const conditions[] = {"src-address", "dst-address", "in-interface",
                                             "in-interface-list", "protocol"};

    for (size_t k = 0; k < sizeof harmless / sizeof harmless[0]; k++)
        if (rsc_word_has_key(statement, i, harmless[k]))
            return true;
    for (size_t k = 0; k < sizeof conditions / sizeof conditions[0]; k++)
        if (rsc_word_has_key(statement, i, conditions[k]))
            return is_any(script, statement, conditions[k]);
    return false;
}

static bool is_for_all(const struct rsc_script *script, const struct rsc_statement *statement)
{
    for (size_t i = statement->arguments; i < statement->count; i++)
        if (!is_no_condition(script, statement, i))
            return false;
    return true;
}

/* Whether it lets somebody in: one for answers, for pings or for the router itself does not. */
static bool lets_in(const struct rsc_script *script, const struct rsc_statement *statement)
{
    static const char *const loopbacks[] = {"lo", "loopback", NULL};
    static const char *const no_logins[] = {"icmp", "icmpv6", "icmp6", "1", "58", NULL};
    char text[64];

    if (rsc_value_text(script, statement, "connection-state", text, sizeof text) &&
        strstr(text, "new") == NULL)
        return false;
    if (rsc_value_text(script, statement, "src-address", text, sizeof text) &&
        (strncmp(text, "127.", 4) == 0 || strncmp(text, "::1", 3) == 0))
        return false;
    return !value_is(script, statement, "in-interface", loopbacks) &&
           !value_is(script, statement, "protocol", no_logins);
}

static bool has_key(const struct rsc_statement *statement, const char *key)
{
    for (size_t i = statement->arguments; i < statement->count; i++)
        if (rsc_word_has_key(statement, i, key))
            return true;
    return false;
}

static void add_rule(struct rsc_rules *rules, const char *own_chain,
                     const struct rsc_script *script, const struct rsc_statement *statement)
{
    static const char *const drops[] = {"drop", "reject", "tarpit", NULL};
    static const char *const passes[] = {"accept", "jump", NULL};
    const char *const chain[] = {own_chain, NULL};

    if (rsc_answer_of(script, statement, "disabled") == RSC_YES ||
        !value_is(script, statement, "chain", chain))
        return;
    if (!has_key(statement, "action") || value_is(script, statement, "action", passes)) {
        if (!lets_in(script, statement))
            return;
        rules->accepted = true;
        if (has_key(statement, "place-before")) /* before the one that drops, it is taken to be */
            rules->dropped = false;
    } else if (value_is(script, statement, "action", drops) && is_for_all(script, statement) &&
               !rules->accepted && !rules->dropped) {
        rules->dropped = true;
        rules->off = statement->words[0].off;
    }
}

/* Rules that were there are taken away, changed or moved: the one that drops, it may be. */
static void change_rules(struct rsc_rules *rules, const struct rsc_statement *statement)
{
    rules->dropped = false;
    for (size_t i = statement->arguments; i < statement->count; i++)
        if (statement->words[i].selection.kind == RSC_SELECT_ALL)
            rules->accepted = false;
}

void rsc_firewall_take(struct rsc_rules rules[RSC_TABLE_COUNT], const struct rsc_script *script,
                       const struct rsc_statement *statement)
{
    static const char *const changes[] = {"remove", "disable", "move"};
    char command[64];

    for (size_t i = 0; i < RSC_TABLE_COUNT; i++) {
        (void)snprintf(command, sizeof command, "%s add", tables[i].menu);
        if (rsc_path_is(statement->path, command))
            add_rule(&rules[i], tables[i].chain, script, statement);
        for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++) {
            (void)snprintf(command, sizeof command, "%s %s", tables[i].menu, changes[k]);
            if (rsc_path_is(statement->path, command))
                change_rules(&rules[i], statement);
        }
        (void)snprintf(command, sizeof command, "%s set", tables[i].menu);
        if (rsc_path_is(statement->path, command) &&
            (has_key(statement, "action") || has_key(statement, "disabled")))
            change_rules(&rules[i], statement);
    }
}

int rsc_firewall_end(const struct rsc_rules rules[RSC_TABLE_COUNT], struct rsc_remarks *remarks,
                     struct chr_error *err)
{
    for (size_t i = 0; i < RSC_TABLE_COUNT; i++)
        if (rules[i].dropped &&
            rsc_remark(remarks, CHR_LINT_WARNING, "input-dropped", rules[i].off, err,
                       "this drops all %s to the router, and no rule before it lets anybody in",
                       i == RSC_FILTER_IPV6 || i == RSC_RAW_IPV6 ? "IPv6" : "IPv4") < 0)
            return -1;
    return 0;
}
