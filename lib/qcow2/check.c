/*
 * Check: count all references and compare with the refcounts.  Repair: write
 * refcounts that say what was counted.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/map.h"
#include "qcow2/refcount.h"
#include "qcow2/snapshot.h"
#include "qcow2/walk.h"

struct check {
    struct image *image;
    struct qcow2_check_report *report;
    struct tally tally;
    bool first_window; /* what does not depend on the window is reported in the first only */
};

static void find(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void find(struct check *check, const char *format, ...)
{
    struct qcow2_check_report *report = check->report;
    va_list args;

    if (report->findings_count == QCOW2_FINDINGS)
        return;
    va_start(args, format);
    (void)vsnprintf(report->findings[report->findings_count++], QCOW2_FINDING_SIZE, format, args);
    va_end(args);
}

/* ---- references ---- */

enum { PLACE_SIZE = 96 };

/* Where a reference is, in words; of a snapshot its place in the table: names may be anything. */
static const char *place_name(const struct check *check, const struct reference *reference,
                              char text[static PLACE_SIZE])
{
    static const char *const units[] = {
        [REFERENCE_L2] = "L1 entry", [REFERENCE_DATA] = "guest cluster",
        [REFERENCE_COMPRESSED] = "guest cluster", [REFERENCE_REFBLOCK] = "refcount block",
        [REFERENCE_BITMAP] = "bitmap"};
    const char *unit = units[reference->kind];
    size_t length = 0;

    if (reference->snapshot != NULL)
        length = (size_t)snprintf(text, PLACE_SIZE, "snapshot %td of the table, ",
                                  reference->snapshot - check->image->snapshots.list + 1);
    (void)snprintf(text + length, PLACE_SIZE - length, "%s %" PRIu64,
                   unit != NULL ? unit : reference_name(reference->kind), reference->number);
    return text;
}

/*
 * "Copied" must be set exactly where the refcount is 1 (L1 and L2 table entries);
 * the flag means something in the active disk's tables only.
 */
static int check_copied(struct check *check, const struct reference *reference,
                        struct chr_error *err)
{
    char text[PLACE_SIZE];
    uint64_t count;

    if (reference->snapshot != NULL ||
        (reference->kind != REFERENCE_L2 && reference->kind != REFERENCE_DATA))
        return 0;
    if (refcount_get_committed(check->image, cluster_of(check->image, reference->offset), &count,
                               err) < 0)
        return -1;
    if (reference->copied == (count == 1))
        return 0;
    check->report->corruptions++;
    find(check, "%s: copied flag is %s, but the refcount is %" PRIu64,
         place_name(check, reference, text), reference->copied ? "set" : "clear", count);
    return 0;
}

static int visit(void *context, const struct reference *reference, struct chr_error *err)
{
    struct check *check = context;
    struct qcow2_check_report *report = check->report;
    enum reference_kind clash;
    char text[PLACE_SIZE];

    if (reference->problem != NULL) {
        if (check->first_window) {
            report->corruptions++;
            report->unsound++;
            find(check, "%s: the entry %s", place_name(check, reference, text), reference->problem);
        }
        return 0;
    }
    clash = tally_add(&check->tally, check->image, reference);
    if (clash != REFERENCE_NONE) {
        report->corruptions++;
        report->unsound++;
        find(check, "%s: offset %" PRIu64 " is also %s", place_name(check, reference, text),
             reference->offset, reference_name(clash));
        if (reference->kind == REFERENCE_L1)
            return WALK_SKIP; /* its tables are met where it belongs, or are anything */
    }
    if (!check->first_window)
        return 0;
    report->image_end = max_u64(report->image_end, reference->offset + reference->length);
    return check_copied(check, reference, err);
}

/* ---- refcounts ---- */

static int compare_window(struct check *check, struct chr_error *err)
{
    struct qcow2_check_report *report = check->report;

    for (uint64_t i = 0; i < check->tally.count; i++) {
        uint64_t cluster = check->tally.first + i;
        uint64_t uses = check->tally.uses[i];
        uint64_t count;

        if (refcount_get_committed(check->image, cluster, &count, err) < 0)
            return -1;
        report->clusters_referenced += uses != 0;
        if (count == uses)
            continue;
        if (count > uses)
            report->leaks++;
        else
            report->corruptions++;
        find(check,
             "cluster %" PRIu64 " (offset %" PRIu64 ")%s: refcount %" PRIu64 ", used %" PRIu64
             " times",
             cluster, offset_of(check->image, cluster), count > uses ? " is leaked" : "", count,
             uses);
    }
    return 0;
}

/* The lowest cluster at or behind FROM that a refcount block counts, or UINT64_MAX. */
static uint64_t next_counted(const struct image *image, uint64_t from)
{
    const struct offsets *table = &image->committed_reftable;
    uint64_t entries =
        refcount_block_entries(image->header.cluster_bits, image->header.refcount_order);

    for (uint64_t i = from / entries; i < table->count; i++)
        if (table->entries[i] != 0)
            return max_u64(from, i * entries);
    return UINT64_MAX;
}

/* Clusters from 0 on that are worth a look, as a hint for the window's size. */
static uint64_t clusters_to_see(const struct image *image)
{
    return clusters_for(image, image->file.blk->size) +
           refcount_block_entries(image->header.cluster_bits, image->header.refcount_order);
}

/* Count window after window, and give each to FN. */
static int for_each_window(struct check *check, int (*fn)(struct check *, struct chr_error *),
                           struct chr_error *err)
{
    struct image *image = check->image;
    uint64_t first = 0;
    int result = tally_new(&check->tally, clusters_to_see(image), err);

    check->first_window = true;
    while (result == 0 && first != UINT64_MAX) {
        tally_start(&check->tally, first);
        result = walk_all(image, visit, check, err);
        if (result == 0)
            result = fn(check, err);
        first = min_u64(check->tally.next, next_counted(image, first + check->tally.count));
        check->first_window = false;
    }
    tally_release(&check->tally);
    return result;
}

int qcow2_check(struct blk *blk, struct qcow2_check_report *report, struct chr_error *err)
{
    struct check check = {.image = image_of(blk), .report = report};

    *report = (struct qcow2_check_report){0};
    if (refcount_load(check.image, err) < 0)
        return -1;
    if (check.image->bad_blocks != 0) {
        report->corruptions += check.image->bad_blocks;
        find(&check,
             "the refcount table has %" PRIu64 " entries outside the file or not on a cluster",
             check.image->bad_blocks);
    }
    return for_each_window(&check, compare_window, err);
}

/* ---- repair ---- */

/* Put the counts of a window into the version that is being built. */
static int rebuild_window(struct check *check, struct chr_error *err)
{
    struct image *image = check->image;

    for (uint64_t i = 0; i < check->tally.count; i++) {
        enum reference_kind kind = check->tally.kinds[i];

        if (kind == REFERENCE_NONE || kind == REFERENCE_REFTABLE || kind == REFERENCE_REFBLOCK)
            continue; /* the old table and blocks are no part of the new version */
        if (refcount_add(image, offset_of(image, check->tally.first + i), image->cluster_size,
                         check->tally.uses[i], err) < 0)
            return -1;
    }
    return 0;
}

/*
 * Nothing that the refcounts say is believed: the new ones, and whatever else has to
 * move, go behind everything that anything refers to.
 */
static int rebuild(struct image *image, const struct qcow2_check_report *found,
                   struct chr_error *err)
{
    struct qcow2_check_report ignored = {0};
    struct check check = {.image = image, .report = &ignored};
    uint64_t end = max_u64(found->image_end, image->file.blk->size);

    image->next_free = clusters_for(image, end);
    refcount_start_over(image);
    if (for_each_window(&check, rebuild_window, err) < 0)
        return -1;
    image->header.reftable_clusters = 0; /* the old table is not counted, so not released */
    if (map_refresh_copied(image, err) < 0)
        return -1;
    image->header.incompatible &= ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT);
    image->header_changed = true;
    return image_commit(image, err);
}

