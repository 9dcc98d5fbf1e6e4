/*
 * chr_check(): every verifier there is, one verdict.
 *
 * Checking never writes.  A repair is asked for by name, does only what follows
 * from sound data, and says each thing that it did; the verdict is then that of
 * a second check.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/signals.h"
#include "block/overlay.h"
#include "op/analysis.h"
#include "op/commit.h"
#include "op/image.h"
#include "op/judge_ext.h"
#include "qcow2/qcow2.h"

struct check {
    struct chr_check_report report; /* first: chr_check_free() gets its address */
    struct findings findings;
    struct findings repairs;
    struct findings unrepaired; /* added to the findings at the end */
    const char *path;
    struct chr_error *err;
};

void chr_check_free(struct chr_check_report *report)
{
    struct check *check = (struct check *)report;

    if (check == NULL)
        return;
    findings_release(&check->findings);
    findings_release(&check->repairs);
    findings_release(&check->unrepaired);
    free(check);
}

static void check_cleanup(struct check **check)
{
    chr_check_free((struct chr_check_report *)*check);
}

/* ---- qcow2 ---- */

static const char *mark_name(const struct qcow2_info *info)
{
    return info->corrupt ? "corrupt" : "dirty";
}

/* Marks in the header: QEMU refuses to write to an image that has the first one. */
static int report_marks(struct check *c, const struct qcow2_info *info)
{
    if (info->corrupt && findings_add(&c->findings, CHR_DAMAGE, "qcow2-marked-corrupt", c->err,
                                      "qcow2: it is marked as corrupt") < 0)
        return -1;
    if (info->dirty && findings_add(&c->findings, CHR_WARNING, "qcow2-marked-dirty", c->err,
                                    "qcow2: it was not closed, so its refcounts may be stale") < 0)
        return -1;
    return 0;
}

static int report_qcow2(struct check *c, const struct qcow2_check_report *qcow2)
{
    c->report.leaks = qcow2->leaks;
    c->report.corruptions = qcow2->corruptions;
    for (size_t i = 0; i < qcow2->findings_count; i++)
        if (findings_add(&c->findings, qcow2->corruptions > 0 ? CHR_DAMAGE : CHR_WARNING, "qcow2",
                         c->err, "qcow2: %s", qcow2->findings[i]) < 0)
            return -1;
    if (qcow2->corruptions > 0 &&
        findings_add(&c->findings, CHR_DAMAGE, "qcow2-corrupt", c->err,
                     "qcow2: %" PRIu64 " contradictions in its tables", qcow2->corruptions) < 0)
        return -1;
    if (qcow2->leaks > 0 &&
        findings_add(&c->findings, CHR_WARNING, "qcow2-leaks", c->err,
                     "qcow2: %" PRIu64 " clusters are counted, but nothing refers to them",
                     qcow2->leaks) < 0)
        return -1;
    return 0;
}

/* Leaks can be freed only where all else is right; unsound references cannot be mended. */
static bool repairable(const struct qcow2_check_report *report, const struct qcow2_info *info,
                       enum chr_repair repair)
{
    if (repair == CHR_REPAIR_LEAKS)
        return report->leaks > 0 && report->corruptions == 0;
    return repair == CHR_REPAIR_ALL && report->unsound == 0 &&
           (report->leaks > 0 || report->corruptions > 0 || info->corrupt || info->dirty);
}

/* Why a repair that was asked for is not done. */
static int report_unrepaired(struct check *c, const struct qcow2_check_report *report,
                             enum chr_repair repair)
{
    if (repair == CHR_REPAIR_NONE || report->corruptions == 0)
        return 0;
    return findings_add(&c->unrepaired, CHR_DAMAGE, "qcow2-not-repaired", c->err, "qcow2: %s",
                        repair == CHR_REPAIR_LEAKS
                            ? "more than leaks is wrong, so none were freed; see --repair all"
                            : "its references themselves are unsound, so it cannot be repaired");
}

static int repair_qcow2(struct check *c, struct chr_image *image, enum chr_repair repair,
                        const struct qcow2_info *info)
{
    struct qcow2_check_report report;
    enum qcow2_repair_what what = repair == CHR_REPAIR_ALL ? QCOW2_REPAIR_ALL
                                                           : QCOW2_REPAIR_LEAKS;

    if (qcow2_repair(image->disk, what, &report, c->err) < 0)
        return -1;
    if (report.leaks > 0 && findings_add(&c->repairs, CHR_NOTE, "qcow2-leaks", c->err,
                                         "qcow2: freed %" PRIu64 " leaked clusters",
                                         report.leaks) < 0)
        return -1;
    if (repair == CHR_REPAIR_ALL && report.corruptions > 0 &&
        findings_add(&c->repairs, CHR_NOTE, "qcow2-refcounts", c->err,
                     "qcow2: set %" PRIu64 " wrong refcounts and flags right",
                     report.corruptions) < 0)
        return -1;
    if ((info->corrupt || info->dirty) &&
        findings_add(&c->repairs, CHR_NOTE, "qcow2-marks", c->err,
                     "qcow2: took the mark away that called it %s", mark_name(info)) < 0)
        return -1;
    return 0;
}

