/*
 * A cache of tables (L2 tables, or refcount blocks), each one cluster, kept as the
 * bytes that are on disk.  Its size is fixed.
 *
 * A table stays where it is until the next call on the same cache: take what is
 * needed from it, or change it, before the next one is asked for.
 */
#ifndef CHRIMG_QCOW2_CACHE_H
#define CHRIMG_QCOW2_CACHE_H

#include "qcow2/file.h"

enum { CACHE_SLOTS = 32 };
#define CACHE_BYTES (UINT64_C(2) << 20) /* but never fewer than CACHE_SLOTS_LEAST tables */
enum { CACHE_SLOTS_LEAST = 4 };

struct table {
    uint64_t offset; /* in the file; 0 = an empty slot */
    uint64_t last_use;
    bool dirty;
    uint8_t *bytes;
};

struct table_cache {
    const struct host_file *file; /* borrowed */
    uint32_t table_size;
    unsigned slots;
    uint64_t clock;
    struct table *recent;
    struct table tables[CACHE_SLOTS];
};

void cache_init(struct table_cache *cache, const struct host_file *file, uint32_t table_size);
void cache_release(struct table_cache *cache);

/* The table at OFFSET, read if it is not here; NULL with ERR on failure. */
struct table *cache_get(struct table_cache *cache, uint64_t offset, struct chr_error *err);

/* A new table of zeros that will be written to OFFSET; NULL with ERR on failure. */
struct table *cache_new(struct table_cache *cache, uint64_t offset, struct chr_error *err);

/* From now on TABLE is a changed table that belongs at OFFSET; what was on disk stays there. */
void cache_move(struct table_cache *cache, struct table *table, uint64_t offset);

/* Write what has changed. */
int cache_write_back(struct table_cache *cache, struct chr_error *err);

/* Forget everything, changes too. */
void cache_drop(struct table_cache *cache);

#endif
