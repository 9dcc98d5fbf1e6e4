/* chr_inspect(): everything there is to say about an image, as plain values. */
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "fs/npk.h"
#include "fs/probe.h"
#include "op/analysis.h"
#include "op/image.h"
#include "qcow2/qcow2.h"

#define PACKAGE_FOLDER "var/pdb"
#define PACKAGE_FILE "image"
/* The package that is RouterOS itself. */
#define SYSTEM_PACKAGE "system"

/* The report and what its pointers point into. */
struct inspection {
    struct chr_report report; /* first: chr_report_free() gets its address */
    struct analysis *analysis;
    size_t package_capacity;
    struct findings findings;
};

void chr_report_free(struct chr_report *report)
{
    struct inspection *in = (struct inspection *)report;

    if (in == NULL)
        return;
    analysis_free(&in->analysis);
    findings_release(&in->findings);
    free(report->partitions);
    free(report->files);
    free(report->packages);
    free(report->snapshots);
    free(in);
}

static void inspection_cleanup(struct inspection **in)
{
    chr_report_free((struct chr_report *)*in);
}

/* ---- tables ---- */

static void report_mbr(struct inspection *in)
{
    const struct table *table = in->analysis->table;

    in->report.has_mbr = table->has_mbr;
    in->report.disk_id = table->mbr.disk_id;
    for (int i = 0; i < MBR_ENTRIES; i++) {
        const struct mbr_entry *entry = &table->mbr.entries[i];
        struct chr_mbr_entry *out = &in->report.mbr[i];

        out->used = !mbr_entry_empty(entry);
        out->active = entry->status == MBR_STATUS_ACTIVE;
        out->type = entry->type;
        out->first_lba = entry->first_lba;
        out->sectors = entry->sectors;
        memcpy(out->first_chs, entry->first_chs, sizeof out->first_chs);
        memcpy(out->last_chs, entry->last_chs, sizeof out->last_chs);
    }
}

static void report_copy(const struct gpt_copy *copy, uint64_t expected, struct chr_gpt_copy *out)
{
    out->present = copy->present;
    out->sound = copy->sound;
    out->lba = copy->lba;
    out->expected_lba = expected;
    (void)snprintf(out->problem, sizeof out->problem, "%s", copy->problem);
}

static const char *type_name(const uint8_t *type)
{
    return memcmp(type, gpt_type_esp, GPT_GUID_SIZE) == 0     ? "EFI system"
           : memcmp(type, gpt_type_linux, GPT_GUID_SIZE) == 0 ? "Linux"
                                                              : "other";
}

static void report_table_entry(const struct inspection *in, const struct partition *p,
                               struct chr_partition *out)
{
    const struct table *table = in->analysis->table;
    const struct gpt *gpt = table_gpt(table);

    out->number = p->number;
    out->first_lba = p->first_lba;
    out->last_lba = p->last_lba;
    out->stored_last_lba = p->stored_last_lba;
    out->in_mbr = p->mbr_slot >= 0;
    out->in_gpt = p->gpt_slot >= 0;
    out->is_boot = p == in->analysis->boot;
    if (out->in_mbr) {
        out->mbr_type = table->mbr.entries[p->mbr_slot].type;
        out->active = table->mbr.entries[p->mbr_slot].status == MBR_STATUS_ACTIVE;
    }
    if (out->in_gpt && gpt != NULL) {
        const struct gpt_entry *entry = &gpt->entries[p->gpt_slot];

        gpt_guid_text(entry->type, out->type_guid);
        gpt_guid_text(entry->guid, out->guid);
        (void)snprintf(out->type_name, sizeof out->type_name, "%s", type_name(entry->type));
        (void)snprintf(out->name, sizeof out->name, "%s", entry->name);
    }
}

/* ---- contents ---- */