int qcow2_repair(struct blk *blk, enum qcow2_repair_what what, struct qcow2_check_report *report,
                 struct chr_error *err)
{
    struct image *image = image_of(blk);
    uint64_t marks = image->header.incompatible & (INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT);
    struct chr_error ignored;

    if (!blk->writable)
        return err_set(err, CHR_E_REFUSED, "the image is open for reading only");
    if (image_commit(image, err) < 0 || qcow2_check(blk, report, err) < 0)
        return -1;
    if (report->unsound != 0)
        return err_set(err, CHR_E_DAMAGED, "the image cannot be repaired from what it says: %s",
                       report->findings[0]);
    if (report->corruptions != 0 && what == QCOW2_REPAIR_LEAKS)
        return err_set(err, CHR_E_DAMAGED, "the image has more than leaks: %s",
                       report->findings[0]);
    image->unchecked = false;
    if (report->leaks == 0 && report->corruptions == 0 && marks == 0)
        return 0;
    if (image_begin(image, err) == 0 && rebuild(image, report, err) == 0)
        return 0;
    if (image_abort(image, &ignored) < 0)
        image->failed = true;
    return -1;
}

/* ---- what one snapshot alone holds ---- */

struct exclusive {
    struct image *image;
    struct tally tally;
};

static int count_own(void *context, const struct reference *reference, struct chr_error *err)
{
    struct exclusive *exclusive = context;

    (void)err;
    if (reference->problem == NULL)
        (void)tally_add(&exclusive->tally, exclusive->image, reference);
    return 0;
}

/* Clusters of the window whose every use is the snapshot's. */
static int sum_window(struct exclusive *exclusive, uint64_t *bytes, struct chr_error *err)
{
    for (uint64_t i = 0; i < exclusive->tally.count; i++) {
        uint64_t count;

        if (exclusive->tally.uses[i] == 0)
            continue;
        if (refcount_get_committed(exclusive->image, exclusive->tally.first + i, &count, err) < 0)
            return -1;
        if (count == exclusive->tally.uses[i])
            *bytes += exclusive->image->cluster_size;
    }
    return 0;
}

int qcow2_snapshot_exclusive(struct blk *blk, const char *tag, uint64_t *bytes,
                             struct chr_error *err)
{
    struct exclusive exclusive = {.image = image_of(blk)};
    const struct snapshot *snapshot = snapshots_find(exclusive.image, tag, err);
    uint64_t first = 0;
    int result;

    if (snapshot == NULL || refcount_load(exclusive.image, err) < 0)
        return -1;
    *bytes = 0;
    result = tally_new(&exclusive.tally, clusters_to_see(exclusive.image), err);
    while (result == 0 && first != UINT64_MAX) {
        tally_start(&exclusive.tally, first);
        result = walk_tree(exclusive.image, snapshot, count_own, &exclusive, err);
        if (result == 0)
            result = sum_window(&exclusive, bytes, err);
        first = exclusive.tally.next;
    }
    tally_release(&exclusive.tally);
    return result;
}
