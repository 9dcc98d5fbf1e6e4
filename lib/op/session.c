/* Opening a session, its partitions, and the end of it. */
#include "op/session.h"

#include <string.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "fs/ext.h"
#include "fs/ext_verify.h"
#include "fs/fat.h"
#include "fs/probe.h"
#include "op/analysis.h"
#include "op/commit.h"
#include "op/copy.h"
#include "op/way_out.h"

/* Folders that the root partition of a RouterOS has, of any version. */
static const char *const root_marks[] = {"rw", "var"};

static void side_release(struct side *side)
{
    ext_edit_cleanup(&side->ext);
    fat_edit_cleanup(&side->fat);
    file_tree_release(&side->before);
    free(side->file_example.folder);
    free(side->folder_example.folder);
    touched_release(&side->touched);
    blk_cleanup(&side->window);
}

void session_release(struct session *session)
{
    for (int i = 0; i < SESSION_SIDES; i++)
        side_release(&session->sides[i]);
    blk_cleanup(&session->overlay);
    blk_cleanup(&session->replayed);
    table_free(&session->table);
    *session = (struct session){0};
}

/* ---- which partition is the root ---- */

static int is_ext(struct blk *disk, const struct partition *partition, bool *yes,
                  struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;

    return partition_window(disk, partition, &window, err) < 0 ? -1 : ext_probe(window, yes, err);
}

static int has_marks(struct blk *disk, const struct partition *partition, bool *yes,
                     struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;
    AUTO_EXT struct ext *ext = NULL;
    AUTO_TREE struct file_tree tree = {0};

    *yes = false;
    if (partition_window(disk, partition, &window, err) < 0)
        return -1;
    if (ext_open(window, &ext, err) < 0 || ext_read_tree(ext, "", false, &tree, err) < 0)
        return err_context(err, "partition %u", partition->number);
    for (size_t i = 0; i < sizeof root_marks / sizeof root_marks[0]; i++)
        *yes = *yes || file_tree_find(&tree, root_marks[i]) != NULL;
    return 0;
}

/* Whether P, one of CANDIDATES ext partitions, is the root. */
static int is_root(struct session *s, const struct partition *p, const struct partition *boot,
                   size_t candidates, bool *yes, struct chr_error *err)
{
    if (p != boot && candidates == 1) {
        *yes = true;
        return 0;
    }
    return has_marks(s->image->disk, p, yes, err);
}

/*
 * The ext partition besides the boot partition; where there are several, the first with
 * RouterOS' folders.  A disk of one partition that has them is RouterOS 6: the boot
 * partition is the root, too.
 */
static int find_root(struct session *s, const struct partition *boot, struct chr_error *err)
{
    const struct partition *candidates[PARTITIONS_MAX];
    const struct partition *found = NULL;
    size_t count = 0;
    bool yes;

    for (size_t i = 0; i < s->table->partition_count; i++) {
        const struct partition *p = &s->table->partitions[i];

        if (p == boot && s->table->partition_count > 1)
            continue;
        if (is_ext(s->image->disk, p, &yes, err) < 0)
            return -1;
        if (yes)
            candidates[count++] = p;
    }
    for (size_t i = 0; i < count && found == NULL; i++) {
        if (is_root(s, candidates[i], boot, count, &yes, err) < 0)
            return -1;
        found = yes ? candidates[i] : NULL;
    }
    s->sides[SESSION_ROOT].partition = found;
    s->sides[SESSION_BOOT].partition = boot != found ? boot : NULL;
    s->sides[SESSION_BOOT].is_boot = true;
    s->sides[SESSION_ROOT].image = s->image;
    s->sides[SESSION_BOOT].image = s->image;
    return 0;
}

int session_open(struct chr_image *image, const int64_t *modified, struct session *out,
                 struct chr_error *err)
{
    AUTO_SESSION struct session s = {.image = image, .modified = modified};

    if (table_read(image->disk, &s.table, err) < 0 ||
        find_root(&s, table_boot_partition(s.table), err) < 0 ||
        overlay_open(image->disk, &s.replayed, err) < 0 ||
        overlay_open(s.replayed, &s.overlay, err) < 0)
        return -1;
    *out = s;
    s = (struct session){0};
    return 0;
}

int session_spill(struct session *s, struct chr_error *err)
{
    AUTO_FREE char *folder = mem_strdup(s->image->path, err);
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;

    if (folder == NULL)
        return -1;
    /* What is not to be written stays in memory: a dry run leaves no trace on the disk. */
    if (!s->image->disk->writable)
        return 0;
    if (slash != NULL)
        slash[slash == folder] = '\0';
    return overlay_spill(s->overlay, slash != NULL ? folder : ".", err);
}

/* ---- a side ---- */

int side_way_out(const struct side *side, struct chr_error *err)
{
    return side->contents == CHR_CONTENTS_EXT
               ? way_out_by_e2fsck(side->image, side->partition, err) : -1;
}