static void uuid_text(const uint8_t *u, char *out)
{
    for (int i = 0; i < 16; i++)
        out += sprintf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static void report_ext(const struct ext_super *super, struct chr_partition *out)
{
    (void)snprintf(out->filesystem, sizeof out->filesystem, "%s", ext_super_kind(super));
    (void)snprintf(out->label, sizeof out->label, "%s", super->label);
    uuid_text(super->uuid, out->uuid);
    out->block_size = super->block_size;
    out->free_bytes = super->free_blocks * super->block_size;
}

static void report_fat(const struct fat_info *fat, struct chr_partition *out)
{
    (void)snprintf(out->filesystem, sizeof out->filesystem, "FAT%u", fat->bits);
    (void)snprintf(out->label, sizeof out->label, "%s", fat->label);
    (void)snprintf(out->uuid, sizeof out->uuid, "%04" PRIX32 "-%04" PRIX32, fat->serial >> 16,
                   fat->serial & 0xFFFF);
    out->block_size = fat->cluster_size;
    out->free_bytes = (uint64_t)fat->free_clusters * fat->cluster_size;
}

/* The packages below var/pdb of an ext file system; a root without it has none. */
static int report_packages(struct inspection *in, struct ext *ext, struct blk *window,
                           struct chr_error *err);

static int read_ext_partition(struct inspection *in, struct blk *window, struct chr_partition *out,
                              struct chr_error *err)
{
    AUTO_EXT struct ext *ext = NULL;
    size_t packages = in->report.package_count;
    struct chr_error problem;

    if (ext_open(window, &ext, &problem) < 0) {
        if (problem.code == CHR_E_IO || problem.code == CHR_E_MEMORY) {
            *err = problem;
            return -1;
        }
        return findings_add(&in->findings, CHR_DAMAGE, "ext-unreadable", err, "partition %u: %.200s",
                            out->number, problem.message);
    }
    report_ext(ext_get_super(ext), out);
    if (ext_get_super(ext)->needs_recovery &&
        findings_add(&in->findings, CHR_NOTE, "ext-needs-recovery", err,
                     "partition %u: its journal holds changes that are not in place yet",
                     out->number) < 0)
        return -1;
    if (ext_get_super(ext)->has_errors &&
        findings_add(&in->findings, CHR_WARNING, "ext-has-errors", err,
                     "partition %u: the kernel has marked it as having errors", out->number) < 0)
        return -1;
    if (report_packages(in, ext, window, err) < 0)
        return -1;
    out->is_root = in->report.package_count > packages;
    return 0;
}

static int read_fat_partition(struct inspection *in, struct blk *window, struct chr_partition *out,
                              struct chr_error *err)
{
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info fat;
    struct chr_error problem;

    if (out->is_boot && in->analysis->readable) {
        report_fat(&in->analysis->fat, out);
        return 0;
    }
    if (fat_read(window, &fat, &tree, &problem) == 0) {
        report_fat(&fat, out);
        return 0;
    }
    return out->is_boot ? 0 /* said once already, of the boot partition */
                        : findings_add(&in->findings, CHR_DAMAGE, "fat-unreadable", err,
                                       "partition %u: %.200s", out->number, problem.message);
}

/* libblkid's word for what we take a file system to be. */
static const char *blkid_name(const struct chr_partition *partition)
{
    return partition->contents == CHR_CONTENTS_FAT ? "vfat"
           : partition->contents == CHR_CONTENTS_EXT ? partition->filesystem
                                                     : "";
}

static int compare_with_blkid(struct inspection *in, struct blk *window, struct chr_partition *out,
                              struct chr_error *err)
{
    if (probe_blkid(window, out->blkid_type, err) < 0)
        return -1;
    if (strcmp(out->blkid_type, blkid_name(out)) == 0)
        return 0;
    return findings_add(&in->findings, CHR_WARNING, "blkid-differs", err,
                        "partition %u: chrimg finds %s, libblkid finds %s", out->number,
                        blkid_name(out)[0] != '\0' ? blkid_name(out) : "no file system",
                        out->blkid_type[0] != '\0' ? out->blkid_type : "nothing");
}

static int report_partition(struct inspection *in, const struct partition *p,
                            struct chr_partition *out, struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;
    int result = 0;

    report_table_entry(in, p, out);
    if (partition_window(in->analysis->disk, p, &window, err) < 0 ||
        probe_contents(window, &out->contents, err) < 0)
        return -1;
    if (out->is_boot)
        out->contents = in->analysis->contents;
    if (out->contents == CHR_CONTENTS_EXT)
        result = read_ext_partition(in, window, out, err);
    else if (out->contents == CHR_CONTENTS_FAT)
        result = read_fat_partition(in, window, out, err);
    return result < 0 ? -1 : compare_with_blkid(in, window, out, err);
}

static int report_partitions(struct inspection *in, struct chr_error *err)
{
    const struct table *table = in->analysis->table;

    in->report.partitions = mem_new(table->partition_count, sizeof *in->report.partitions, err);
    if (in->report.partitions == NULL)
        return -1;
    for (size_t i = 0; i < table->partition_count; i++) {
        in->report.partition_count = i + 1;
        if (report_partition(in, &table->partitions[i], &in->report.partitions[i], err) < 0)
            return err_context(err, "partition %u", table->partitions[i].number);
    }
    return 0;
}

/* ---- packages ---- */

static int add_package(struct inspection *in, const struct npk *npk, const char *folder,
                       struct chr_error *err)
{
    struct chr_report *report = &in->report;
    struct chr_package *package;

    if (mem_grow(&report->packages, &in->package_capacity, report->package_count,
                 sizeof *report->packages, err) < 0)
        return -1;
    package = &report->packages[report->package_count++];
    *package = (struct chr_package){.build_time = npk->build_time};
    (void)snprintf(package->name, sizeof package->name, "%s", npk->name);
    (void)snprintf(package->version, sizeof package->version, "%s", npk->version);
    if (strcmp(folder, SYSTEM_PACKAGE) == 0 || report->version[0] == '\0')
        (void)snprintf(report->version, sizeof report->version, "%s", npk->version);
    return 0;
}

static int report_package(struct inspection *in, struct ext *ext, struct blk *window,
                          const char *folder, struct chr_error *err)
{
    AUTO_TREE struct file_tree tree = {0};
    char path[CHR_NAME_SIZE * 4];
    uint8_t head[NPK_HEAD_SIZE];
    const struct file_node *image;
    struct chr_error problem;
    struct npk npk;

    (void)snprintf(path, sizeof path, PACKAGE_FOLDER "/%s", folder);
    if (ext_read_tree(ext, path, false, &tree, err) < 0)
        return -1;
    image = file_tree_find(&tree, PACKAGE_FILE);
    if (image == NULL || image->kind != FILE_REGULAR || image->size == 0)
        return 0;
    if (file_read(window, image, 0, head, sizeof head, err) < 0)
        return -1;
    if (npk_decode(head, (size_t)min_u64(sizeof head, image->size), &npk, &problem) < 0)
        return findings_add(&in->findings, CHR_WARNING, "package-unreadable", err, "/%s/%s: %.150s",
                            path, PACKAGE_FILE, problem.message);
    return add_package(in, &npk, folder, err);
}

static int report_packages(struct inspection *in, struct ext *ext, struct blk *window,
                           struct chr_error *err)
{
    AUTO_TREE struct file_tree tree = {0};
    struct chr_error problem;
    int result = ext_read_tree(ext, PACKAGE_FOLDER, false, &tree, &problem);

    for (size_t i = 1; result == 0 && i < tree.count; i++)
        if (tree.nodes[i].kind == FILE_FOLDER)
            result = report_package(in, ext, window, tree.nodes[i].name, &problem);
    if (result == 0 || problem.code == CHR_E_MISSING)
        return 0;
    if (problem.code == CHR_E_IO || problem.code == CHR_E_MEMORY) {
        *err = problem;
        return -1;
    }
    return findings_add(&in->findings, CHR_DAMAGE, "ext-damaged", err, "packages: %.200s",
                        problem.message);
}

/* ---- the boot partition ---- */

static int report_files(struct inspection *in, struct chr_error *err)
{
    const struct analysis *a = in->analysis;

    if (!a->readable || a->contents == CHR_CONTENTS_KERNEL)
        return 0;
    in->report.files = mem_new(a->tree.count, sizeof *in->report.files, err);
    if (in->report.files == NULL)
        return -1;
    for (size_t i = 1; i < a->tree.count; i++)
        in->report.files[in->report.file_count++] = (struct chr_file){
            .path = a->tree.nodes[i].path,
            .is_folder = a->tree.nodes[i].kind == FILE_FOLDER,
            .size = a->tree.nodes[i].kind == FILE_FOLDER ? 0 : a->tree.nodes[i].size,
            .modified = a->tree.nodes[i].modified,
        };
    return 0;
}

static void report_loader(struct inspection *in)
{
    const struct analysis *a = in->analysis;
    struct chr_report *report = &in->report;

    (void)snprintf(report->architecture, sizeof report->architecture, "%s",
                   a->loader_sound ? kernel_machine_name(a->kernel.machine) : "unknown");
    report->has_loader = a->loader != NULL;
    if (a->loader == NULL)
        return;
    report->loader_size = a->loader->size;
    if (a->contents != CHR_CONTENTS_KERNEL)
        (void)snprintf(report->loader_path, sizeof report->loader_path, "%s", a->loader->path);
    if (a->loader_sound)
        (void)snprintf(report->loader_machine, sizeof report->loader_machine, "%s",
                       kernel_machine_name(a->kernel.machine));
}

static int find_boot_problems(struct inspection *in, struct chr_error *err)
{
    const struct analysis *a = in->analysis;
    const struct gpt *gpt = table_gpt(a->table);

    if (!a->readable && a->problem.code != CHR_E_MISSING &&
        findings_add(&in->findings, CHR_DAMAGE, "boot-unreadable", err, "boot partition: %.220s",
                     a->problem.message) < 0)
        return -1;
    if (a->loader != NULL && !a->loader_sound &&
        findings_add(&in->findings, CHR_DAMAGE, "loader-damaged", err, "%.100s: %.140s",
                     a->loader->path, a->loader_problem.message) < 0)
        return -1;
    if (a->contents == CHR_CONTENTS_FAT && gpt != NULL && a->boot->gpt_slot >= 0 &&
        memcmp(gpt->entries[a->boot->gpt_slot].type, gpt_type_esp, GPT_GUID_SIZE) != 0 &&
        findings_add(&in->findings, CHR_WARNING, "boot-not-esp", err,
                     "partition %u is FAT, but its GPT type is not EFI system (EF00)",
                     a->boot->number) < 0)
        return -1;
    return 0;
}

/* ---- the container ---- */

static int report_qcow2(struct inspection *in, struct chr_image *image, struct chr_error *err)
{
    struct chr_qcow2_info *out = &in->report.qcow2;
    struct qcow2_info info;

    if (image->format != CHR_FORMAT_QCOW2)
        return 0;
    qcow2_get_info(image->disk, &info);
    in->report.is_qcow2 = true;
    out->version = info.version;
    out->cluster_size = info.cluster_size;
    out->refcount_bits = info.refcount_bits;
    out->dirty = info.dirty;
    out->corrupt = info.corrupt;
    (void)snprintf(out->compression, sizeof out->compression, "%s",
                   info.compression == QCOW2_ZSTD ? "zstd" : "zlib");
    if (info.backing_file != NULL)
        (void)snprintf(out->backing_file, sizeof out->backing_file, "%s", info.backing_file);
    return chr_snapshot_list(image, &in->report.snapshots, &in->report.snapshot_count, err);
}

/* ---- all of it ---- */

/* The tables' findings first, then what was noticed on the way. */
static int merge_findings(struct inspection *in, struct chr_error *err)
{
    struct findings merged = {0};
    const struct findings *lists[2] = {&in->analysis->table->findings, &in->findings};

    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            if (findings_add(&merged, lists[l]->items[i].severity, lists[l]->items[i].id, err, "%s",
                             lists[l]->items[i].text) < 0) {
                findings_release(&merged);
                return -1;
            }
    findings_release(&in->findings);
    in->findings = merged;
    in->report.findings = merged.items;
    in->report.finding_count = merged.count;
    return 0;
}

int chr_inspect(struct chr_image *image, struct chr_report **out, struct chr_error *err)
{
    CLEANUP(inspection_cleanup) struct inspection *in = mem_new(1, sizeof *in, err);
    const struct gpt *gpt;

    if (in == NULL)
        return -1;
    if (analyse(image->disk, &in->analysis, err) < 0)
        return err_context(err, "%s", image->path);
    gpt = table_gpt(in->analysis->table);
    in->report.format = image->format;
    in->report.virtual_size = image->disk->size;
    in->report.allocated_size = image->allocated;
    if (gpt != NULL)
        gpt_guid_text(gpt->header.disk_guid, in->report.disk_guid);
    report_mbr(in);
    report_copy(&in->analysis->table->primary, GPT_PRIMARY_LBA, &in->report.gpt[0]);
    report_copy(&in->analysis->table->backup, in->analysis->table->backup_expected_lba,
                &in->report.gpt[1]);
    report_loader(in);
    if (report_qcow2(in, image, err) < 0 || report_partitions(in, err) < 0 || report_files(in, err) < 0 ||
        find_boot_problems(in, err) < 0 || merge_findings(in, err) < 0)
        return err_context(err, "%s", image->path);
    judge_uefi(in->analysis, &in->report.uefi);
    judge_bios(in->analysis, &in->report.bios);
    *out = &STEAL(in)->report;
    return 0;
}
