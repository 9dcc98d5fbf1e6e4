/*
 * chr_fatten(): the boot partition becomes FAT16, laid around its files.
 *
 *   analyse     tables, boot partition, files; refuse what we do not understand
 *   describe    plan and write the FAT and the tables into an overlay in memory
 *   write       a copy beside the input with the overlay's sectors on it, or the
 *               overlay's sectors in place under an undo file
 *   verify      read the result as if for the first time, compare every file
 *   publish     fsync, name, fsync the folder
 */
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "fs/fat_write.h"
#include "op/analysis.h"
#include "op/commit.h"
#include "op/copy.h"
#include "op/files.h"
#include "op/image.h"
#include "op/target.h"
#include "op/verify.h"

/* The label where there was none to keep. */
#define DEFAULT_LABEL "RouterOS"
#define DEFAULT_BLOCK_SIZE 4096
#define MAX_COPIED_BYTES (64 << 20)

struct fatten {
    const struct chr_fatten_options *options;
    struct chr_fatten_report *report;
    struct chr_image *image;
    struct analysis *before;
    struct blk *overlay;
    unsigned notes_left_out;
    struct chr_error *err;
};

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

/* ---- names of outputs ---- */

static bool strip_suffix(char *text, const char *suffix)
{
    size_t length = strlen(text);
    size_t tail = strlen(suffix);

    if (length <= tail || strcasecmp(text + length - tail, suffix) != 0 ||
        text[length - tail - 1] == '/')
        return false;
    text[length - tail] = '\0';
    return true;
}

/* "chr-7.19.img.zip" -> "chr-7.19-efi.img", "r.qcow2" -> "r-efi.qcow2", in the same folder. */
static int default_output(const struct chr_image *image, char *out, size_t size,
                          struct chr_error *err)
{
    AUTO_FREE char *stem = mem_strdup(image->path, err);
    bool qcow2 = image->format == CHR_FORMAT_QCOW2;

    if (stem == NULL)
        return -1;
    (void)strip_suffix(stem, ".zip");
    if (!strip_suffix(stem, qcow2 ? ".qcow2" : ".img"))
        (void)strip_suffix(stem, ".raw");
    if ((size_t)snprintf(out, size, "%s-efi.%s", stem, qcow2 ? "qcow2" : "img") >= size)
        return err_set(err, CHR_E_USAGE, "%s: the name is too long", image->path);
    return 0;
}

static int choose_output(struct fatten *f, const char *path)
{
    char *out = f->report->output;
    size_t size = sizeof f->report->output;
    const char *given = f->options->in_place ? path : f->options->output;

    if (given != NULL && strcmp(given, "-") == 0) {
        (void)err_set(f->err, CHR_E_USAGE, "the result cannot be written to standard output");
        return err_hint(f->err, "it is verified before it counts, so it must be a file");
    }
    if (given == NULL && default_output(f->image, out, size, f->err) < 0)
        return -1;
    if (given != NULL && (size_t)snprintf(out, size, "%s", given) >= size)
        return err_set(f->err, CHR_E_USAGE, "%s: the name is too long", given);
    if (!f->options->in_place && same_file(f->image->path, out)) {
        (void)err_set(f->err, CHR_E_USAGE, "%s is the input itself", out);
        return err_hint(f->err, "to change it, say --in-place");
    }
    return f->options->in_place ? 0 : output_check(out, f->options->force, f->err);
}

/* ---- refusals ---- */

static int refuse_without_loader(const struct analysis *a, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED,
                  "partition %u has no EFI loader (EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI), so UEFI "
                  "has nothing to start", a->boot->number);
    return err_hint(err, "RouterOS 6 boots with BIOS only: leave the image as it is, or take "
                         "RouterOS 7");
}

static int check_ext(const struct ext_super *super, struct chr_error *err)
{
    if (!super->needs_recovery && !super->has_errors)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "the boot partition's %s %s", ext_super_kind(super),
                  super->needs_recovery ? "has a journal that must be replayed first"
                                        : "is marked as having errors");
    return err_hint(err, "boot it once, or run e2fsck -f on the partition");
}

