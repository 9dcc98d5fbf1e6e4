/*
 * QEMU's options and the argument vector.
 *
 * In the value of most options commas separate properties, and a comma within a
 * value is written twice (docs/system/invocation.rst).
 */
#include "vm/argv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static struct vm_option *new_option(struct argv_list *list, const char *name)
{
    struct chr_error ignored;

    if (list->failed || mem_grow(&list->items, &list->capacity, list->count,
                                 sizeof *list->items, &ignored) < 0) {
        list->failed = true;
        return NULL;
    }
    list->items[list->count] = (struct vm_option){.name = name};
    return &list->items[list->count++];
}

/* The option of a list has few properties: grown one by one. VALUE is taken over. */
static void add_property(struct argv_list *list, const char *key, char *value)
{
    struct vm_option *option = list->count > 0 ? &list->items[list->count - 1] : NULL;
    struct vm_property *grown;
    char *own_key = strdup(key);

    if (list->failed || option == NULL || value == NULL || own_key == NULL)
        goto failed;
    grown = realloc(option->properties, (option->count + 1) * sizeof *grown);
    if (grown == NULL)
        goto failed;
    option->properties = grown;
    grown[option->count++] = (struct vm_property){.key = own_key, .value = value};
    return;
failed:
    free(own_key);
    free(value);
    list->failed = true;
}

void argv_flag(struct argv_list *list, const char *name)
{
    (void)new_option(list, name);
}

void argv_raw(struct argv_list *list, const char *name, const char *value)
{
    struct vm_option *option = new_option(list, name);

    if (option == NULL)
        return;
    option->raw = true;
    option->implied_key = true;
    add_property(list, "", strdup(value));
}

void argv_option(struct argv_list *list, const char *name, const char *key, const char *value)
{
    struct vm_option *option = new_option(list, name);

    if (option == NULL)
        return;
    option->implied_key = true;
    add_property(list, key, strdup(value));
}

void argv_keyed_option(struct argv_list *list, const char *name)
{
    (void)new_option(list, name);
}

void argv_property(struct argv_list *list, const char *key, const char *format, ...)
{
    char *value = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&value, format, args) < 0)
        value = NULL;
    va_end(args);
    add_property(list, key, value);
}

static void add_agent(struct argv_list *list, const char *socket)
{
    argv_option(list, "chardev", "backend", "socket");
    argv_property(list, "id", "agent0");
    argv_property(list, "path", "%s", socket);
    argv_property(list, "server", "on");
    argv_property(list, "wait", "off");
    argv_option(list, "device", "driver", "virtio-serial-pci");
    argv_option(list, "device", "driver", "virtserialport");
    argv_property(list, "chardev", "agent0");
    argv_property(list, "name", "org.qemu.guest_agent.0");
}

void argv_add_accel(struct argv_list *list, enum chr_accel accel, const char *cpu,
                    const char *agent_socket)
{
    argv_option(list, "accel", "accel",
                accel == CHR_ACCEL_KVM ? "kvm" : accel == CHR_ACCEL_HVF ? "hvf" : "tcg");
    /* Without a size, QEMU takes up to a quarter of the host's memory for translated code. */
    if (accel == CHR_ACCEL_TCG)
        argv_property(list, "tb-size", "256");
    argv_raw(list, "cpu", cpu);
    /* RouterOS starts its agent under KVM only. */
    if (accel == CHR_ACCEL_KVM && agent_socket != NULL)
        add_agent(list, agent_socket);
}

static void add_doubling_commas(struct text *text, const char *value)
{
    const char *comma;

    while ((comma = strchr(value, ',')) != NULL) {
        text_add_bytes(text, value, (size_t)(comma - value));
        text_add_bytes(text, ",,", 2);
        value = comma + 1;
    }
    text_add_bytes(text, value, strlen(value));
}

void argv_add_value(struct text *text, const struct vm_option *option)
{
    for (size_t i = 0; i < option->count; i++) {
        const struct vm_property *property = &option->properties[i];

        if (option->raw) {
            text_add_bytes(text, property->value, strlen(property->value));
            continue;
        }
        if (i > 0)
            text_add_bytes(text, ",", 1);
        if (i > 0 || !option->implied_key)
            text_add(text, "%s=", property->key);
        add_doubling_commas(text, property->value);
    }
}

static int fill_argv(const char *binary, const struct argv_list *list, char **argv,
                     struct chr_error *err)
{
    if ((*argv++ = mem_strdup(binary, err)) == NULL)
        return -1;
    for (size_t i = 0; i < list->count; i++) {
        const struct vm_option *option = &list->items[i];
        AUTO_TEXT struct text value = {0};

        if ((*argv++ = text_new(err, "-%s", option->name)) == NULL)
            return -1;
        if (option->count == 0)
            continue;
        argv_add_value(&value, option);
        if (text_take(&value, argv++, err) < 0)
            return -1;
    }
    return 0;
}

int argv_make(const char *binary, const struct argv_list *list, char ***argv, struct chr_error *err)
{
    *argv = NULL;
    if (list->failed)
        return err_set(err, CHR_E_MEMORY, "out of memory for QEMU's arguments");
    *argv = mem_new(2 + 2 * list->count, sizeof **argv, err);
    return *argv != NULL ? fill_argv(binary, list, *argv, err) : -1;
}

void argv_free(char **argv)
{
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++)
        free(argv[i]);
    free(argv);
}

int argv_take(struct argv_list *list, struct vm_plan *plan, struct chr_error *err)
{
    int result = argv_make(plan->binary, list, &plan->argv, err);

    while (plan->argv != NULL && plan->argv[plan->argc] != NULL)
        plan->argc++;
    plan->option_count = list->count;
    plan->options = STEAL(list->items);
    list->count = list->capacity = 0;
    return result;
}

void argv_free_options(struct vm_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < options[i].count; j++) {
            free(options[i].properties[j].key);
            free(options[i].properties[j].value);
        }
        free(options[i].properties);
    }
    free(options);
}

void argv_release(struct argv_list *list)
{
    argv_free_options(list->items, list->count);
    *list = (struct argv_list){0};
}
