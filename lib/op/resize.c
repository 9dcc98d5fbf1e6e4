/*
 * chr_resize(): a larger disk, root partition and file system.
 *
 *   grow        the disk looks larger; an overlay takes all that is written
 *   tables      the root partition reaches to the end, the backup GPT is there
 *   fill        resize2fs on a copy; its differences into the overlay
 *   verify      read the tables again as if for the first time
 *   write       in place: under an undo file, or by one commit of the qcow2
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/signals.h"
#include "block/grown.h"
#include "block/overlay.h"
#include "fs/ext.h"
#include "op/analysis.h"
#include "op/commit.h"
#include "op/grow_ext.h"
#include "op/image.h"
#include "op/undo.h"
#include "part/table.h"
#include "qcow2/qcow2.h"

/* Bytes of the MBR that belong to the boot code, the disk id included. */
#define BOOT_CODE_END 446

struct resize {
    const struct chr_resize_options *options;
    struct chr_resize_report *report;
    struct chr_image *image;
    struct blk *grown;
    struct blk *overlay;
    struct table *before;
    struct chr_error *err;
};

static void note(struct resize *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct resize *r, const char *format, ...)
{
    va_list args;

    if (r->report->note_count == CHR_RESIZE_NOTES)
        return;
    va_start(args, format);
    (void)vsnprintf(r->report->notes[r->report->note_count++], CHR_FINDING_SIZE, format, args);
    va_end(args);
}

/* ---- what is asked for ---- */

static int choose_size(struct resize *r)
{
    const struct chr_resize_options *options = r->options;
    uint64_t old = r->image->disk->size;
    uint64_t most = INT64_MAX / CHR_SECTOR_SIZE * CHR_SECTOR_SIZE;
    uint64_t base = options->relative ? old : 0;
    uint64_t size;

    if (base > most || options->size > most - base)
        return err_set(r->err, CHR_E_USAGE, "%s%" PRIu64 " bytes are too many for a disk",
                       options->relative ? "+" : "", options->size);
    size = base + options->size;
    r->report->old_size = old;
    r->report->new_size = size;
    if (size % CHR_SECTOR_SIZE != 0)
        return err_set(r->err, CHR_E_USAGE, "%" PRIu64 " bytes are no whole sectors of 512", size);
    if (size >= old)
        return 0;
    (void)err_set(r->err, CHR_E_REFUSED, "the disk has %" PRIu64 " bytes, and %" PRIu64
                  " are less: a disk is not made smaller", old, size);
    return err_hint(r->err, "+SIZE makes it larger by that much");
}

static int refuse_format(const struct resize *r)
{
    bool zip = r->image->format == CHR_FORMAT_ZIP;

    if (!zip && r->image->snapshot == NULL)
        return 0;
    (void)err_set(r->err, CHR_E_REFUSED, "%s cannot be changed in place",
                  zip ? "an image inside a zip" : "a snapshot");
    return err_hint(r->err, "chrimg convert makes an image of it that can");
}

/* The last partition, which must be one that nothing boots from by sector number. */
static const struct partition *root_partition(const struct resize *r)
{
    const struct table *table = r->before;
    const struct partition *last = &table->partitions[table->partition_count - 1];

    if (last != table_boot_partition(table))
        return last;
    (void)err_set(r->err, CHR_E_REFUSED,
                  "there is no root partition behind the boot partition to make larger");
    (void)err_hint(r->err, "RouterOS 7 has two partitions; this image has another shape");
    return NULL;
}

/* ---- the tables ---- */

static uint64_t bytes_of(uint64_t first, uint64_t last)
{
    return (last - first + 1) * CHR_SECTOR_SIZE;
}

static void note_tables(struct resize *r)
{
    const struct table *table = r->before;

    for (size_t i = 0; table_gpt(table) != NULL && i < table->findings.count; i++)
        if (strncmp(table->findings.items[i].id, "gpt-", 4) == 0 &&
            table->findings.items[i].severity != CHR_NOTE)
            note(r, "mended: %.230s", table->findings.items[i].text);
    if (table->partitions[table->partition_count - 1].mbr_slot < 0 && table->has_mbr)
        note(r, "the root partition is not in the MBR: only the GPT has it longer");
}

static int grow_tables(struct resize *r, const struct partition *root)
{
    uint64_t last = table_last_lba(r->before->disk_sectors);

    r->report->partition = root->number;
    r->report->old_partition_size = bytes_of(root->first_lba, root->stored_last_lba);
    /* Where less than a MiB was added the partition stays, and the tables as they are. */
    if (last <= root->last_lba) {
        r->report->new_partition_size = bytes_of(root->first_lba, root->last_lba);
        note(r, "there is no whole MiB to add to the root partition");
        return 0;
    }
    r->report->new_partition_size = bytes_of(root->first_lba, last);
    note_tables(r);
    return table_grow(r->overlay, r->before, root, last, r->report->old_size / CHR_SECTOR_SIZE,
                      r->err);
}

/* ---- the file system ---- */

static void keep_file_system(struct resize *r, const char *reason)
{
    (void)snprintf(r->report->fs_reason, sizeof r->report->fs_reason, "%s", reason);
}

static int describe_file_system(struct resize *r, struct blk *window, bool *is_ext)
{
    struct ext_super super;

    if (ext_probe(window, is_ext, r->err) < 0)
        return -1;
    if (!*is_ext) {
        keep_file_system(r, "it is no ext file system: the partition alone was made larger");
        return 0;
    }
    if (ext_super_read(window, &super, r->err) < 0)
        return -1;
    (void)snprintf(r->report->fs_kind, sizeof r->report->fs_kind, "%s", ext_super_kind(&super));
    r->report->old_fs_size = r->report->new_fs_size = super.blocks * super.block_size;
    r->report->fs_free = super.free_blocks * super.block_size;
    return 0;
}

