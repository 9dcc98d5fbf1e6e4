/*
 * What is in a journal: its transactions one after the other, from the start to the
 * last one that is complete.
 *
 * Where the log ends is told by what does not fit: a block without the magic number, or
 * with another sequence number than the next, is left over from an earlier turn of the
 * ring.  A checksum that is wrong may be such a leftover too; as jbd2 does, the commit
 * block's time decides: older than the last transaction's, it is one, else the journal
 * is damaged.  No transaction is longer than the ring, so every walk ends.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "fs/journal_format.h"
#include "fs/journal_work.h"

void log_release(struct log *log)
{
    free(log->copies);
    free(log->revokes);
    *log = (struct log){0};
}

/* ---- the walk ---- */

struct scan {
    const struct journal *journal;
    struct log *log;
    uint32_t next;     /* block of the journal to be read */
    uint32_t sequence; /* of the transaction that is expected or being read */
    uint32_t walked;   /* blocks so far */
    uint8_t *block;
    uint8_t *copy;        /* a second block */
    size_t copies_done;   /* entries of complete transactions */
    size_t revokes_done;
    bool suspect;         /* a block of this transaction has a wrong checksum */
    bool broken;          /* a commit block had one; only with asynchronous commits */
    uint32_t broken_sequence;
    uint64_t last_seconds; /* of the last complete transaction */
    uint32_t crc;          /* v1: of this transaction so far */
};

enum step { STEP_ERROR = -1, STEP_ON, STEP_END };

/* The next block's number; STEP_ERROR when the log has come around to its own start. */
static int step(struct scan *scan, uint32_t *index, struct chr_error *err)
{
    const struct journal *journal = scan->journal;

    if (scan->walked >= journal->end - journal->first)
        return err_set(err, CHR_E_DAMAGED,
                       "the journal runs into its own start in transaction %" PRIu32,
                       scan->sequence);
    scan->walked++;
    *index = scan->next;
    scan->next = scan->next + 1 == journal->end ? journal->first : scan->next + 1;
    return 0;
}

/* The log ends here because what follows is older, or is not there. */
static enum step end_of_log(struct scan *scan)
{
    struct log *log = scan->log;

    log->copy_count = scan->copies_done;
    log->revoke_count = scan->revokes_done;
    log->next_sequence = scan->broken ? scan->broken_sequence : scan->sequence;
    return STEP_END;
}

static enum step bad_transaction(const struct scan *scan, struct chr_error *err)
{
    return (enum step)err_set(err, CHR_E_DAMAGED,
                              "the checksum of transaction %" PRIu32 " in the journal is wrong",
                              scan->sequence);
}

/* ---- descriptor blocks ---- */

static size_t tag_size(const struct journal *journal)
{
    if (journal->checksum == JOURNAL_V3)
        return TAG_SIZE_V3;
    return (journal->wide ? TAG_SIZE_64BIT : TAG_SIZE_32BIT) +
           (journal->checksum == JOURNAL_V2 ? (size_t)TAG_SIZE_CSUM_V2 : 0);
}

/* Bytes of a descriptor or revoke block that tags or numbers may fill. */
static size_t usable(const struct journal *journal)
{
    return journal->block_size - (journal->checksum >= JOURNAL_V2 ? (size_t)CHECKSUM_SIZE : 0);
}

static bool tail_is_right(struct scan *scan)
{
    const struct journal *journal = scan->journal;
    size_t off = usable(journal);

    return journal->checksum < JOURNAL_V2 ||
           journal_crc_without(journal->seed, scan->block, journal->block_size, off) ==
               be32(scan->block + off);
}

static struct log_copy decode_tag(const struct scan *scan, const uint8_t *tag)
{
    const struct journal *journal = scan->journal;
    struct log_copy copy = {
        .target = be32(tag + TAG_OFF_BLOCK),
        .transaction = scan->log->transactions,
        .escaped = (be16(tag + TAG_OFF_FLAGS) & TAG_FLAG_ESCAPED) != 0,
    };

    if (journal->wide)
        copy.target |= (uint64_t)be32(tag + TAG_OFF_BLOCK_HIGH) << 32;
    if (journal->checksum == JOURNAL_V3)
        copy.checksum = be32(tag + TAG_OFF_CHECKSUM_V3);
    else if (journal->checksum == JOURNAL_V2)
        copy.checksum = be16(tag + TAG_OFF_CHECKSUM_V2);
    return copy;
}

/* Take one tag, whose copy is the next block of the journal. */
static int take_copy(struct scan *scan, const uint8_t *tag, struct chr_error *err)
{
    struct log *log = scan->log;
    struct log_copy copy = decode_tag(scan, tag);

    if (step(scan, &copy.index, err) < 0 ||
        mem_grow(&log->copies, &log->copy_capacity, log->copy_count, sizeof *log->copies, err) < 0)
        return -1;
    log->copies[log->copy_count++] = copy;
    if (scan->journal->checksum != JOURNAL_V1)
        return 0;
    if (journal_read(scan->journal, copy.index, scan->copy, err) < 0)
        return -1;
    scan->crc = ext2fs_crc32_be(scan->crc, scan->copy, scan->journal->block_size);
    return 0;
}

static enum step take_descriptor(struct scan *scan, struct chr_error *err)
{
    const struct journal *journal = scan->journal;
    size_t size = tag_size(journal);
    size_t off = JOURNAL_HEADER_SIZE;

