/* chrimg info --json; the schema is in chrimg(1). */
#include <stdio.h>

#include "info.h"
#include "json.h"

static const char *contents_name(enum chr_contents contents)
{
    static const char *const names[] = {
        [CHR_CONTENTS_UNKNOWN] = "unknown", [CHR_CONTENTS_EMPTY] = "empty",
        [CHR_CONTENTS_EXT] = "ext",         [CHR_CONTENTS_FAT] = "fat",
        [CHR_CONTENTS_KERNEL] = "kernel",
    };

    return names[contents];
}

/* An empty text is no value. */
static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? json_text(text) : json_null();
}

static json_t *chs_value(const uint8_t *chs)
{
    return json_pack("[i, i, i]", chs[1] >> 6 << 8 | chs[2], (int)chs[0], chs[1] & 63);
}

static json_t *mbr_value(const struct chr_report *report)
{
    json_t *entries = json_array();
    char disk_id[9];

    if (!report->has_mbr) {
        json_decref(entries);
        return json_null();
    }
    for (int i = 0; i < 4; i++) {
        const struct chr_mbr_entry *entry = &report->mbr[i];

        if (!entry->used)
            continue;
        (void)json_array_append_new(
            entries, json_pack("{s:i, s:b, s:i, s:I, s:I, s:o, s:o}", "slot", i + 1, "active",
                               entry->active, "type", entry->type, "first_lba",
                               (json_int_t)entry->first_lba, "sectors", (json_int_t)entry->sectors,
                               "first_chs", chs_value(entry->first_chs), "last_chs",
                               chs_value(entry->last_chs)));
    }
    (void)snprintf(disk_id, sizeof disk_id, "%08x", (unsigned)report->disk_id);
    return json_pack("{s:s, s:o}", "disk_id", disk_id, "entries", entries);
}

static json_t *copy_value(const struct chr_gpt_copy *copy)
{
    return json_pack("{s:b, s:b, s:I, s:I, s:o}", "present", copy->present, "sound", copy->sound,
                     "lba", (json_int_t)copy->lba, "expected_lba", (json_int_t)copy->expected_lba,
                     "problem", text_or_null(copy->problem));
}

static json_t *partition_value(const struct chr_partition *p)
{
    json_t *value = json_pack(
        "{s:i, s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:b, s:b}", "number", (int)p->number, "first_lba",
        (json_int_t)p->first_lba, "last_lba", (json_int_t)p->last_lba, "stored_last_lba",
        (json_int_t)p->stored_last_lba, "size",
        (json_int_t)(p->last_lba - p->first_lba + 1) * CHR_SECTOR_SIZE, "in_mbr", p->in_mbr,
        "in_gpt", p->in_gpt, "active", p->active, "boot", p->is_boot, "root", p->is_root);

    (void)json_object_set_new(value, "mbr_type",
                              p->in_mbr ? json_integer(p->mbr_type) : json_null());
    (void)json_object_set_new(value, "type_guid", text_or_null(p->type_guid));
    (void)json_object_set_new(value, "type", text_or_null(p->type_name));
    (void)json_object_set_new(value, "guid", text_or_null(p->guid));
    (void)json_object_set_new(value, "name", text_or_null(p->name));
    (void)json_object_set_new(value, "contents", json_string(contents_name(p->contents)));
    (void)json_object_set_new(value, "filesystem", text_or_null(p->filesystem));
    (void)json_object_set_new(value, "blkid", text_or_null(p->blkid_type));
    (void)json_object_set_new(value, "label", text_or_null(p->label));
    (void)json_object_set_new(value, "uuid", text_or_null(p->uuid));
    (void)json_object_set_new(value, "block_size",
                              p->block_size != 0 ? json_integer(p->block_size) : json_null());
    (void)json_object_set_new(value, "free", p->block_size != 0
                                                 ? json_integer((json_int_t)p->free_bytes)
                                                 : json_null());
    return value;
}

static json_t *partitions_value(const struct chr_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->partition_count; i++)
        (void)json_array_append_new(array, partition_value(&report->partitions[i]));
    return array;
}

static json_t *files_value(const struct chr_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->file_count; i++) {
        const struct chr_file *file = &report->files[i];

        (void)json_array_append_new(
            array, json_pack("{s:o, s:b, s:I, s:o}", "path", json_text(file->path), "folder",
                             file->is_folder, "size", (json_int_t)file->size, "modified",
                             json_time(file->modified)));
    }
    return array;
}

static json_t *packages_value(const struct chr_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->package_count; i++)
        (void)json_array_append_new(
            array, json_pack("{s:o, s:s, s:o}", "name", json_text(report->packages[i].name),
                             "version", report->packages[i].version, "built",
                             json_time(report->packages[i].build_time)));
    return array;
}

static json_t *qcow2_value(const struct chr_report *report)
{
    const struct chr_qcow2_info *info = &report->qcow2;

    if (!report->is_qcow2)
        return json_null();
    return json_pack("{s:i, s:i, s:i, s:s, s:b, s:b, s:o}", "version", (int)info->version,
                     "cluster_size", (int)info->cluster_size, "refcount_bits",
                     (int)info->refcount_bits, "compression", info->compression, "dirty",
                     info->dirty, "corrupt", info->corrupt, "backing_file",
                     text_or_null(info->backing_file));
}

static json_t *snapshots_value(const struct chr_report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->snapshot_count; i++)
        (void)json_array_append_new(array, json_snapshot(&report->snapshots[i]));
    return array;
}

static json_t *loader_value(const struct chr_report *report)
{
    if (!report->has_loader)
        return json_null();
    return json_pack("{s:o, s:I, s:o}", "path", text_or_null(report->loader_path), "size",
                     (json_int_t)report->loader_size, "machine",
                     text_or_null(report->loader_machine));
}

int info_print_json(const char *path, const struct chr_report *report)
{
    json_t *root = json_pack(
        "{s:i, s:o, s:s, s:I, s:I, s:o, s:s}", "schema", 1, "image", json_text(path), "format",
        chr_format_name(report->format), "virtual_size", (json_int_t)report->virtual_size,
        "allocated_size", (json_int_t)report->allocated_size, "version",
        text_or_null(report->version), "architecture", report->architecture);

    if (root == NULL)
        return json_print(NULL);
    (void)json_object_set_new(root, "uefi", json_verdict(&report->uefi));
    (void)json_object_set_new(root, "bios", json_verdict(&report->bios));
    (void)json_object_set_new(root, "qcow2", qcow2_value(report));
    (void)json_object_set_new(root, "snapshots", snapshots_value(report));
    (void)json_object_set_new(root, "mbr", mbr_value(report));
    (void)json_object_set_new(root, "gpt",
                              json_pack("{s:o, s:o, s:o}", "disk_guid",
                                        text_or_null(report->disk_guid), "primary",
                                        copy_value(&report->gpt[0]), "backup",
                                        copy_value(&report->gpt[1])));
    (void)json_object_set_new(root, "partitions", partitions_value(report));
    (void)json_object_set_new(root, "loader", loader_value(report));
    (void)json_object_set_new(root, "files", files_value(report));
    (void)json_object_set_new(root, "packages", packages_value(report));
    (void)json_object_set_new(root, "findings", json_findings(report->findings, report->finding_count));
    return json_print(root);
}
