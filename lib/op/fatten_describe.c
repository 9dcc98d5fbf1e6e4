/* The boot partition as FAT16 and both tables, into the overlay in memory. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "fs/fat_write.h"
#include "op/fatten_work.h"

/* The label where there was none to keep. */
#define DEFAULT_LABEL "RouterOS"
#define DEFAULT_BLOCK_SIZE 4096
#define MAX_COPIED_BYTES (64 << 20)

static void note(struct fatten *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct fatten *f, const char *format, ...)
{
    char *last = f->report->notes[CHR_FATTEN_NOTES - 1];
    va_list args;

    if (f->report->note_count == CHR_FATTEN_NOTES) {
        /* The last one gives way to the number of those that are not shown. */
        f->notes_left_out += f->notes_left_out == 0 ? 2 : 1;
        (void)snprintf(last, CHR_FINDING_SIZE, "and %u notes more", f->notes_left_out);
        return;
    }
    va_start(args, format);
    (void)vsnprintf(f->report->notes[f->report->note_count++], CHR_FINDING_SIZE, format, args);
    va_end(args);
}

/* What of the tables had to be read around, in the user's words. */
static void note_tables(struct fatten *f)
{
    const struct table *table = f->before->table;

    for (size_t i = 0; i < table->findings.count; i++)
        if (strncmp(table->findings.items[i].id, "gpt-", 4) == 0 &&
            table->findings.items[i].severity != CHR_NOTE)
            note(f, "mended: %.230s", table->findings.items[i].text);
    if (table->source == TABLE_GPT_BACKUP)
        note(f, "the primary GPT could not be used; positions come from its backup");
    if (table->source == TABLE_MBR && (table->primary.present || table->backup.present))
        note(f, "both copies of the GPT are damaged; positions come from the MBR, and a new GPT is "
                "made");
}

/* ---- describing the FAT ---- */

/* Each sector of NODE becomes owned; one that is already makes the image a damaged one. */
static int claim_sectors(const struct file_node *node, uint8_t *owned, uint64_t sectors,
                         struct chr_error *err)
{
    for (size_t i = 0; i < node->run_count; i++) {
        uint64_t first = node->runs[i].off / FAT_SECTOR;
        uint64_t end = min_u64(first + node->runs[i].length / FAT_SECTOR, sectors);

        for (uint64_t sector = first; sector < end; sector++)
            if (owned[sector]++ != 0)
                return err_set(err, CHR_E_DAMAGED,
                               "%s: its block at offset %" PRIu64
                               " belongs to another file, or to the file system, too",
                               node->path, sector * FAT_SECTOR);
    }
    return 0;
}

/* Groups may share what they keep for themselves; no file may have it. */
static void claim_metadata(const struct file_node *metadata, uint8_t *owned, uint64_t sectors)
{
    for (size_t i = 0; i < metadata->run_count; i++)
        for (uint64_t k = 0; k < metadata->runs[i].length / FAT_SECTOR; k++)
            if (metadata->runs[i].off / FAT_SECTOR + k < sectors)
                owned[metadata->runs[i].off / FAT_SECTOR + k] = 1;
}

/* One block of two files: the file system is damaged, and must not be described anew. */
static int check_no_block_shared(const struct analysis *a, struct chr_error *err)
{
    uint64_t sectors = a->window->size / FAT_SECTOR;
    AUTO_FREE uint8_t *owned = mem_new((size_t)sectors, 1, err);

    if (owned == NULL)
        return -1;
    claim_metadata(&a->metadata, owned, sectors);
    for (size_t i = 0; i < a->tree.count; i++)
        if (!file_tree_is_second_name(&a->tree, i) &&
            claim_sectors(&a->tree.nodes[i], owned, sectors, err) < 0)
            return -1;
    return 0;
}

