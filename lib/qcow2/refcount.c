/*
 * Refcounts.  A block that changes moves to a free cluster, which changes the
 * refcounts of two more clusters, maybe in other blocks: so all changes go through
 * a queue, and each block moves at most once between commits.
 */
#include "qcow2/refcount.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct refcount_change {
    uint64_t cluster;
    int64_t delta;
};

uint64_t refcount_entry(const uint8_t *block, uint64_t index, unsigned order)
{
    unsigned bit;

    switch (order) {
    case 6:
        return be64(block + index * 8);
    case 5:
        return be32(block + index * 4);
    case 4:
        return be16(block + index * 2);
    case 3:
        return block[index];
    default: /* within a byte, the least significant bits first */
        bit = (unsigned)(index << order) & 7;
        return (unsigned)block[index >> (3 - order)] >> bit & ((1u << (1u << order)) - 1);
    }
}

void refcount_set_entry(uint8_t *block, uint64_t index, unsigned order, uint64_t value)
{
    uint8_t *byte;
    unsigned bit;
    unsigned mask;

    switch (order) {
    case 6:
        put_be64(block + index * 8, value);
        return;
    case 5:
        put_be32(block + index * 4, (uint32_t)value);
        return;
    case 4:
        put_be16(block + index * 2, (uint16_t)value);
        return;
    case 3:
        block[index] = (uint8_t)value;
        return;
    default:
        byte = &block[index >> (3 - order)];
        bit = (unsigned)(index << order) & 7;
        mask = (1u << (1u << order)) - 1;
        *byte = (uint8_t)((*byte & ~(mask << bit)) | (unsigned)value << bit);
        return;
    }
}

uint64_t refcount_max(unsigned order)
{
    return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
}

uint64_t refcount_block_entries(unsigned cluster_bits, unsigned order)
{
    return UINT64_C(1) << (cluster_bits + 3 - order);
}

static uint64_t block_entries(const struct image *image)
{
    return refcount_block_entries(image->header.cluster_bits, image->header.refcount_order);
}

void refcount_unload(struct image *image)
{
    free(image->reftable.entries);
    free(image->committed_reftable.entries);
    image->reftable = (struct offsets){0};
    image->committed_reftable = (struct offsets){0};
    image->changes_count = 0;
    image->next_free = 0;
    image->lowest_freed = UINT64_MAX;
    cache_drop(&image->refcount_blocks);
}

/* Entries that cannot be meant say "no block" from here on; the check reports how many. */
static void drop_bad_entries(struct image *image, struct offsets *table)
{
    image->bad_blocks = 0;
    for (uint64_t i = 0; i < table->count; i++) {
        uint64_t offset = table->entries[i];

        if (offset % image->cluster_size == 0 && offset < image->file.blk->size)
            continue;
        table->entries[i] = 0;
        image->bad_blocks++;
    }
}

int refcount_load(struct image *image, struct chr_error *err)
{
    uint64_t count = offset_of(image, image->header.reftable_clusters) / ENTRY_BYTES;
    struct offsets table = {0};
    struct offsets copy = {0};

    if (image->reftable.entries != NULL)
        return 0;
    if (offsets_read(&image->file, image->header.reftable_offset, count, &table, err) < 0)
        return err_context(err, "refcount table");
    drop_bad_entries(image, &table);
    copy = (struct offsets){.entries = mem_new(count, sizeof *copy.entries, err), .count = count};
    if (copy.entries == NULL) {
        free(table.entries);
        return -1;
    }
    memcpy(copy.entries, table.entries, count * sizeof *copy.entries);
    refcount_unload(image);
    image->reftable = table;
    image->committed_reftable = copy;
    return 0;
}

/* Where the block that counts CLUSTER is, 0 = there is none. */
static uint64_t block_of(const struct image *image, const struct offsets *table, uint64_t cluster)
{
    uint64_t index = cluster / block_entries(image);

    return index < table->count ? table->entries[index] : 0;
}

static int get(struct image *image, const struct offsets *table, uint64_t cluster, uint64_t *count,
               struct chr_error *err)
{
    uint64_t offset = block_of(image, table, cluster);
    struct table *block;

    *count = 0;
    if (offset == 0)
        return 0;
    block = cache_get(&image->refcount_blocks, offset, err);
    if (block == NULL)
        return err_context(err, "refcount block at offset %" PRIu64, offset);
    *count = refcount_entry(block->bytes, cluster % block_entries(image),
                            image->header.refcount_order);
    return 0;
}