/* Only what is understood to the last block may be described anew. */
static int check_input(struct fatten *f)
{
    const struct analysis *a = f->before;

    if (!a->readable && a->problem.code == CHR_E_MISSING)
        return refuse_without_loader(a, f->err);
    if (!a->readable) {
        *f->err = a->problem;
        return err_context(f->err, "partition %u", a->boot->number);
    }
    if (a->loader == NULL)
        return refuse_without_loader(a, f->err);
    if (!a->loader_sound) {
        *f->err = a->loader_problem;
        return err_context(f->err, "%s", a->loader->path);
    }
    if (a->contents == CHR_CONTENTS_EXT && check_ext(&a->super, f->err) < 0)
        return -1;
    return 0;
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

static int describe(struct fatten *f)
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

/* ---- verifying ---- */

static void report_fat(struct fatten *f, const struct fat_info *fat)
{
    (void)snprintf(f->report->label, sizeof f->report->label, "%s", fat->label);
    (void)snprintf(f->report->serial, sizeof f->report->serial, "%04" PRIX32 "-%04" PRIX32,
                   fat->serial >> 16, fat->serial & 0xFFFF);
    f->report->cluster_size = fat->cluster_size;
    f->report->clusters = fat->clusters;
}

/* Read RESULT as if for the first time, and hold it against the input. */
static int verify(struct fatten *f, struct blk *result)
{
    AUTO_ANALYSIS struct analysis *after = NULL;

    if (analyse(result, &after, f->err) < 0)
        return err_context(f->err, "verification");
    if (after->contents != CHR_CONTENTS_FAT || !after->readable)
        return err_set(f->err, CHR_E_INTERNAL, "verification: %.400s",
                       after->readable ? "the result is not FAT" : after->problem.message);
    if (verify_files(f->before->window, &f->before->tree, after->window, &after->tree, f->err) < 0)
        return -1;
    judge_uefi(after, &f->report->uefi);
    judge_bios(after, &f->report->bios);
    report_fat(f, &after->fat);
    if (!f->report->uefi.yes)
        return err_set(f->err, CHR_E_INTERNAL, "verification: no UEFI boot: %.300s",
                       f->report->uefi.reason);
    return 0;
}

static int check_bios(const struct fatten *f)
{
    if (!f->options->require_bios || f->report->bios.yes)
        return 0;
    (void)err_set(f->err, CHR_E_REFUSED, "the result would not boot on BIOS: %.300s",
                  f->report->bios.reason);
    return err_hint(f->err, "without --require-bios it is made all the same, for UEFI");
}

/* ---- writing ---- */

/*
 * A raw copy can share blocks with the input, and gets the changes on top; a
 * qcow2 is made of the changed disk in one pass.
 */
static int make_output(struct fatten *f, enum chr_format format, struct output *output)
{
    const struct target_options options = {
        .format = format,
        .compression = f->options->compression,
        .force = f->options->force,
        .like = f->image->path,
        .progress = {f->options->progress, f->options->progress_context},
    };

    if (format == CHR_FORMAT_QCOW2)
        return target_write(f->overlay, f->report->output, &options, output, f->err);
    if (target_write(f->image->disk, f->report->output, &options, output, f->err) < 0)
        return -1;
    return copy_changes(f->overlay, output->blk, f->err);
}

static int write_output(struct fatten *f)
{
    AUTO_OUTPUT struct output output = {0};
    AUTO_BLK struct blk *result = NULL;
    enum chr_format format = target_format_of(f->report->output);

    if (format != CHR_FORMAT_QCOW2 && f->options->compression != CHR_COMPRESS_NONE) {
        (void)err_set(f->err, CHR_E_USAGE, "only a qcow2 can be compressed");
        return err_hint(f->err, "name the output *.qcow2");
    }
    if (make_output(f, format, &output) < 0 ||
        target_reopen(&output, format, &result, f->err) < 0 || verify(f, result) < 0 ||
        check_bios(f) < 0)
        return -1;
    return output_publish(&output, f->err);
}

static int write_in_place(struct fatten *f)
{
    if (verify(f, f->overlay) < 0 || check_bios(f) < 0)
        return -1;
    if (!f->report->changed || f->options->dry_run)
        return 0;
    return commit_in_place(f->image, f->overlay, f->err);
}

static int check_in_place(const struct fatten *f)
{
    if (commit_check(f->image, f->err) == 0)
        return 0;
    return f->image->format == CHR_FORMAT_ZIP || f->image->snapshot != NULL
               ? err_hint(f->err, "leave out --in-place: the result is written beside it")
               : -1;
}

static int run(struct fatten *f, const char *path)
{
    bool write = f->options->in_place && !f->options->dry_run;

    if (chr_image_open(path, write ? CHR_OPEN_WRITE : 0, &f->image, f->err) < 0 ||
        choose_output(f, path) < 0)
        return -1;
    if (f->options->in_place && check_in_place(f) < 0)
        return -1;
    if (analyse(f->image->disk, &f->before, f->err) < 0 || check_input(f) < 0 ||
        overlay_open(f->image->disk, &f->overlay, f->err) < 0 || describe(f) < 0)
        return -1;
    return f->options->in_place || f->options->dry_run ? write_in_place(f) : write_output(f);
}

int chr_fatten(const char *path, const struct chr_fatten_options *options,
               struct chr_fatten_report *report, struct chr_error *err)
{
    struct fatten f = {.options = options, .report = report, .err = err};
    int result;

    *report = (struct chr_fatten_report){0};
    if (options->in_place && options->compression != CHR_COMPRESS_NONE)
        return err_set(err, CHR_E_USAGE, "--compress is for a new qcow2, not for --in-place");
    if (options->in_place && options->output != NULL)
        return err_set(err, CHR_E_USAGE,
                       "-o and --in-place exclude each other: write %s, or change the input?",
                       options->output);
    result = run(&f, path);
    if (result < 0 && f.image != NULL && err->code != CHR_E_EXISTS)
        (void)err_context(err, "%s", path);
    blk_cleanup(&f.overlay);
    analysis_free(&f.before);
    chr_image_close(f.image);
    return result;
}
