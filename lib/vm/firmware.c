/*
 * Firmware descriptors, read and ordered; QEMU docs/interop/firmware.json:
 *
 *   interface-types  array; "uefi" is what we want
 *   mapping.device   "flash": executable.{filename,format}, nvram-template.{...},
 *                            mode "split" (default), "combined", "stateless"
 *                    "memory": filename
 *   targets[]        architecture, machines[] (globs of machine types)
 *   features[]       "secure-boot", "enrolled-keys", "requires-smm", ...
 *
 * A descriptor comes from the host's administrator, but it is parsed as any other
 * input: sizes and counts have limits, types are checked.
 */
#include "vm/firmware.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

static void release_json(json_t **value)
{
    json_decref(*value);
}

#define AUTO_JSON CLEANUP(release_json)

static int damaged(struct chr_error *err, const char *what)
{
    return err_set(err, CHR_E_DAMAGED, "%s", what);
}

/* A string that fits, is absolute where it is a path, and has no NUL in it (jansson sees to that). */
static bool copy_text(const json_t *value, char *out, size_t size)
{
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);

    if (text == NULL || length == 0 || length >= size)
        return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool array_has(const json_t *array, const char *wanted)
{
    size_t i;
    json_t *item;

    json_array_foreach(array, i, item)
        if (json_is_string(item) && strcmp(json_string_value(item), wanted) == 0)
            return true;
    return false;
}

/* {"filename": ..., "format": ...} */
static int parse_file(const json_t *file, char *path, bool *is_qcow2, struct chr_error *err)
{
    const char *format;

    if (!copy_text(json_object_get(file, "filename"), path, VM_PATH_SIZE) || path[0] != '/')
        return damaged(err, "a file name is missing, too long or not absolute");
    format = json_string_value(json_object_get(file, "format"));
    if (format == NULL || (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0))
        return damaged(err, "a file's format is neither raw nor qcow2");
    *is_qcow2 = strcmp(format, "qcow2") == 0;
    return 0;
}

static int parse_flash(const json_t *mapping, struct vm_firmware *firmware, struct chr_error *err)
{
    const json_t *mode_value = json_object_get(mapping, "mode");
    const char *mode = mode_value != NULL ? json_string_value(mode_value) : "split";

    if (mode == NULL)
        return damaged(err, "mapping.mode is no string");
    if (strcmp(mode, "split") == 0)
        firmware->mode = VM_FIRMWARE_SPLIT;
    else if (strcmp(mode, "combined") == 0)
        firmware->mode = VM_FIRMWARE_COMBINED;
    else if (strcmp(mode, "stateless") == 0)
        firmware->mode = VM_FIRMWARE_STATELESS;
    else
        return damaged(err, "mapping.mode is unknown");
    if (parse_file(json_object_get(mapping, "executable"), firmware->code,
                   &firmware->code_is_qcow2, err) < 0)
        return err_context(err, "mapping.executable");
    if (firmware->mode == VM_FIRMWARE_SPLIT &&
        parse_file(json_object_get(mapping, "nvram-template"), firmware->vars,
                   &firmware->vars_is_qcow2, err) < 0)
        return err_context(err, "mapping.nvram-template");
    return 0;
}

/* 1: a mapping that we use; 0: one that we do not; -1: none at all. */
static int parse_mapping(const json_t *mapping, struct vm_firmware *firmware,
                         struct chr_error *err)
{
    const char *device = json_string_value(json_object_get(mapping, "device"));

    if (device == NULL)
        return damaged(err, "mapping.device is missing");
    if (strcmp(device, "flash") == 0)
        return parse_flash(mapping, firmware, err) < 0 ? -1 : 1;
    if (strcmp(device, "memory") != 0)
        return 0;
    firmware->mode = VM_FIRMWARE_MEMORY;
    if (!copy_text(json_object_get(mapping, "filename"), firmware->code, VM_PATH_SIZE) ||
        firmware->code[0] != '/')
        return damaged(err, "mapping.filename is missing, too long or not absolute");
    return 1;
}