static int make_plan(struct fatten *f, struct fat_plan *plan)
{
    const struct analysis *a = f->before;
    uint32_t block = a->contents == CHR_CONTENTS_EXT ? a->super.block_size : DEFAULT_BLOCK_SIZE;
    struct chr_error keep_error;

    if (check_no_block_shared(a, f->err) < 0)
        return -1;
    if (f->options->layout == CHR_LAYOUT_KEEP) {
        if (fat_plan_make(a->window->size, block, &a->tree, FAT_LAYOUT_KEEP, plan,
                          &keep_error) == 0)
            return 0;
        if (keep_error.code != CHR_E_SPACE) {
            *f->err = keep_error;
            return -1;
        }
        note(f, "the files cannot stay where they are (%.160s): they are copied",
             keep_error.message);
    }
    return fat_plan_make(a->window->size, block, &a->tree, FAT_LAYOUT_COMPACT, plan, f->err);
}

static void note_moved_files(struct fatten *f, const struct fat_plan *plan)
{
    if (plan->copied_clusters + plan->linked_clusters == 0)
        return;
    if (plan->layout == FAT_LAYOUT_COMPACT) {
        note(f, "all files were copied to new places, so BIOS boot is lost");
        return;
    }
    for (size_t i = 1; i < plan->item_count; i++)
        if (plan->items[i].copied > 0 && file_tree_is_second_name(&f->before->tree, i))
            note(f, "%.120s: a second name of a file, which FAT does not have; it is a copy now",
                 f->before->tree.nodes[i].path);
        else if (plan->items[i].copied > 0)
            note(f, "%.120s: %" PRIu32 " of its %" PRIu32 " clusters had to move out of the FAT's "
                    "way, so BIOS boot is lost",
                 f->before->tree.nodes[i].path, plan->items[i].copied,
                 plan->items[i].cluster_count);
}

static void report_plan(struct fatten *f, const struct fat_plan *plan)
{
    struct chr_fatten_report *report = f->report;

    report->layout = plan->layout == FAT_LAYOUT_KEEP ? CHR_LAYOUT_KEEP : CHR_LAYOUT_COMPACT;
    report->cluster_size = plan->geometry.sectors_per_cluster * FAT_SECTOR;
    report->clusters = plan->geometry.clusters;
    report->moved_clusters = plan->copied_clusters + plan->linked_clusters;
    report->zeroed_clusters = plan->zeroed_clusters;
    for (size_t i = 1; i < plan->item_count; i++) {
        bool folder = f->before->tree.nodes[i].kind == FILE_FOLDER;

        if (!fat_plan_includes(&f->before->tree, i))
            continue;
        report->files += !folder;
        report->folders += folder;
        for (uint32_t k = 0; !folder && k < plan->items[i].cluster_count; k++)
            report->kept_clusters += plan->items[i].source[k] == FAT_KEPT;
    }
    note_moved_files(f, plan);
    if (f->before->contents == CHR_CONTENTS_EXT && !f->before->super.clean)
        note(f, "the %s was not unmounted cleanly; every file in it was read and is whole",
             ext_super_kind(&f->before->super));
    if (plan->skipped_lost_found)
        note(f, "the empty lost+found is left out");
}

/*
 * Without a file system nobody says whose a sector is: what lies where the FAT
 * goes may be the BIOS loader's, and then it will not find it.
 */
static int check_unowned(struct fatten *f, const struct fat_plan *plan, bool *lost)
{
    uint64_t end = (uint64_t)plan->geometry.data_sector * FAT_SECTOR;
    uint8_t sector[FAT_SECTOR];

    *lost = false;
    for (uint64_t off = 2 * FAT_SECTOR; off < end && !*lost; off += FAT_SECTOR) {
        if (blk_read(f->before->window, off, sector, sizeof sector, f->err) < 0)
            return -1;
        *lost = !is_zero(sector, sizeof sector);
        if (*lost)
            note(f, "sector %" PRIu64 " of the partition is in the FAT's way and may be the BIOS "
                    "loader's, so BIOS boot is lost", off / FAT_SECTOR);
    }
    return 0;
}

/* The boot code stays where it can still work; else a message takes its place. */
static bool keeps_boot_code(struct fatten *f, const struct fat_plan *plan)
{
    if (f->before->boot_code == BOOT_CODE_NO_HOLE)
        note(f, "the boot code uses the bytes that FAT needs for its parameters, so BIOS boot is "
                "lost");
    return f->before->boot_code == BOOT_CODE_HOLE && plan->copied_clusters == 0;
}

