/* Names of menus and commands, and which of them was meant. */
#include "rsc/menus.h"

#include <string.h>

static const char *const menus[] = {
    "app",         "caps-man",  "certificate", "console",      "container",  "disk",
    "driver",      "dude",      "environment", "file",         "interface",  "iot",
    "ip",          "ipv6",      "isdn-channels", "kvm",        "lcd",        "log",
    "lora",        "metarouter", "mpls",       "openflow",     "partitions", "port",
    "ppp",         "queue",     "quickset",    "radius",       "routing",    "snmp",
    "special-login", "store",   "system",      "task",         "tool",       "tr069-client",
    "user",        "user-manager", "virtual-network", "xen",   "zerotier",
};

static const char *const commands[] = {
    /* of the top level */
    "beep", "blink", "export", "import", "password", "ping", "quit", "redo", "safe-mode",
    "setup", "traceroute", "undo",
    /* of the language */
    "break", "continue", "convert", "delay", "deserialize", "do", "error", "execute", "exit",
    "find", "for", "foreach", "global", "grep", "if", "jobname", "len", "local", "nothing",
    "onerror", "parse", "pick", "put", "range", "resolve", "retry", "return", "rndnum", "rndstr",
    "serialize", "set", "terminal", "time", "timestamp", "toarray", "tobool", "tocrlf", "toid",
    "toip", "toip6", "tolf", "tonsec", "tonum", "tostr", "totime", "typeof", "while",
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Longer words are no misspelt names. */
#define NAME_MAX_LENGTH 24

static bool is_in(const char *const *names, size_t count, const char *word, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
            return true;
    return false;
}

enum rsc_name_kind rsc_name_kind(const char *word, size_t len)
{
    size_t beginnings = 0;

    if (is_in(menus, COUNT(menus), word, len))
        return RSC_NAME_MENU;
    if (is_in(commands, COUNT(commands), word, len))
        return RSC_NAME_COMMAND;
    for (size_t i = 0; i < COUNT(menus); i++)
        beginnings += len > 0 && strncmp(menus[i], word, len) == 0;
    return beginnings == 1 ? RSC_NAME_MENU : RSC_NAME_UNKNOWN;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * How many letters must be put in, taken out, changed or swapped with their
 * neighbour (optimal string alignment distance).  Both are NAME_MAX_LENGTH at most.
 */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[NAME_MAX_LENGTH + 1][NAME_MAX_LENGTH + 1];

    for (size_t i = 0; i <= a_len; i++)
        rows[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            rows[i][j] = least(change, 1 + least(rows[i - 1][j], rows[i][j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                rows[i][j] = least(rows[i][j], rows[i - 2][j - 2] + 1);
        }
    return rows[a_len][b_len];
}

static void look_through(const char *const *names, size_t count, const char *word, size_t len,
                         const char **nearest, size_t *smallest)
{
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strlen(names[i]);
        size_t steps = distance(word, len, names[i], name_len);
        /* The first letter is the one that is seldom wrong. */
        size_t score = 2 * steps + (word[0] != names[i][0]);

        /* Of a short name, two changed letters leave too little. */
        if (score < *smallest && steps <= name_len / 2) {
            *smallest = score;
            *nearest = names[i];
        }
    }
}

const char *rsc_nearest_name(const char *word, size_t len)
{
    const char *nearest = NULL;
    size_t smallest = 2 * 2 + 2; /* two steps at most */

    if (len == 0 || len > NAME_MAX_LENGTH)
        return NULL;
    look_through(menus, COUNT(menus), word, len, &nearest, &smallest);
    look_through(commands, COUNT(commands), word, len, &nearest, &smallest);
    return nearest;
}
