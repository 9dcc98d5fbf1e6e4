/*
 * What the parts of the journal's replay share (journal.h is the door): the journal as
 * a device and its superblock (journal_super.c), what is in it (journal_scan.c), and
 * the list of inodes that were open without a name (orphans.c).
 */
#ifndef CHRIMG_FS_JOURNAL_WORK_H
#define CHRIMG_FS_JOURNAL_WORK_H

#include "fs/ext_work.h"

enum journal_checksum { JOURNAL_NO_CHECKSUM, JOURNAL_V1, JOURNAL_V2, JOURNAL_V3 };

struct journal {
    struct blk *device;       /* of the file system, borrowed */
    const struct ext_super *fs;
    uint32_t block_size;
    struct block_map map;     /* where the journal's blocks are */
    struct block_run *sorted; /* the same and the map's own blocks, by place */
    size_t sorted_count;

    uint32_t first; /* of the ring */
    uint32_t end;   /* of the ring, exclusive */
    uint32_t fast;  /* first block for fast commits, 0: none */
    uint32_t start; /* block of the first transaction, 0: the journal is empty */
    uint32_t sequence;
    uint32_t error;
    enum journal_checksum checksum;
    uint32_t seed; /* of v2 and v3 */
    bool wide;     /* 64bit */
    bool async_commit;
};

/*
 * Find the journal of the file system open in EDIT and decode its superblock; EDIT and
 * its device must outlive OUT.  A journal inode that is lost is made anew from the copy
 * in the file system's superblock.  Release with journal_release.
 */
int journal_open(struct ext_edit *edit, struct journal *out, struct chr_error *err);

void journal_release(struct journal *journal);
#define AUTO_JOURNAL CLEANUP(journal_release)

/* Find the journal inode's blocks, as journal_open() does. */
int journal_find(struct ext_edit *edit, struct block_map *map, struct chr_error *err);

/* Read block INDEX of the journal. */
int journal_read(const struct journal *journal, uint32_t index, uint8_t *block,
                 struct chr_error *err);

/* Whether BLOCK of the file system belongs to the journal. */
bool journal_owns(const struct journal *journal, uint64_t block);

/* Write the superblock of an empty journal that goes on with SEQUENCE. */
int journal_write_empty(const struct journal *journal, uint32_t sequence, struct chr_error *err);

/* CRC-32C of LEN bytes with zeros in place of the 4 at OFF_CHECKSUM, which are restored. */
uint32_t journal_crc_without(uint32_t seed, uint8_t *bytes, size_t len, size_t off_checksum);

/* A copy of a block in the journal. */
struct log_copy {
    uint64_t target;      /* block of the file system */
    uint32_t index;       /* block of the journal */
    uint32_t transaction; /* counted from 0 */
    uint32_t checksum;    /* v2: 16 bits of it */
    bool escaped;
};

struct log_revoke {
    uint32_t index; /* of the revoke block in the journal */
    uint32_t transaction;
};

/* All complete transactions; no more entries than the journal has blocks. */
struct log {
    struct log_copy *copies; /* in the order of the journal */
    size_t copy_count;
    size_t copy_capacity;
    struct log_revoke *revokes;
    size_t revoke_count;
    size_t revoke_capacity;
    uint32_t transactions;
    uint32_t next_sequence; /* of the first transaction that is not complete */
};

void log_release(struct log *log);
#define AUTO_LOG CLEANUP(log_release)

/* Read the journal from its start to where its last complete transaction ends. */
int journal_scan(const struct journal *journal, struct log *out, struct chr_error *err);

/* ---- orphans.c ---- */

bool orphans_present(const struct ext_edit *edit);

/*
 * Free the inodes that have no name any more, and the blocks behind the end of those
 * that were being truncated; the list is empty then.
 */
int orphans_release(struct ext_edit *edit, uint32_t *count, struct chr_error *err);

#endif