/* 1: a target of an architecture that we know. */
static int parse_target(const json_t *target, struct vm_firmware *firmware, struct chr_error *err)
{
    const char *arch = json_string_value(json_object_get(target, "architecture"));
    const json_t *machines = json_object_get(target, "machines");
    json_t *machine;
    size_t i;

    if (arch == NULL || !json_is_array(machines))
        return damaged(err, "a target lacks architecture or machines");
    if (strcmp(arch, "x86_64") != 0 && strcmp(arch, "aarch64") != 0)
        return 0;
    (void)snprintf(firmware->arch, sizeof firmware->arch, "%s", arch);
    firmware->machine_count = 0;
    json_array_foreach(machines, i, machine) {
        if (firmware->machine_count == VM_MACHINES_MAX)
            return damaged(err, "a target names too many machines");
        if (!copy_text(machine, firmware->machines[firmware->machine_count],
                       sizeof firmware->machines[0]))
            return damaged(err, "a machine is no string, or too long");
        firmware->machine_count++;
    }
    return firmware->machine_count > 0;
}

static int add(struct vm_firmwares *list, const struct vm_firmware *firmware,
               struct chr_error *err)
{
    if (mem_grow(&list->items, &list->capacity, list->count, sizeof *list->items, err) < 0)
        return -1;
    list->items[list->count++] = *firmware;
    return 0;
}

static int parse_targets(const json_t *targets, struct vm_firmware *firmware,
                         struct vm_firmwares *list, struct chr_error *err)
{
    json_t *target;
    size_t i;

    if (json_array_size(targets) > VM_MACHINES_MAX)
        return damaged(err, "too many targets");
    json_array_foreach(targets, i, target) {
        int known = parse_target(target, firmware, err);

        if (known < 0 || (known > 0 && add(list, firmware, err) < 0))
            return -1;
    }
    return 0;
}

static int parse_descriptor(const json_t *root, struct vm_firmware *firmware,
                            struct vm_firmwares *list, struct chr_error *err)
{
    const json_t *interfaces = json_object_get(root, "interface-types");
    const json_t *features = json_object_get(root, "features");
    const json_t *targets = json_object_get(root, "targets");
    int usable;

    if (!json_is_array(interfaces) || !json_is_array(features) || !json_is_array(targets))
        return damaged(err, "interface-types, features or targets is no array");
    if (!array_has(interfaces, "uefi"))
        return 0;
    usable = parse_mapping(json_object_get(root, "mapping"), firmware, err);
    if (usable <= 0)
        return usable;
    firmware->secure_boot = array_has(features, "secure-boot");
    firmware->enrolled_keys = array_has(features, "enrolled-keys");
    firmware->requires_smm = array_has(features, "requires-smm");
    return parse_targets(targets, firmware, list, err);
}

int vm_firmware_parse(const char *text, size_t length, const char *source,
                      struct vm_firmwares *list, struct chr_error *err)
{
    AUTO_JSON json_t *root = NULL;
    AUTO_FREE struct vm_firmware *firmware = mem_new(1, sizeof *firmware, err);
    size_t before = list->count;
    json_error_t where;

    if (firmware == NULL)
        return -1;
    if (length > VM_DESCRIPTOR_SIZE_MAX)
        return err_set(err, CHR_E_DAMAGED, "%s: larger than %d bytes, which no firmware descriptor is",
                       source, VM_DESCRIPTOR_SIZE_MAX);
    root = json_loadb(text, length, 0, &where);
    if (root == NULL)
        return err_set(err, CHR_E_DAMAGED, "%s: line %d: %s", source, where.line, where.text);
    (void)snprintf(firmware->source, sizeof firmware->source, "%s", source);
    if (parse_descriptor(root, firmware, list, err) < 0) {
        list->count = before;
        return err_context(err, "%s", source);
    }
    return 0;
}
