/*
 * Replay: what the journal's complete transactions say is put in its place.
 *
 *   1. scan the log (journal_scan.c); nothing is written before all of it is checked
 *   2. leave out what a later transaction has revoked
 *   3. write the last copy of every block                    flush
 *   4. mark the journal empty                                flush
 *   5. read the file system anew; work off the orphan list; take the sums of the groups'
 *      counts, which alone are kept up by transactions; clear needs_recovery
 * A cut before 4 leaves a journal that is replayed again, to the same end; after it an
 * empty one, whose file system still says that it needs recovery.
 */
#include "fs/journal.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/journal_format.h"
#include "fs/journal_work.h"

/* ---- one opening of the file system ---- */

static void session_release(struct ext_edit *edit)
{
    if (edit->metadata != NULL)
        ext2fs_free_block_bitmap(edit->metadata);
    if (edit->fs != NULL)
        ext2fs_free(edit->fs);
    *edit = (struct ext_edit){0};
}
#define AUTO_SESSION CLEANUP(session_release)

static int session_open(struct blk *device, struct ext_edit *edit, struct chr_error *err)
{
    errcode_t code;

    if (ext_super_read(device, &edit->super, err) < 0)
        return -1;
    ext_io_init(&edit->io, device);
    initialize_ext2_error_table(); /* else its messages are numbers; done once by itself */
    code = ext2fs_open2(edit->io.name, NULL, EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0,
                        (io_manager)&ext_io_manager, &edit->fs);
    if (code == EXT2_ET_RO_UNSUPP_FEATURE || code == EXT2_ET_UNSUPP_FEATURE)
        return err_set(err, CHR_E_UNSUPPORTED, "the file system has features that are not known");
    if (code != 0)
        return ext_work_error(edit, code, "file system", err);
    /* As e2fsck has it: backups are for geometry and features, which do not change. */
    edit->fs->flags |= EXT2_FLAG_MASTER_SB_ONLY;
    /* The time of the last write stands for the clock; zero would make libext2fs ask it. */
    edit->fs->now = edit->fs->super->s_wtime != 0 ? (time_t)edit->fs->super->s_wtime : 1;
    edit->checksums = ext2fs_has_feature_metadata_csum(edit->fs->super) != 0;
    if (EXT2_FIRST_INODE(edit->fs->super) < EXT2_GOOD_OLD_FIRST_INO ||
        EXT2_FIRST_INODE(edit->fs->super) > edit->super.inodes)
        return err_set(err, CHR_E_DAMAGED, "ext superblock: first inode is %" PRIu32,
                       (uint32_t)EXT2_FIRST_INODE(edit->fs->super));
    return 0;
}

/* ---- what has been revoked ---- */

/* The copies of one block of the file system. */
struct target {
    uint64_t block;
    uint32_t last;    /* index of the last copy */
    uint32_t revoked; /* copies of transactions below this number are void */
};

struct targets {
    struct target *items;
    size_t count;
};

static void targets_release(struct targets *targets)
{
    free(targets->items);
}
#define AUTO_TARGETS CLEANUP(targets_release)

static int by_block_then_age(const void *a, const void *b)
{
    const struct target *left = a;
    const struct target *right = b;

    if (left->block != right->block)
        return left->block < right->block ? -1 : 1;
    return (left->last > right->last) - (left->last < right->last);
}

static int collect_targets(const struct log *log, struct targets *targets, struct chr_error *err)
{
    size_t kept = 0;

    if (log->copy_count == 0)
        return 0;
    targets->items = mem_new(log->copy_count, sizeof *targets->items, err);
    if (targets->items == NULL)
        return -1;
    for (size_t i = 0; i < log->copy_count; i++)
        targets->items[i] = (struct target){log->copies[i].target, (uint32_t)i, 0};
    qsort(targets->items, log->copy_count, sizeof *targets->items, by_block_then_age);
    for (size_t i = 0; i < log->copy_count; i++) {
        if (kept > 0 && targets->items[kept - 1].block == targets->items[i].block)
            kept--;
        targets->items[kept++] = targets->items[i];
    }
    targets->count = kept;
    return 0;
}