int refcount_get(struct image *image, uint64_t cluster, uint64_t *count, struct chr_error *err)
{
    return get(image, &image->reftable, cluster, count, err);
}

int refcount_get_committed(struct image *image, uint64_t cluster, uint64_t *count,
                           struct chr_error *err)
{
    return get(image, &image->committed_reftable, cluster, count, err);
}

/*
 * The first of COUNT clusters in a row, from next_free on, that neither version
 * uses.  next_free only moves up between commits, so nothing is found twice.
 */
static int find_free(struct image *image, uint64_t count, uint64_t *first, struct chr_error *err)
{
    uint64_t limit = cluster_of(image, MAX_HOST_OFFSET);
    uint64_t cluster = image->next_free;
    uint64_t run = 0;

    while (run < count) {
        uint64_t built;
        uint64_t committed = 0;

        if (cluster >= limit)
            return err_set(err, CHR_E_SPACE, "the image cannot grow past %" PRIu64 " bytes",
                           MAX_HOST_OFFSET);
        if (refcount_get(image, cluster, &built, err) < 0)
            return -1;
        if (built == 0 && refcount_get_committed(image, cluster, &committed, err) < 0)
            return -1;
        run = built == 0 && committed == 0 ? run + 1 : 0;
        cluster++;
    }
    *first = cluster - count;
    image->next_free = cluster;
    return 0;
}

/* ---- changing ---- */

static int enqueue(struct image *image, uint64_t cluster, int64_t delta, struct chr_error *err)
{
    if (mem_grow(&image->changes, &image->changes_capacity, image->changes_count,
                 sizeof *image->changes, err) < 0)
        return -1;
    image->changes[image->changes_count++] = (struct refcount_change){cluster, delta};
    return 0;
}

/* Make the table long enough for block INDEX; it grows in whole clusters. */
static int grow_table(struct image *image, uint64_t index, struct chr_error *err)
{
    struct offsets *table = &image->reftable;
    uint64_t count = round_up(index + 1, image->cluster_size / ENTRY_BYTES);
    uint64_t *grown;

    if (index < table->count)
        return 0;
    if (count > MAX_REFTABLE_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_SPACE,
                       "the image needs a refcount table of more than %" PRIu64 " bytes",
                       MAX_REFTABLE_BYTES);
    grown = mem_new(count, sizeof *grown, err);
    if (grown == NULL)
        return -1;
    memcpy(grown, table->entries, table->count * sizeof *grown);
    free(table->entries);
    *table = (struct offsets){.entries = grown, .count = count};
    return 0;
}

static bool has_moved(const struct image *image, uint64_t index)
{
    uint64_t old = index < image->committed_reftable.count
                       ? image->committed_reftable.entries[index]
                       : 0;

    return image->reftable.entries[index] != 0 && image->reftable.entries[index] != old;
}

/* Give block INDEX a place of its own in the version that is being built. */
static int move_block(struct image *image, uint64_t index, struct chr_error *err)
{
    uint64_t old = image->reftable.entries[index];
    struct table *block;
    uint64_t place;

    if (find_free(image, 1, &place, err) < 0 || enqueue(image, place, 1, err) < 0)
        return -1;
    if (old == 0) {
        block = cache_new(&image->refcount_blocks, offset_of(image, place), err);
    } else {
        if (enqueue(image, cluster_of(image, old), -1, err) < 0)
            return -1;
        block = cache_get(&image->refcount_blocks, old, err);
        if (block != NULL)
            cache_move(&image->refcount_blocks, block, offset_of(image, place));
    }
    image->reftable.entries[index] = offset_of(image, place);
    return block != NULL ? 0 : -1;
}