static uint32_t serial_of(const struct analysis *a)
{
    return a->contents == CHR_CONTENTS_EXT   ? le32(a->super.uuid)
           : a->contents == CHR_CONTENTS_FAT ? a->fat.serial
                                             : (uint32_t)crc32(0, a->boot_sector,
                                                               sizeof a->boot_sector);
}

/* Copies are made in memory; a boot partition of a CHR has 32 MiB in all. */
static int check_copies(const struct fat_plan *plan, struct chr_error *err)
{
    uint64_t bytes = (uint64_t)(plan->copied_clusters + plan->linked_clusters) *
                     plan->geometry.sectors_per_cluster * FAT_SECTOR;

    if (bytes <= MAX_COPIED_BYTES)
        return 0;
    return err_set(err, CHR_E_REFUSED,
                   "%" PRIu64 " bytes of files would have to be copied; the most is %d", bytes,
                   MAX_COPIED_BYTES);
}

/* The whole boot partition anew, into the overlay. */
static int describe_fat(struct fatten *f)
{
    const struct analysis *a = f->before;
    AUTO_FAT_PLAN struct fat_plan plan = {0};
    AUTO_BLK struct blk *window = NULL;
    bool loader_lost = false;
    struct fat_write_options options = {
        .label = a->contents == CHR_CONTENTS_EXT && a->super.label[0] != '\0' ? a->super.label
                                                                              : DEFAULT_LABEL,
        .serial = serial_of(a),
        .hidden_sectors = (uint32_t)a->boot->first_lba,
    };

    if (make_plan(f, &plan) < 0 || check_copies(&plan, f->err) < 0 ||
        partition_window(f->overlay, a->boot, &window, f->err) < 0)
        return -1;
    report_plan(f, &plan);
    if (a->contents == CHR_CONTENTS_KERNEL && check_unowned(f, &plan, &loader_lost) < 0)
        return -1;
    options.keep_boot_code = !loader_lost && keeps_boot_code(f, &plan);
    if (strlen(options.label) > 11)
        note(f, "the label \"%s\" is cut to FAT's 11 characters", options.label);
    return fat_write(a->window, &a->tree, &plan, &options, window, f->err);
}

/* ---- describing the tables ---- */

static int describe_tables(struct fatten *f)
{
    struct table_mend_options options = {
        .boot = f->before->boot,
        .keep_mbr = f->options->keep_mbr,
    };

    if (f->before->contents == CHR_CONTENTS_EXT)
        memcpy(options.seed, f->before->super.uuid, sizeof options.seed);
    else
        for (int i = 0; i < 16; i += 4)
            put_le32(options.seed + i, serial_of(f->before));
    if (table_mend(f->overlay, f->before->table, &options, &f->report->has_gpt, f->err) < 0)
        return -1;
    if (!f->report->has_gpt)
        note(f, "there is no free room for a GPT before partition 1 or at the end of the disk; the "
                "MBR alone stays");
    return 0;
}

int fatten_describe(struct fatten *f)
{
    enum chr_contents contents = f->before->contents;

    f->report->source = contents == CHR_CONTENTS_EXT   ? CHR_SOURCE_EXT
                        : contents == CHR_CONTENTS_FAT ? CHR_SOURCE_FAT
                                                       : CHR_SOURCE_KERNEL;
    if (f->image->recovered)
        note(f, "a change in place had been interrupted; this is made of the image as it was "
                "before");
    note_tables(f);
    if (contents != CHR_CONTENTS_FAT && describe_fat(f) < 0)
        return err_context(f->err, "partition %u", f->before->boot->number);
    if (describe_tables(f) < 0 || overlay_drop_unchanged(f->overlay, f->err) < 0)
        return -1;
    f->report->changed_bytes = overlay_changed(f->overlay);
    f->report->changed = f->report->changed_bytes > 0;
    return 0;
}
