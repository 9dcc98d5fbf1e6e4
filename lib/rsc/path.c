/* Paths of menus and commands. */
#include "rsc/path.h"

#include <string.h>

#include "rsc/menus.h"

/* Where a path ends: what many menus know, and single commands that matter here. */
static const char *const verbs[] = {
    "add",      "check-for-updates", "clear",   "comment",  "disable", "downgrade",
    "edit",     "enable",  "export", "find",    "flush",    "get",     "import",
    "install",  "load",    "monitor", "move",   "print",    "reboot",  "release",
    "remove",   "renew",   "reset",  "reset-configuration", "reset-counters", "run",
    "save",     "send",    "set",    "shutdown", "unset",   "upgrade",
};

/*
 * Menus that are called as a command, or like the beginning of one: "/ip add" is
 * /ip address, as /ip has no items that could be added; "/ip set" is /ip settings.
 */
static const char *const menus_like_verbs[] = {
    "ip add", "ip set", "ipv6 add", "ipv6 set", "routing set", "system upgrade",
};

/* The commands of /log are topics: what follows is their message, no menu. */
static const char *const log_verbs[] = {"log debug", "log error", "log info", "log warning"};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool is_verb(const char *word, size_t len)
{
    for (size_t i = 0; i < COUNT(verbs); i++)
        if ((len >= 3 || strlen(verbs[i]) == len) && strncmp(verbs[i], word, len) == 0 &&
            strlen(verbs[i]) >= len)
            return true;
    return false;
}

static bool is_one_of(const char *path, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rsc_path_is(path, paths[i]))
            return true;
    return false;
}

/* Whether PATH, whose last part is WORD, ends in a command. */
static bool ends_in_verb(const char *path, const char *word, size_t len)
{
    if (is_one_of(path, log_verbs, COUNT(log_verbs)))
        return true;
    if (!is_verb(word, len) || is_one_of(path, menus_like_verbs, COUNT(menus_like_verbs)))
        return false;
    /* "/dis" is /disk: there is no /disable. */
    return strchr(path, ' ') != NULL || rsc_name_kind(word, len) != RSC_NAME_MENU;
}

static void append(char *path, const char *word, size_t len)
{
    size_t used = strlen(path);

    if (used + len + 2 > RSC_PATH_MAX)
        return;
    if (used > 0)
        path[used++] = ' ';
    memcpy(path + used, word, len);
    path[used + len] = '\0';
}

void rsc_path_up(char *path)
{
    char *blank = strrchr(path, ' ');

    *(blank != NULL ? blank : path) = '\0';
}

bool rsc_path_add(char *path, const char *word, size_t len)
{
    bool verb = false;

    while (len > 0) {
        const char *slash = memchr(word, '/', len);
        size_t part = slash != NULL ? (size_t)(slash - word) : len;

        if (part == 2 && memcmp(word, "..", 2) == 0)
            rsc_path_up(path);
        else if (part > 0)
            append(path, word, part);
        verb = part > 0 && path[0] != '\0' && ends_in_verb(path, word, part);
        len -= part + (slash != NULL);
        word += part + (slash != NULL);
    }
    return verb;
}

bool rsc_path_is(const char *path, const char *command)
{
    for (;;) {
        size_t given = strcspn(path, " ");
        size_t wanted = strcspn(command, " ");

        if (given > wanted || strncmp(path, command, given) != 0 || (given < wanted && given < 3))
            return false;
        path += given;
        command += wanted;
        if (*path == '\0' || *command == '\0')
            return *path == *command;
        path++;
        command++;
    }
}
