/*
 * Journals made by hand, for tests: an ext4 of 8 MiB by mke2fs, and a writer of its ring
 * that shares no code with the reader.  Blocks are of 1 KiB.
 */
#ifndef CHRIMG_TESTS_UNIT_JOURNAL_MAKER_H
#define CHRIMG_TESTS_UNIT_JOURNAL_MAKER_H

#include <ext2fs/ext2fs.h>

#include "base/bytes.h"
#include "memory_blk.h"

#define BLOCK 1024
#define RING_END 1024 /* the least that a journal can have */
#define FS_BLOCKS 8192
#define NO_TAG_FLAGS 0
#define MAGIC 0xC03B3998u

enum checksums { PLAIN, SUM_V1, SUM_V2, SUM_V3 };
enum { TYPE_TAGS = 1, TYPE_COMMIT = 2, TYPE_V1 = 3, TYPE_V2 = 4, TYPE_REVOKE = 5 };
enum { ESCAPED = 1, SAME_UUID = 2, LAST = 8 };

struct maker {
    struct memory *disk;
    uint64_t place[RING_END]; /* byte of each block of the journal */
    enum checksums checksums;
    bool wide;
    uint32_t end;      /* where the ring comes around */
    uint32_t head;     /* next block to write */
    uint32_t sequence; /* of the transaction that is written */
    uint64_t seconds;
    uint32_t crc;      /* v1 */
    uint32_t descriptor;
    size_t tag; /* where the next one goes in it */
};

static inline uint8_t *journal_block(struct maker *m, uint32_t index)
{
    return m->disk->bytes + m->place[index];
}

static inline uint8_t *fs_block(struct maker *m, uint64_t block)
{
    return m->disk->bytes + block * BLOCK;
}

static inline uint32_t crc_seed(struct maker *m)
{
    return ext2fs_crc32c_le(~0u, journal_block(m, 0) + 48, 16);
}

/* The journal's superblock, sealed again after a change. */
static inline void seal_super(struct maker *m)
{
    uint8_t *super = journal_block(m, 0);

    memset(super + 252, 0, 4);
    if (m->checksums >= SUM_V2)
        put_be32(super + 252, ext2fs_crc32c_le(~0u, super, 1024));
}

static inline void set_super(struct maker *m, size_t off, uint32_t value)
{
    put_be32(journal_block(m, 0) + off, value);
    seal_super(m);
}

/* A journal whose log begins at block START with SEQUENCE; needs_recovery is set. */
static inline void start_journal(struct maker *m, enum checksums checksums, bool wide,
                                 uint32_t start, uint32_t sequence)
{
    static const uint32_t incompat[] = {0, 0, 8, 16};
    uint8_t *super = journal_block(m, 0);

    m->checksums = checksums;
    m->wide = wide;
    m->end = RING_END;
    m->head = start;
    m->sequence = sequence;
    m->seconds = 1000;
    m->crc = ~0u;
    put_be32(super + 4, TYPE_V2);
    put_be32(super + 24, sequence);
    put_be32(super + 28, start);
    put_be32(super + 36, checksums == SUM_V1);
    put_be32(super + 40, 1u | (wide ? 2u : 0u) | incompat[checksums]);
    super[80] = checksums >= SUM_V2 ? 4 : 0;
    seal_super(m);
    m->disk->bytes[1024 + 96] |= 4;
}

static inline uint8_t *take_block(struct maker *m)
{
    uint8_t *block = journal_block(m, m->head);

    m->head = m->head + 1 == m->end ? 1 : m->head + 1;
    memset(block, 0, BLOCK);
    return block;
}

static inline void put_header(struct maker *m, uint8_t *block, uint32_t type)
{
    put_be32(block, MAGIC);
    put_be32(block + 4, type);
    put_be32(block + 8, m->sequence);
}

static inline void seal_tail(struct maker *m, uint8_t *block)
{
    memset(block + BLOCK - 4, 0, 4);
    put_be32(block + BLOCK - 4, ext2fs_crc32c_le(crc_seed(m), block, BLOCK));
}

static inline void open_tags(struct maker *m)
{
    m->descriptor = m->head;
    put_header(m, take_block(m), TYPE_TAGS);
    m->tag = 12;
}

static inline size_t tag_length(const struct maker *m)
{
    return m->checksums == SUM_V3   ? 16
           : m->checksums == SUM_V2 ? (m->wide ? 14 : 10)
                                    : (m->wide ? 12 : 8);
}

