/*
 * A plan as INI for QEMU's -readconfig (util/qemu-config.c of QEMU):
 *
 *   [group "id"]
 *     key = "value"
 *
 * A value has no quote, no newline, and at most 1023 bytes; an option with another
 * one stays an argument, as do pflash units, -accel, -cpu, forwards (one key many
 * times) and everything that is no list of properties.
 */
#include <string.h>

#include "base/cleanup.h"
#include "vm/emit_parts.h"

#define VALUE_MAX 1023

/* Groups are named as QEMU's lists of options, not as the options. */
static const char *group_of(const struct vm_option *option)
{
    static const char *const groups[][2] = {
        {"machine", "machine"}, {"m", "memory"},     {"smp", "smp-opts"}, {"name", "name"},
        {"drive", "drive"},     {"device", "device"}, {"netdev", "netdev"}, {"object", "object"},
        {"chardev", "chardev"}, {"mon", "mon"},
    };

    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (strcmp(option->name, groups[i][0]) == 0)
            return groups[i][1];
    return NULL;
}

static bool has_property(const struct vm_option *option, const char *key, const char *value)
{
    const char *found = option_property(option, key);

    return found != NULL && strcmp(found, value) == 0;
}

static bool fits(const struct vm_option *option)
{
    if (option->raw || option->count == 0 || group_of(option) == NULL ||
        has_property(option, "if", "pflash") ||
        (strcmp(option->name, "netdev") == 0 && has_property(option, "type", "user")))
        return false;
    for (size_t i = 0; i < option->count; i++)
        if (strpbrk(option->properties[i].value, "\"\n\r") != NULL ||
            strlen(option->properties[i].value) > VALUE_MAX)
            return false;
    return true;
}

static void add_section(struct text *text, const struct vm_option *option)
{
    const char *id = option_property(option, "id");

    if (id != NULL)
        text_add(text, "\n[%s \"%s\"]\n", group_of(option), id);
    else
        text_add(text, "\n[%s]\n", group_of(option));
    for (size_t i = 0; i < option->count; i++)
        if (strcmp(option->properties[i].key, "id") != 0)
            text_add(text, "  %s = \"%s\"\n", option->properties[i].key,
                     option->properties[i].value);
}

int vm_emit_readconfig(const struct vm_host *host, const struct vm_plan *plan, const char *file,
                       char **ini, char **text, struct chr_error *err)
{
    AUTO_TEXT struct text sections = {0};
    AUTO_TEXT struct text line = {0};
    /* Borrowed from the plan: only the array is ours. */
    AUTO_FREE struct vm_option *rest = mem_new(plan->option_count, sizeof *rest, err);
    size_t rest_count = 0;

    if (rest == NULL)
        return -1;
    text_add(&sections, "# The router %s for QEMU's -readconfig; made by chrimg %s.\n", plan->name,
             CHR_VERSION);
    for (size_t i = 0; i < plan->option_count; i++) {
        if (fits(&plan->options[i]))
            add_section(&sections, &plan->options[i]);
        else
            rest[rest_count++] = plan->options[i];
    }
    emit_readconfig_line(&line, host, plan, file, rest, rest_count);
    if (text_take(&sections, ini, err) < 0)
        return -1;
    if (text_take(&line, text, err) == 0)
        return 0;
    free(STEAL(*ini));
    return -1;
}
