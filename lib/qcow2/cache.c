/*
 * The table cache: least recently used goes first.  A changed table always has a
 * place that the image on disk does not use, so it may be written at any time.
 */
#include "qcow2/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void cache_init(struct table_cache *cache, const struct host_file *file, uint32_t table_size)
{
    uint64_t fit = CACHE_BYTES / table_size;

    *cache = (struct table_cache){
        .file = file,
        .table_size = table_size,
        .slots = (unsigned)min_u64(CACHE_SLOTS, max_u64(CACHE_SLOTS_LEAST, fit)),
    };
}

void cache_release(struct table_cache *cache)
{
    for (unsigned i = 0; i < CACHE_SLOTS; i++)
        free(cache->tables[i].bytes);
}

static struct table *find(struct table_cache *cache, uint64_t offset)
{
    if (cache->recent != NULL && cache->recent->offset == offset)
        return cache->recent;
    for (unsigned i = 0; i < cache->slots; i++)
        if (cache->tables[i].offset == offset)
            return &cache->tables[i];
    return NULL;
}

static struct table *used(struct table_cache *cache, struct table *table)
{
    table->last_use = ++cache->clock;
    cache->recent = table;
    return table;
}

static int write_back(struct table_cache *cache, struct table *table, struct chr_error *err)
{
    if (!table->dirty)
        return 0;
    if (host_write(cache->file, table->offset, table->bytes, cache->table_size, err) < 0)
        return -1;
    table->dirty = false;
    return 0;
}

/* An empty slot with a buffer. */
static struct table *make_room(struct table_cache *cache, struct chr_error *err)
{
    struct table *oldest = &cache->tables[0];

    for (unsigned i = 1; i < cache->slots; i++)
        if (cache->tables[i].last_use < oldest->last_use)
            oldest = &cache->tables[i];
    if (write_back(cache, oldest, err) < 0)
        return NULL;
    oldest->offset = 0;
    if (oldest->bytes == NULL)
        oldest->bytes = mem_new(cache->table_size, 1, err);
    return oldest->bytes != NULL ? oldest : NULL;
}

struct table *cache_get(struct table_cache *cache, uint64_t offset, struct chr_error *err)
{
    struct table *table = find(cache, offset);

    if (table != NULL)
        return used(cache, table);
    table = make_room(cache, err);
    if (table == NULL || host_read(cache->file, offset, table->bytes, cache->table_size, err) < 0)
        return NULL;
    table->offset = offset;
    return used(cache, table);
}

/* A cluster that is about to get a new table may have held another one before. */
static void forget(struct table_cache *cache, uint64_t offset)
{
    struct table *stale = find(cache, offset);

    if (stale != NULL) {
        stale->offset = 0;
        stale->dirty = false;
        stale->last_use = 0;
    }
}

struct table *cache_new(struct table_cache *cache, uint64_t offset, struct chr_error *err)
{
    struct table *table;

    forget(cache, offset);
    table = make_room(cache, err);
    if (table == NULL)
        return NULL;
    memset(table->bytes, 0, cache->table_size);
    table->offset = offset;
    table->dirty = true;
    return used(cache, table);
}

void cache_move(struct table_cache *cache, struct table *table, uint64_t offset)
{
    if (table->offset != offset)
        forget(cache, offset);
    table->offset = offset;
    table->dirty = true;
}

int cache_write_back(struct table_cache *cache, struct chr_error *err)
{
    for (unsigned i = 0; i < cache->slots; i++)
        if (write_back(cache, &cache->tables[i], err) < 0)
            return -1;
    return 0;
}

void cache_drop(struct table_cache *cache)
{
    for (unsigned i = 0; i < cache->slots; i++) {
        cache->tables[i].offset = 0;
        cache->tables[i].dirty = false;
        cache->tables[i].last_use = 0;
    }
    cache->recent = NULL;
}