    if (!tail_is_right(scan))
        scan->suspect = true;
    if (journal->checksum == JOURNAL_V1)
        scan->crc = ext2fs_crc32_be(scan->crc, scan->block, journal->block_size);
    while (off + size <= usable(journal)) {
        const uint8_t *tag = scan->block + off;
        uint16_t flags = be16(tag + TAG_OFF_FLAGS);

        if (take_copy(scan, tag, err) < 0)
            return STEP_ERROR;
        off += size + ((flags & TAG_FLAG_SAME_UUID) == 0 ? (size_t)TAG_UUID_SIZE : 0);
        if ((flags & TAG_FLAG_LAST) != 0)
            break;
    }
    return STEP_ON;
}

/* ---- the other blocks ---- */

static enum step take_revoke(struct scan *scan, uint32_t index, struct chr_error *err)
{
    struct log *log = scan->log;

    if (!tail_is_right(scan))
        scan->suspect = true;
    if (mem_grow(&log->revokes, &log->revoke_capacity, log->revoke_count, sizeof *log->revokes,
                 err) < 0)
        return STEP_ERROR;
    log->revokes[log->revoke_count++] =
        (struct log_revoke){.index = index, .transaction = log->transactions};
    return STEP_ON;
}

static bool commit_is_right(struct scan *scan)
{
    const struct journal *journal = scan->journal;
    const uint8_t *block = scan->block;
    uint32_t found = be32(block + COMMIT_OFF_CHECKSUM);
    uint8_t type = block[COMMIT_OFF_CHECKSUM_TYPE];
    uint8_t size = block[COMMIT_OFF_CHECKSUM_SIZE];

    if (journal->checksum == JOURNAL_NO_CHECKSUM)
        return true;
    if (journal->checksum == JOURNAL_V1)
        return (type == CHECKSUM_TYPE_CRC32 && size == CHECKSUM_SIZE && found == scan->crc) ||
               (type == 0 && size == 0 && found == 0);
    return journal_crc_without(journal->seed, scan->block, journal->block_size,
                               COMMIT_OFF_CHECKSUM) == found;
}

static enum step take_commit(struct scan *scan, struct chr_error *err)
{
    struct log *log = scan->log;
    uint64_t seconds = be64(scan->block + COMMIT_OFF_SECONDS);
    bool right = !scan->suspect && commit_is_right(scan);

    if (!right && seconds < scan->last_seconds)
        return end_of_log(scan);
    /*
     * A commit block written before its blocks (asynchronous) may be the last thing that
     * happened; where another commit follows, it was not.
     */
    if (scan->broken || scan->suspect || (!right && !scan->journal->async_commit))
        return bad_transaction(scan, err);
    if (!right) {
        scan->broken = true;
        scan->broken_sequence = scan->sequence;
    } else {
        scan->last_seconds = seconds;
        scan->copies_done = log->copy_count;
        scan->revokes_done = log->revoke_count;
        log->transactions++;
    }
    scan->crc = UINT32_MAX;
    scan->sequence++; /* comes around to 0 */
    return STEP_ON;
}

static enum step take_block(struct scan *scan, struct chr_error *err)
{
    uint32_t index;

    /* Before it counts as a step: a full ring ends where it began, in an older block. */
    if (journal_read(scan->journal, scan->next, scan->block, err) < 0)
        return STEP_ERROR;
    if (be32(scan->block + JOURNAL_OFF_MAGIC) != JOURNAL_MAGIC ||
        be32(scan->block + JOURNAL_OFF_SEQUENCE) != scan->sequence)
        return end_of_log(scan);
    if (step(scan, &index, err) < 0)
        return STEP_ERROR;
    switch (be32(scan->block + JOURNAL_OFF_TYPE)) {
    case JOURNAL_TYPE_DESCRIPTOR:
        return take_descriptor(scan, err);
    case JOURNAL_TYPE_COMMIT:
        return take_commit(scan, err);
    case JOURNAL_TYPE_REVOKE:
        return take_revoke(scan, index, err);
    default:
        return end_of_log(scan);
    }
}

static int scan_log(struct scan *scan, struct chr_error *err)
{
    enum step result;

    do
        result = take_block(scan, err);
    while (result == STEP_ON);
    return result == STEP_END ? 0 : -1;
}

/* ---- fast commits ---- */

/* They follow the last transaction when their head names the one that would be next. */
static int check_fast_commits(const struct scan *scan, struct chr_error *err)
{
    const struct journal *journal = scan->journal;

    /* jbd2 begins one block behind what it keeps for them. */
    for (uint32_t index = journal->fast; journal->fast != 0 && index <= journal->fast + 1;
         index++) {
        if (journal_read(journal, index, scan->block, err) < 0)
            return -1;
        if (le16(scan->block) == FAST_TAG_HEAD &&
            le32(scan->block + FAST_OFF_SEQUENCE) == scan->log->next_sequence)
            return err_set(err, CHR_E_UNSUPPORTED,
                           "the journal holds fast commits, which cannot be replayed here");
    }
    return 0;
}

int journal_scan(const struct journal *journal, struct log *out, struct chr_error *err)
{
    size_t size = 2 * (size_t)journal->block_size;
    AUTO_FREE uint8_t *blocks = mem_new(1, size, err);
    AUTO_LOG struct log log = {0};
    struct scan scan = {.journal = journal, .log = &log, .next = journal->start,
                        .sequence = journal->sequence, .crc = UINT32_MAX};
    int result;

    if (blocks == NULL)
        return -1;
    scan.block = blocks;
    scan.copy = blocks + journal->block_size;
    result = scan_log(&scan, err);
    if (result == 0)
        result = check_fast_commits(&scan, err);
    explicit_bzero(blocks, size); /* files of the router may have passed through */
    if (result < 0)
        return -1;
    *out = log;
    log = (struct log){0};
    return 0;
}