static int apply_change(struct image *image, struct refcount_change change, struct chr_error *err)
{
    uint64_t index = change.cluster / block_entries(image);
    unsigned order = image->header.refcount_order;
    uint64_t entry = change.cluster % block_entries(image);
    struct table *block;
    uint64_t count;
    uint64_t magnitude = (uint64_t)(change.delta < 0 ? -change.delta : change.delta);

    if (grow_table(image, index, err) < 0)
        return -1;
    if (!has_moved(image, index) && move_block(image, index, err) < 0)
        return -1;
    block = cache_get(&image->refcount_blocks, image->reftable.entries[index], err);
    if (block == NULL)
        return -1;
    count = refcount_entry(block->bytes, entry, order);
    if (change.delta < 0 && count < magnitude)
        return err_set(err, CHR_E_DAMAGED, "the refcount of cluster %" PRIu64 " is too low",
                       change.cluster);
    if (change.delta > 0 && refcount_max(order) - count < magnitude)
        return err_set(err, CHR_E_REFUSED,
                       "a refcount of %u bits cannot count another use of cluster %" PRIu64,
                       1u << order, change.cluster);
    count = change.delta < 0 ? count - magnitude : count + magnitude;
    refcount_set_entry(block->bytes, entry, order, count);
    block->dirty = true;
    if (count == 0)
        image->lowest_freed = min_u64(image->lowest_freed, change.cluster);
    return 0;
}

/* The queue grows while it is worked off, but by two entries for each block at most. */
static int work_off(struct image *image, struct chr_error *err)
{
    for (size_t i = 0; i < image->changes_count; i++)
        if (apply_change(image, image->changes[i], err) < 0)
            return -1;
    image->changes_count = 0;
    return 0;
}

int refcount_add(struct image *image, uint64_t offset, uint64_t length, int64_t delta,
                 struct chr_error *err)
{
    uint64_t first = cluster_of(image, offset);
    uint64_t last;

    if (length == 0)
        return 0;
    last = cluster_of(image, offset + length - 1);
    for (uint64_t cluster = first; cluster <= last; cluster++)
        if (enqueue(image, cluster, delta, err) < 0 || work_off(image, err) < 0)
            return -1;
    return 0;
}

int refcount_allocate(struct image *image, uint64_t count, uint64_t *offset, struct chr_error *err)
{
    uint64_t first;

    *offset = 0;
    if (count == 0)
        return 0;
    if (find_free(image, count, &first, err) < 0)
        return -1;
    *offset = offset_of(image, first);
    if (host_grow(&image->file, *offset + offset_of(image, count), err) < 0)
        return -1;
    return refcount_add(image, *offset, offset_of(image, count), 1, err);
}

void refcount_start_over(struct image *image)
{
    memset(image->reftable.entries, 0, image->reftable.count * sizeof *image->reftable.entries);
}

/* ---- committing ---- */

/* Room for what refcount_committed() copies, so that it cannot fail; new entries say "none". */
static int reserve_committed(struct image *image, struct chr_error *err)
{
    struct offsets *committed = &image->committed_reftable;
    uint64_t *entries;

    if (committed->count == image->reftable.count)
        return 0;
    entries = mem_new(image->reftable.count, sizeof *entries, err);
    if (entries == NULL)
        return -1;
    memcpy(entries, committed->entries, committed->count * sizeof *entries);
    free(committed->entries);
    *committed = (struct offsets){.entries = entries, .count = image->reftable.count};
    return 0;
}

int refcount_place_table(struct image *image, struct chr_error *err)
{
    struct header *header = &image->header;
    uint64_t offset;
    uint64_t bytes;

    if (refcount_add(image, header->reftable_offset, offset_of(image, header->reftable_clusters),
                     -1, err) < 0)
        return -1;
    /* Taking clusters for the table can need another block, and that a longer table. */
    for (;;) {
        bytes = image->reftable.count * ENTRY_BYTES;
        if (refcount_allocate(image, clusters_for(image, bytes), &offset, err) < 0)
            return -1;
        if (image->reftable.count * ENTRY_BYTES == bytes)
            break;
        if (refcount_add(image, offset, bytes, -1, err) < 0)
            return -1;
    }
    if (reserve_committed(image, err) < 0 ||
        cache_write_back(&image->refcount_blocks, err) < 0 ||
        offsets_write(image, &image->reftable, offset, err) < 0)
        return -1;
    header->reftable_offset = offset;
    header->reftable_clusters = (uint32_t)clusters_for(image, bytes);
    return 0;
}

void refcount_committed(struct image *image)
{
    memcpy(image->committed_reftable.entries, image->reftable.entries,
           image->reftable.count * sizeof *image->reftable.entries);
    image->next_free = min_u64(image->next_free, image->lowest_freed);
    image->lowest_freed = UINT64_MAX;
    image->bad_blocks = 0; /* they are not in the table that was written */
}