/* NULL where the journal has no copy of BLOCK. */
static struct target *find_target(const struct targets *targets, uint64_t block)
{
    size_t low = 0;
    size_t high = targets->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (targets->items[middle].block == block)
            return &targets->items[middle];
        if (targets->items[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A revoke voids the copies of its own transaction, too: one made after it takes it back. */
static int take_revokes(const struct journal *journal, const struct log_revoke *revoke,
                        const uint8_t *block, const struct targets *targets,
                        struct chr_error *err)
{
    size_t size = journal->wide ? 8 : 4;
    size_t tail = journal->checksum >= JOURNAL_V2 ? (size_t)CHECKSUM_SIZE : 0;
    uint32_t bytes = be32(block + REVOKE_OFF_BYTES);

    if (bytes < REVOKE_HEADER_SIZE || bytes > journal->block_size - tail)
        return err_set(err, CHR_E_DAMAGED,
                       "the revoke block %" PRIu32 " of the journal says it has %" PRIu32 " bytes",
                       revoke->index, bytes);
    for (size_t off = REVOKE_HEADER_SIZE; off + size <= bytes; off += size) {
        uint64_t number = journal->wide ? be64(block + off) : be32(block + off);
        struct target *target = find_target(targets, number);

        if (number >= journal->fs->blocks)
            return err_set(err, CHR_E_DAMAGED,
                           "the journal revokes block %" PRIu64 ", outside the file system",
                           number);
        if (target != NULL && target->revoked <= revoke->transaction)
            target->revoked = revoke->transaction + 1;
    }
    return 0;
}

static int read_revokes(const struct journal *journal, const struct log *log, uint8_t *block,
                        const struct targets *targets, struct chr_error *err)
{
    for (size_t i = 0; i < log->revoke_count; i++)
        if (journal_read(journal, log->revokes[i].index, block, err) < 0 ||
            take_revokes(journal, &log->revokes[i], block, targets, err) < 0)
            return -1;
    return 0;
}

/* ---- the copies ---- */

static int check_target(const struct journal *journal, uint64_t block, struct chr_error *err)
{
    if (block < journal->fs->first_data_block || block >= journal->fs->blocks)
        return err_set(err, CHR_E_DAMAGED,
                       "the journal writes block %" PRIu64 ", outside the file system", block);
    if (journal_owns(journal, block))
        return err_set(err, CHR_E_DAMAGED,
                       "the journal writes block %" PRIu64 ", which is its own", block);
    return 0;
}

static int check_copy(const struct journal *journal, const struct log_copy *copy, uint8_t *block,
                      struct chr_error *err)
{
    uint8_t sequence[4];
    uint32_t crc;

    if (check_target(journal, copy->target, err) < 0)
        return -1;
    if (journal->checksum < JOURNAL_V2)
        return 0;
    if (journal_read(journal, copy->index, block, err) < 0)
        return -1;
    put_be32(sequence, journal->sequence + copy->transaction);
    crc = ext2fs_crc32c_le(journal->seed, sequence, sizeof sequence);
    crc = ext2fs_crc32c_le(crc, block, journal->block_size);
    if (copy->checksum != (journal->checksum == JOURNAL_V2 ? (uint16_t)crc : crc))
        return err_set(err, CHR_E_DAMAGED,
                       "the checksum of block %" PRIu64 " in transaction %" PRIu32
                       " of the journal is wrong",
                       copy->target, journal->sequence + copy->transaction);
    return 0;
}

/* As jbd2 does, what is void is not looked at; what a later copy replaces, is. */
static int check_copies(const struct journal *journal, const struct log *log, uint8_t *block,
                        const struct targets *targets, uint32_t *revoked, struct chr_error *err)
{
    for (size_t i = 0; i < log->copy_count; i++) {
        const struct log_copy *copy = &log->copies[i];

        if (copy->transaction < find_target(targets, copy->target)->revoked)
            (*revoked)++;
        else if (check_copy(journal, copy, block, err) < 0)
            return -1;
    }
    return 0;
}

static int write_copies(const struct journal *journal, const struct log *log, uint8_t *block,
                        const struct targets *targets, uint32_t *written, struct chr_error *err)
{
    for (size_t i = 0; i < targets->count; i++) {
        const struct target *target = &targets->items[i];
        const struct log_copy *copy = &log->copies[target->last];

        if (copy->transaction < target->revoked)
            continue;
        if (journal_read(journal, copy->index, block, err) < 0)
            return -1;
        if (copy->escaped)
            put_be32(block, JOURNAL_MAGIC);
        if (blk_write(journal->device, target->block * journal->block_size, block,
                      journal->block_size, err) < 0)
            return err_context(err, "block %" PRIu64, target->block);
        (*written)++;
    }
    return 0;
}

static int carry_out(const struct journal *journal, const struct log *log, uint8_t *block,
                     struct journal_report *report, struct chr_error *err)
{
    AUTO_TARGETS struct targets targets = {0};

    if (collect_targets(log, &targets, err) < 0 ||
        read_revokes(journal, log, block, &targets, err) < 0 ||
        check_copies(journal, log, block, &targets, &report->revoked, err) < 0 ||
        write_copies(journal, log, block, &targets, &report->blocks, err) < 0)
        return -1;
    report->transactions = log->transactions;
    return blk_flush(journal->device, err);
}

static int replay(const struct journal *journal, struct journal_report *report,
                  struct chr_error *err)
{
    AUTO_LOG struct log log = {.next_sequence = journal->sequence};
    uint8_t *block;
    int result = 0;

    if (journal->start != 0) {
        if (journal_scan(journal, &log, err) < 0)
            return -1;
        block = mem_new(1, journal->block_size, err);
        if (block == NULL)
            return -1;
        result = carry_out(journal, &log, block, report, err);
        explicit_bzero(block, journal->block_size); /* it held files of the router */
        free(block);
    }
    /* A number is left out, so that nothing in the ring can be taken for what comes next. */
    if (result < 0 || journal_write_empty(journal, log.next_sequence + 1, err) < 0)
        return -1;
    return blk_flush(journal->device, err);
}

/* ---- before and after ---- */

static bool has_external_journal(const struct ext_edit *edit)
{
    const struct ext2_super_block *super = edit->fs->super;

    return !is_zero(super->s_journal_uuid, sizeof super->s_journal_uuid) ||
           (super->s_journal_inum == 0 && super->s_journal_dev != 0);
}

static int refuse_errors(struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "the router has found errors in its file system");
    return err_hint(err, "run e2fsck -fy on the partition, then try again");
}

/* A file system that needs no recovery must have an empty journal. */
static int check_idle(const struct journal *journal, struct chr_error *err)
{
    if (journal->start != 0)
        return err_set(err, CHR_E_DAMAGED,
                       "the journal holds transactions, but needs_recovery is not set");
    return journal->error != 0 ? refuse_errors(err) : 0;
}

/* Replay where that is needed; *RECOVERED says so. */
static int recover(struct ext_edit *edit, bool *recovered, struct journal_report *report,
                   struct block_map *place, struct chr_error *err)
{
    AUTO_JOURNAL struct journal journal = {0};
    bool needed = edit->super.needs_recovery;

    if (!edit->super.has_journal)
        return !needed ? 0
                       : err_set(err, CHR_E_DAMAGED,
                                 "needs_recovery is set, but there is no journal");
    if (has_external_journal(edit)) {
        if (!needed)
            return 0;
        (void)err_set(err, CHR_E_UNSUPPORTED, "the journal is on another device");
        return err_hint(err, "run e2fsck -j DEVICE on the partition, with that device");
    }
    if (journal_open(edit, &journal, err) < 0)
        return -1;
    if (!needed)
        return check_idle(&journal, err);
    if (edit->super.has_errors || journal.error != 0)
        return refuse_errors(err);
    if (replay(&journal, report, err) < 0)
        return -1;
    *recovered = true;
    *place = journal.map;
    journal.map = (struct block_map){0};
    return 0;
}

/* What was replayed may be the superblock, or the journal's inode. */
static int check_same(struct ext_edit *edit, const struct ext_super *before,
                      const struct block_map *place, struct chr_error *err)
{
    AUTO_MAP struct block_map map = {0};

    if (edit->super.block_size != before->block_size || !edit->super.has_journal ||
        has_external_journal(edit) || journal_find(edit, &map, err) < 0 ||
        map.data.count != place->data.count ||
        memcmp(map.data.items, place->data.items, map.data.count * sizeof *map.data.items) != 0)
        return err_set(err, CHR_E_DAMAGED, "the journal has replaced itself");
    return edit->super.has_errors ? refuse_errors(err) : 0;
}

static int settle(struct ext_edit *edit, struct journal_report *report, struct chr_error *err)
{
    errcode_t code;

    if (orphans_present(edit)) {
        if (edit->super.has_errors)
            return refuse_errors(err);
        if (orphans_release(edit, &report->orphans, err) < 0)
            return -1;
    }
    if (ext_work_sum_counts(edit, err) < 0)
        return -1;
    ext2fs_clear_feature_journal_needs_recovery(edit->fs->super);
    ext2fs_mark_super_dirty(edit->fs);
    code = ext2fs_close_free(&edit->fs);
    if (code != 0)
        return ext_work_error(edit, code, "write", err);
    return blk_flush(edit->io.device, err);
}

static int recover_and_settle(struct blk *device, struct journal_report *report,
                              struct chr_error *err)
{
    AUTO_SESSION struct ext_edit before = {0};
    AUTO_SESSION struct ext_edit after = {0};
    AUTO_MAP struct block_map place = {0};
    bool recovered = false;

    if (session_open(device, &before, err) < 0 ||
        recover(&before, &recovered, report, &place, err) < 0)
        return -1;
    if (!recovered && !orphans_present(&before))
        return 0;
    if (session_open(device, &after, err) < 0 ||
        (recovered && check_same(&after, &before.super, &place, err) < 0))
        return -1;
    return settle(&after, report, err);
}

int journal_recover(struct blk *device, struct journal_report *report, struct chr_error *err)
{
    *report = (struct journal_report){0};
    if (recover_and_settle(device, report, err) == 0)
        return 0;
    *report = (struct journal_report){0};
    if (err->hint[0] == '\0' && err->code == CHR_E_DAMAGED)
        (void)err_hint(err, "run e2fsck -fy on the partition; what the journal held may be lost");
    if (err->hint[0] == '\0' && err->code == CHR_E_UNSUPPORTED)
        (void)err_hint(err, "boot the router once and shut it down, or run e2fsck");
    return -1;
}