/* Opening for writing has taken the interrupted change back; for reading, only in memory. */
static int report_recovered(struct check *c, bool repaired)
{
    if (repaired)
        return findings_add(&c->repairs, CHR_NOTE, "interrupted", c->err,
                            "took back a change in place that had been interrupted");
    return findings_add(&c->findings, CHR_WARNING, "interrupted", c->err,
                        "a change in place was interrupted; this is the image as it was before");
}

/* The container; it is opened once for this, and anew for the disk inside. */
static int check_container(struct check *c, enum chr_repair repair, bool *usable)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    struct qcow2_check_report report;
    struct qcow2_info info;
    unsigned flags = CHR_OPEN_REPAIR | (repair != CHR_REPAIR_NONE ? (unsigned)CHR_OPEN_WRITE : 0);

    *usable = true;
    if (chr_image_open(c->path, flags, &image, c->err) < 0)
        return -1;
    if (image->recovered && report_recovered(c, repair != CHR_REPAIR_NONE) < 0)
        return -1;
    if (image->format != CHR_FORMAT_QCOW2)
        return 0;
    if (qcow2_check(image->disk, &report, c->err) < 0)
        return -1;
    qcow2_get_info(image->disk, &info);
    *usable = report.corruptions == 0;
    if (report_marks(c, &info) < 0 || report_qcow2(c, &report) < 0)
        return -1;
    if (!repairable(&report, &info, repair))
        return report_unrepaired(c, &report, repair);
    if (repair_qcow2(c, image, repair, &info) < 0)
        return -1;
    if (repair == CHR_REPAIR_ALL)
        *usable = true;
    return 0;
}

/* ---- the disk inside ---- */

/* A damaged copy of the GPT is damage here, though the other one still serves. */
static enum chr_severity severity_here(const struct chr_finding *finding)
{
    static const char *const damage[] = {"gpt-primary-damaged", "gpt-primary-missing",
                                         "gpt-backup-damaged", "gpt-backup-missing",
                                         "gpt-copies-differ"};

    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++)
        if (strcmp(finding->id, damage[i]) == 0)
            return CHR_DAMAGE;
    return finding->severity;
}

static int check_tables(struct check *c, const struct table *table)
{
    for (size_t i = 0; i < table->findings.count; i++)
        if (findings_add(&c->findings, severity_here(&table->findings.items[i]),
                         table->findings.items[i].id, c->err, "%s",
                         table->findings.items[i].text) < 0)
            return -1;
    return 0;
}

static int check_boot(struct check *c, const struct analysis *a)
{
    if (!a->readable && a->problem.code != CHR_E_MISSING)
        return findings_add(&c->findings, CHR_DAMAGE, "boot-unreadable", c->err,
                            "partition %u: %.200s", a->boot->number, a->problem.message);
    if (a->loader != NULL && !a->loader_sound)
        return findings_add(&c->findings, CHR_DAMAGE, "loader-damaged", c->err, "%.100s: %.140s",
                            a->loader->path, a->loader_problem.message);
    return 0;
}

static int check_ext(struct check *c, const struct analysis *a, const struct partition *p)
{
    AUTO_BLK struct blk *window = NULL;
    struct ext_judgement judgement;
    bool is_ext = false;

    if (partition_window(a->disk, p, &window, c->err) < 0 ||
        ext_probe(window, &is_ext, c->err) < 0)
        return -1;
    if (!is_ext)
        return 0;
    if (judge_ext(window, &judgement, c->err) < 0)
        return err_context(c->err, "partition %u", p->number);
    (void)snprintf(c->report.ext_judge, sizeof c->report.ext_judge, "%s",
                   judgement.by_e2fsck ? "e2fsck" : "chrimg");
    if (judgement.sound)
        return 0;
    return findings_add(&c->findings, CHR_DAMAGE, "ext-damaged", c->err, "partition %u: %s: %.180s",
                        p->number, c->report.ext_judge, judgement.problem);
}

static int check_packing(struct check *c, struct chr_image *image)
{
    struct chr_error problem;

    if (image_verify(image, &problem) == 0)
        return 0;
    if (problem.code != CHR_E_DAMAGED) {
        *c->err = problem;
        return -1;
    }
    return findings_add(&c->findings, CHR_DAMAGE, "zip-damaged", c->err, "%.250s", problem.message);
}

