/*
 * A block device in memory that keeps a log of its writes and can lose power:
 * after `writes_left` writes the next one lands in part or not at all, and
 * everything later fails.
 */
#ifndef CHRIMG_TESTS_UNIT_MEMORY_BLK_H
#define CHRIMG_TESTS_UNIT_MEMORY_BLK_H

#include "block/blk.h"
#include "unit.h"

#define MEMORY_LOG_SIZE 4096
#define MEMORY_NO_FAULT SIZE_MAX

struct memory_write {
    uint64_t off;
    uint64_t len;
};

struct memory {
    struct blk blk;
    uint8_t *bytes;
    struct memory_write log[MEMORY_LOG_SIZE];
    size_t log_count;
    size_t reads;
    size_t flushes;
    size_t writes_left; /* until the power goes; MEMORY_NO_FAULT: it stays */
    size_t torn;        /* bytes of the first write without power that land all the same */
    bool read_fault;    /* every read fails */
    bool closed;
};

static inline struct memory *memory_of(struct blk *blk)
{
    return (struct memory *)blk;
}

static inline int memory_read(struct blk *blk, uint64_t off, void *buf, size_t len,
                              struct chr_error *err)
{
    struct memory *memory = memory_of(blk);

    assert_true(len > 0 && off <= blk->size && len <= blk->size - off);
    memory->reads++;
    if (memory->read_fault)
        return err_set(err, CHR_E_IO, "memory: read fault");
    memcpy(buf, memory->bytes + off, len);
    return 0;
}

static inline int memory_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                               struct chr_error *err)
{
    struct memory *memory = memory_of(blk);

    assert_true(len > 0 && off <= blk->size && len <= blk->size - off);
    if (memory->writes_left == 0) {
        memcpy(memory->bytes + off, buf, len < memory->torn ? len : memory->torn);
        memory->torn = 0;
        return err_set(err, CHR_E_IO, "memory: no power");
    }
    if (memory->writes_left != MEMORY_NO_FAULT)
        memory->writes_left--;
    if (memory->log_count < MEMORY_LOG_SIZE)
        memory->log[memory->log_count++] = (struct memory_write){off, len};
    memcpy(memory->bytes + off, buf, len);
    return 0;
}

static inline int memory_flush(struct blk *blk, struct chr_error *err)
{
    struct memory *memory = memory_of(blk);

    if (memory->writes_left == 0)
        return err_set(err, CHR_E_IO, "memory: no power");
    memory->flushes++;
    return 0;
}

static inline int memory_close(struct blk *blk, struct chr_error *err)
{
    (void)err;
    memory_of(blk)->closed = true;
    return 0;
}

static const struct blk_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .close = memory_close,
};

/* A writable device of SIZE zeros; free with memory_free(). */
static inline struct memory *memory_new(uint64_t size)
{
    struct memory *memory = calloc(1, sizeof *memory);

    assert_non_null(memory);
    memory->bytes = calloc(1, size != 0 ? size : 1);
    assert_non_null(memory->bytes);
    memory->blk = (struct blk){.ops = &memory_ops, .size = size, .writable = true, .fd = -1};
    memory->writes_left = MEMORY_NO_FAULT;
    return memory;
}

static inline void memory_free(struct memory *memory)
{
    free(memory->bytes);
    free(memory);
}

/* Give the power back and forget what was counted. */
static inline void memory_reset(struct memory *memory)
{
    memory->log_count = 0;
    memory->reads = 0;
    memory->flushes = 0;
    memory->writes_left = MEMORY_NO_FAULT;
    memory->torn = 0;
    memory->read_fault = false;
}

#endif
