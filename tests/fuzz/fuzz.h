/*
 * What the fuzz targets share: a device in memory, and properties whose failure
 * stops the run.
 *
 * A target is a function LLVMFuzzerTestOneInput() in a file of its own.  libFuzzer
 * calls it with millions of inputs (make fuzz); main/replay.c calls it with the
 * saved ones (tests/fuzz.sh).
 */
#ifndef CHRIMG_TESTS_FUZZ_H
#define CHRIMG_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "block/blk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stop, as a sanitizer would, when what must hold does not. */
#define MUST(condition, ...)                                               \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "%s:%d: must be: %s: ", __FILE__, __LINE__,    \
                    #condition);                                           \
            fprintf(stderr, __VA_ARGS__);                                  \
            fputc('\n', stderr);                                           \
            abort();                                                       \
        }                                                                  \
    } while (0)

/* A device of LENGTH bytes that begins with BYTES and goes on with zeros. */
struct memory {
    struct blk blk;
    const uint8_t *bytes;
    size_t count;
};

static inline int memory_read(struct blk *blk, uint64_t off, void *buf, size_t len,
                              struct chr_error *err)
{
    const struct memory *memory = (const struct memory *)blk;
    size_t there = off < memory->count ? (size_t)min_u64(len, memory->count - off) : 0;

    (void)err;
    memset(buf, 0, len);
    if (there > 0)
        memcpy(buf, memory->bytes + off, there);
    return 0;
}

static inline int memory_close(struct blk *blk, struct chr_error *err)
{
    (void)blk;
    (void)err;
    return 0;
}

static const struct blk_ops memory_ops = {.read = memory_read, .close = memory_close};

static inline struct memory memory_device(const uint8_t *bytes, size_t count, uint64_t length)
{
    return (struct memory){
        .blk = {.ops = &memory_ops, .size = length, .writable = false, .fd = -1},
        .bytes = bytes,
        .count = min_u64(count, length),
    };
}

/* An error must say something, and must not be a bug of ours. */
static inline void must_be_told(const struct chr_error *err)
{
    MUST(err->code != CHR_OK && err->message[0] != '\0', "an error without a message");
    MUST(err->code != CHR_E_INTERNAL, "%s", err->message);
}

#endif