static int check_disk(struct check *c, struct chr_image *image)
{
    AUTO_ANALYSIS struct analysis *a = NULL;

    if (analyse(image->disk, &a, c->err) < 0) {
        if (c->err->code != CHR_E_DAMAGED)
            return -1;
        return findings_add(&c->findings, CHR_DAMAGE, "no-tables", c->err, "%.250s",
                            c->err->message);
    }
    if (check_tables(c, a->table) < 0 || check_boot(c, a) < 0)
        return -1;
    for (size_t i = 0; i < a->table->partition_count; i++)
        if (check_ext(c, a, &a->table->partitions[i]) < 0)
            return -1;
    return 0;
}

/* ---- repair of the GPT ---- */

static int write_gpt_repair(struct chr_image *image, const struct table *table, const char **done,
                            struct chr_error *err)
{
    AUTO_BLK struct blk *overlay = NULL;

    if (overlay_open(image->disk, &overlay, err) < 0 ||
        table_repair_gpt(overlay, table, done, err) < 0)
        return -1;
    return *done != NULL ? commit_in_place(image, overlay, err) : 0;
}

static int repair_disk(struct check *c)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    AUTO_TABLE struct table *table = NULL;
    const char *done = NULL;

    if (chr_image_open(c->path, CHR_OPEN_WRITE, &image, c->err) < 0 ||
        table_read(image->disk, &table, c->err) < 0 ||
        write_gpt_repair(image, table, &done, c->err) < 0)
        return -1;
    return done == NULL ? 0
                        : findings_add(&c->repairs, CHR_NOTE, "gpt", c->err,
                                       "GPT: wrote the %s copy anew from the other one", done);
}

/* ---- all of it ---- */

static enum chr_check_verdict verdict_of(const struct check *c)
{
    for (size_t i = 0; i < c->findings.count; i++)
        if (c->findings.items[i].severity == CHR_DAMAGE)
            return CHR_CHECK_DAMAGED;
    return c->report.leaks > 0 ? CHR_CHECK_LEAKS : CHR_CHECK_SOUND;
}

/* What is wrong with the image as it is now; nothing is written. */
static int check_once(struct check *c)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    bool usable;

    if (check_container(c, CHR_REPAIR_NONE, &usable) < 0)
        return -1;
    if (usable && (chr_image_open(c->path, 0, &image, c->err) < 0 || check_packing(c, image) < 0 ||
                   check_disk(c, image) < 0))
        return -1;
    c->report.verdict = verdict_of(c);
    return 0;
}

static bool has_gpt_damage(const struct check *c)
{
    return findings_has(&c->findings, "gpt-primary-damaged") ||
           findings_has(&c->findings, "gpt-primary-missing") ||
           findings_has(&c->findings, "gpt-backup-damaged") ||
           findings_has(&c->findings, "gpt-backup-missing");
}

static int repair_all(struct check *c, enum chr_repair repair)
{
    AUTO_SIGNALS sigset_t saved;
    struct findings before = c->findings;
    bool usable;
    int result;

    signals_hold(&saved);
    c->findings = (struct findings){0}; /* of the container again; they are known already */
    result = check_container(c, repair, &usable);
    findings_release(&c->findings);
    c->findings = before;
    if (result < 0)
        return -1;
    return repair == CHR_REPAIR_ALL && usable && has_gpt_damage(c) ? repair_disk(c) : 0;
}

/* Repair, then look again: the verdict is what a second check says. */
static int repair_and_recheck(struct check *c, enum chr_repair repair)
{
    struct check second = {.path = c->path, .err = c->err};
    int result;

    if (repair_all(c, repair) < 0)
        return -1;
    result = check_once(&second);
    c->report.verdict = second.report.verdict;
    findings_release(&second.findings);
    return result;
}

int chr_check(const char *path, enum chr_repair repair, struct chr_check_report **out,
              struct chr_error *err)
{
    CLEANUP(check_cleanup) struct check *c = mem_new(1, sizeof *c, err);

    if (c == NULL)
        return -1;
    c->path = path;
    c->err = err;
    if (check_once(c) < 0)
        return -1;
    if (repair != CHR_REPAIR_NONE && c->findings.count > 0 && repair_and_recheck(c, repair) < 0)
        return -1;
    for (size_t i = 0; i < c->unrepaired.count; i++)
        if (findings_add(&c->findings, c->unrepaired.items[i].severity, c->unrepaired.items[i].id,
                         err, "%s", c->unrepaired.items[i].text) < 0)
            return -1;
    c->report.findings = c->findings.items;
    c->report.finding_count = c->findings.count;
    c->report.repairs = c->repairs.items;
    c->report.repair_count = c->repairs.count;
    *out = &STEAL(c)->report;
    return 0;
}