/* A copy of the block TARGET, all bytes FILL, or beginning with the magic number. */
static inline void add_copy(struct maker *m, uint64_t target, uint8_t fill, unsigned flags)
{
    uint8_t *tag = journal_block(m, m->descriptor) + m->tag;
    uint8_t *copy = take_block(m);
    uint8_t sequence[4];
    uint32_t crc;

    memset(copy, fill, BLOCK);
    if ((flags & ESCAPED) != 0)
        memset(copy, 0, 4);
    put_be32(sequence, m->sequence);
    crc = ext2fs_crc32c_le(ext2fs_crc32c_le(crc_seed(m), sequence, 4), copy, BLOCK);
    put_be32(tag, (uint32_t)target);
    if (m->checksums == SUM_V3) {
        put_be32(tag + 4, flags);
        put_be32(tag + 8, (uint32_t)(target >> 32));
        put_be32(tag + 12, crc);
    } else {
        put_be16(tag + 4, m->checksums == SUM_V2 ? (uint16_t)crc : 0);
        put_be16(tag + 6, (uint16_t)flags);
        if (m->wide)
            put_be32(tag + 8, (uint32_t)(target >> 32));
    }
    m->tag += tag_length(m) + ((flags & SAME_UUID) != 0 ? 0 : 16);
}

static inline void close_tags(struct maker *m)
{
    uint8_t *block = journal_block(m, m->descriptor);

    if (m->checksums >= SUM_V2)
        seal_tail(m, block);
    if (m->checksums != SUM_V1)
        return;
    m->crc = ext2fs_crc32_be(m->crc, block, BLOCK);
    for (uint32_t i = m->descriptor + 1 == m->end ? 1 : m->descriptor + 1; i != m->head;
         i = i + 1 == m->end ? 1 : i + 1)
        m->crc = ext2fs_crc32_be(m->crc, journal_block(m, i), BLOCK);
}

static inline void add_revoke(struct maker *m, const uint64_t *blocks, size_t count)
{
    uint8_t *block = take_block(m);
    size_t size = m->wide ? 8 : 4;

    put_header(m, block, TYPE_REVOKE);
    put_be32(block + 12, (uint32_t)(16 + count * size));
    for (size_t i = 0; i < count; i++) {
        if (m->wide)
            put_be64(block + 16 + i * size, blocks[i]);
        else
            put_be32(block + 16 + i * size, (uint32_t)blocks[i]);
    }
    if (m->checksums >= SUM_V2)
        seal_tail(m, block);
}

/* End the transaction; returns its commit block. */
static inline uint8_t *commit(struct maker *m)
{
    uint8_t *block = take_block(m);

    put_header(m, block, TYPE_COMMIT);
    put_be64(block + 48, m->seconds++);
    if (m->checksums == SUM_V1) {
        block[12] = 1;
        block[13] = 4;
        put_be32(block + 16, m->crc);
    } else if (m->checksums >= SUM_V2) {
        put_be32(block + 16, ext2fs_crc32c_le(crc_seed(m), block, BLOCK));
    }
    m->sequence++;
    m->crc = ~0u;
    return block;
}

/* A whole transaction with one copy. */
static inline void add_transaction(struct maker *m, uint64_t target, uint8_t fill)
{
    open_tags(m);
    add_copy(m, target, fill, LAST);
    close_tags(m);
    (void)commit(m);
}

/* Make the file NAME and learn where its journal is. */
static inline void make_image(const char *name, const char *options)
{
    char command[512];

    (void)snprintf(command, sizeof command,
                   "PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -b %d -J size=1 %s %s %dk "
                   ">mke2fs.log 2>&1",
                   BLOCK, options, name, FS_BLOCKS);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static inline void maker_open(struct maker *m, const char *name)
{
    uint8_t *bytes;
    ext2_filsys fs;
    size_t len;

    memset(m, 0, sizeof *m);
    assert_int_equal(ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
    for (uint32_t i = 0; i < RING_END; i++) {
        blk64_t block = 0;

        assert_int_equal(ext2fs_bmap2(fs, EXT2_JOURNAL_INO, NULL, NULL, 0, i, NULL, &block), 0);
        m->place[i] = block * BLOCK;
    }
    ext2fs_free(fs);
    bytes = read_file(name, &len);
    m->disk = memory_new(len);
    memcpy(m->disk->bytes, bytes, len);
    free(bytes);
}

static inline void maker_close(struct maker *m)
{
    memory_free(m->disk);
}

#endif
