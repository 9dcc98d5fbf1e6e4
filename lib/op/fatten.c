/*
 * chr_fatten(): the boot partition becomes FAT16, laid around its files.
 *
 *   analyse     tables, boot partition, files; refuse what we do not understand
 *   describe    plan and write the FAT and the tables into an overlay in memory
 *               (fatten_describe.c)
 *   write       a copy beside the input with the overlay's sectors on it, or the
 *               overlay's sectors in place under an undo file
 *   verify      read the result as if for the first time, compare every file
 *   publish     fsync, name, fsync the folder
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "op/commit.h"
#include "op/copy.h"
#include "op/fatten_work.h"
#include "op/files.h"
#include "op/target.h"
#include "op/verify.h"
#include "op/way_out.h"

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
        return way_out_by_e2fsck(f->image, a->boot, f->err);
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
        overlay_open(f->image->disk, &f->overlay, f->err) < 0 || fatten_describe(f) < 0)
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