static int fill_partition(struct resize *r, struct blk *window)
{
    struct grown_ext grown;

    if (grow_ext(window, &grown, r->err) < 0)
        return -1;
    r->report->fs_grown = grown.grown;
    r->report->new_fs_size = grown.new_size;
    r->report->fs_free = grown.free;
    keep_file_system(r, grown.reason);
    if (grown.replayed)
        note(r, "its journal was replayed first");
    return 0;
}

static int grow_file_system(struct resize *r, const struct partition *root)
{
    AUTO_BLK struct blk *window = NULL;
    bool is_ext;

    if (blk_window_open(r->overlay, root->first_lba * CHR_SECTOR_SIZE,
                        r->report->new_partition_size, &window, r->err) < 0 ||
        describe_file_system(r, window, &is_ext) < 0)
        return err_context(r->err, "partition %u", root->number);
    if (!is_ext)
        return 0;
    if (r->options->tables_only) {
        keep_file_system(r, "it was not asked for: RouterOS makes its file system larger at its "
                            "first boot, and until then there is no more room in it");
        return 0;
    }
    return fill_partition(r, window) < 0 ? err_context(r->err, "partition %u", root->number) : 0;
}

/* ---- verifying ---- */

/* What RouterOS and the BIOS loader look at: nothing but the root's length may differ. */
static int verify_mbr(const struct resize *r, const struct table *after)
{
    const uint8_t *old = r->before->mbr_sector;
    const uint8_t *new = after->mbr_sector;

    if (memcmp(old, new, BOOT_CODE_END) != 0 || after->has_mbr != r->before->has_mbr)
        return err_set(r->err, CHR_E_INTERNAL, "verification: the MBR's code has changed");
    for (int i = 0; i < MBR_ENTRIES; i++)
        if (memcmp(old + BOOT_CODE_END + 16 * i, new + BOOT_CODE_END + 16 * i, 12) != 0)
            return err_set(r->err, CHR_E_INTERNAL, "verification: entry %d of the MBR has changed",
                           i + 1);
    return 0;
}

static int verify(const struct resize *r)
{
    AUTO_TABLE struct table *after = NULL;
    const struct table *before = r->before;

    if (table_read(r->overlay, &after, r->err) < 0)
        return err_context(r->err, "verification");
    if (after->partition_count != before->partition_count || after->source != before->source)
        return err_set(r->err, CHR_E_INTERNAL, "verification: the tables have other partitions");
    for (size_t i = 0; i < before->partition_count; i++) {
        const struct partition *old = &before->partitions[i];
        const struct partition *new = &after->partitions[i];
        bool root = i + 1 == before->partition_count;
        uint64_t last = root ? old->first_lba +
                                   r->report->new_partition_size / CHR_SECTOR_SIZE - 1
                             : old->last_lba;

        if (new->first_lba != old->first_lba || new->last_lba != last)
            return err_set(r->err, CHR_E_INTERNAL, "verification: partition %u is LBA %" PRIu64
                           "-%" PRIu64, new->number, new->first_lba, new->last_lba);
    }
    return verify_mbr(r, after);
}

/* ---- writing ---- */

static int commit(struct resize *r)
{
    AUTO_SIGNALS sigset_t saved;

    signals_hold(&saved);
    if (r->image->format == CHR_FORMAT_QCOW2 &&
        qcow2_grow(r->image->disk, r->report->new_size, r->err) < 0)
        return -1;
    return commit_in_place(r->image, r->overlay, r->err);
}

/* Read on the disk as it is first: one that was cut short is not helped by zeros. */
static int check_tables(struct resize *r)
{
    AUTO_TABLE struct table *table = NULL;

    return table_read(r->image->disk, &table, r->err);
}

static int run(struct resize *r, const char *path)
{
    const struct partition *root;
    bool write = !r->options->dry_run;

    if (chr_image_open(path, write ? CHR_OPEN_WRITE : 0, &r->image, r->err) < 0 ||
        refuse_format(r) < 0 || choose_size(r) < 0)
        return -1;
    if (r->image->format == CHR_FORMAT_RAW && undo_check(path, r->image->file, r->err) < 0)
        return -1;
    if (r->image->format == CHR_FORMAT_QCOW2 &&
        qcow2_check_growth(r->image->disk, r->report->new_size, r->err) < 0)
        return -1;
    if (r->image->recovered)
        note(r, "a change in place had been interrupted; it was taken back first");
    if (check_tables(r) < 0 ||
        grown_open(r->image->disk, r->report->new_size, &r->grown, r->err) < 0 ||
        overlay_open(r->grown, &r->overlay, r->err) < 0 ||
        table_read(r->overlay, &r->before, r->err) < 0)
        return -1;
    root = root_partition(r);
    if (root == NULL || grow_tables(r, root) < 0 || grow_file_system(r, root) < 0 ||
        overlay_drop_unchanged(r->overlay, r->err) < 0 || verify(r) < 0)
        return -1;
    r->report->changed_bytes = overlay_changed(r->overlay);
    r->report->changed =
        r->report->changed_bytes > 0 || r->report->new_size != r->report->old_size;
    return write && r->report->changed ? commit(r) : 0;
}

int chr_resize(const char *path, const struct chr_resize_options *options,
               struct chr_resize_report *report, struct chr_error *err)
{
    struct resize r = {.options = options, .report = report, .err = err};
    int result;

    *report = (struct chr_resize_report){0};
    result = run(&r, path);
    if (result < 0 && r.image != NULL)
        (void)err_context(err, "%s", path);
    table_free(&r.before);
    blk_cleanup(&r.overlay);
    blk_cleanup(&r.grown);
    chr_image_close(r.image);
    return result;
}