static int refuse_side(const struct session *s, enum session_side which, struct chr_error *err)
{
    if (which == SESSION_ROOT)
        return err_set(err, CHR_E_REFUSED, "no partition holds an ext with RouterOS on it");
    if (s->table->partition_count > 1)
        return err_set(err, CHR_E_REFUSED, "there is no boot partition");
    (void)err_set(err, CHR_E_REFUSED, "there is one partition only, which is the root, too");
    return err_hint(err, "leave out boot:, and with chrimg inject take --put for --boot");
}

static int refuse_contents(const struct partition *p, enum session_side which,
                           struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "partition %u has no file system that chrimg knows",
                  p->number);
    return which == SESSION_BOOT
               ? err_hint(err, "if its kernel lies at a raw offset, chrimg fatten makes it a FAT "
                               "with files")
               : -1;
}

/* Replayed changes stand below ours: what we change is then held against the replayed state. */
static int replay(struct session *s, struct side *side, struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;
    struct journal_report report;

    if (partition_window(s->replayed, side->partition, &window, err) < 0 ||
        journal_recover(window, &report, err) < 0)
        return -1;
    s->journal.transactions += report.transactions;
    s->journal.blocks += report.blocks;
    s->journal.revoked += report.revoked;
    s->journal.orphans += report.orphans;
    return 0;
}

static int probe_side(struct session *s, struct side *side, enum session_side which,
                      struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;
    bool ambiguous;

    if (partition_window(s->image->disk, side->partition, &window, err) < 0 ||
        probe_contents(window, &side->contents, err) < 0 ||
        probe_ambiguous(window, &ambiguous, err) < 0)
        return -1;
    if (ambiguous)
        return err_set(err, CHR_E_DAMAGED, "partition %u carries the marks of ext and of FAT at "
                       "once; one of them is stale", side->partition->number);
    if (side->contents != CHR_CONTENTS_EXT && side->contents != CHR_CONTENTS_FAT)
        return refuse_contents(side->partition, which, err);
    return 0;
}

static int open_side(struct session *s, struct side *side, enum session_side which,
                     struct chr_error *err)
{
    if (probe_side(s, side, which, err) < 0 ||
        (side->contents == CHR_CONTENTS_EXT && replay(s, side, err) < 0))
        return -1;
    return partition_window(s->overlay, side->partition, &side->window, err);
}

int session_side(struct session *s, enum session_side which, struct side **out,
                 struct chr_error *err)
{
    struct side *side = &s->sides[which];

    if (side->partition == NULL)
        return refuse_side(s, which, err);
    if (side->window == NULL && open_side(s, side, which, err) < 0) {
        (void)side_way_out(side, err);
        return err_context(err, "partition %u", side->partition->number);
    }
    *out = side;
    return 0;
}

/* ---- the end ---- */

/* What was wrong before is not our doing, and not ours to mend. */
static int blame(const struct session *s, const struct side *side, struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;
    struct chr_error before;

    if (err->code != CHR_E_DAMAGED)
        return err_context(err, "verification");
    if (partition_window(s->replayed, side->partition, &window, &before) == 0 &&
        side->contents == CHR_CONTENTS_EXT && ext_verify(window, &before) < 0) {
        *err = before;
        (void)err_context(err, "it was damaged before");
        return err_hint(err, "chrimg check says more; e2fsck mends an ext");
    }
    err->code = CHR_E_INTERNAL;
    return err_context(err, "verification");
}

static int verify_side(struct session *s, struct side *side, struct chr_error *err)
{
    AUTO_TREE struct file_tree after = {0};

    if ((side->contents == CHR_CONTENTS_EXT && ext_verify(side->window, err) < 0) ||
        side_read_all(side, &after, err) < 0)
        return blame(s, side, err);
    return check_untouched(&side->before, &after, &side->touched, s->overlay,
                           side->partition->first_lba * GPT_SECTOR_SIZE, err);
}

static int finish_side(struct session *s, struct side *side, struct chr_error *err)
{
    if (side->ext == NULL && side->fat == NULL)
        return 0;
    if ((side->ext != NULL ? ext_edit_finish(&side->ext, err) : fat_edit_finish(&side->fat, err)) <
            0 ||
        verify_side(s, side, err) < 0) {
        (void)side_way_out(side, err);
        return err_context(err, "partition %u", side->partition->number);
    }
    return 0;
}

int session_finish(struct session *s, bool commit, uint64_t *changed, struct chr_error *err)
{
    /* Where nothing was replayed ours is all, and is not kept in memory twice. */
    bool replayed = overlay_changed(s->replayed) > 0;
    struct blk *all = replayed ? s->replayed : s->overlay;

    *changed = 0;
    for (int i = 0; i < SESSION_SIDES; i++)
        if (finish_side(s, &s->sides[i], err) < 0)
            return -1;
    if ((replayed && copy_changes(s->overlay, all, err) < 0) ||
        overlay_drop_unchanged(all, err) < 0)
        return -1;
    *changed = overlay_changed(all);
    return commit && *changed > 0 ? commit_in_place(s->image, all, err) : 0;
}
