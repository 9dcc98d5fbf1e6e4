/* The map from guest clusters to the file. */
#include "qcow2/map.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "qcow2/refcount.h"

uint64_t map_l2_entries(const struct image *image)
{
    return image->cluster_size / ENTRY_BYTES;
}

/* ---- entries ---- */

/*
 * Compressed clusters descriptor: with x = 62 - (cluster bits - 8), bits 0 to x-1 are
 * the offset, bits x to 61 the number of sectors behind the first.
 */
static unsigned compressed_offset_bits(unsigned cluster_bits)
{
    return 62 - (cluster_bits - 8);
}

bool compressed_offset_fits(unsigned cluster_bits, uint64_t host)
{
    unsigned bits = compressed_offset_bits(cluster_bits);

    return host < MAX_HOST_OFFSET && host >> bits == 0;
}

uint64_t l2_entry_compressed(unsigned cluster_bits, uint64_t host, uint64_t length)
{
    uint64_t sectors = (host + length - 1) / COMPRESSED_SECTOR - host / COMPRESSED_SECTOR;

    return ENTRY_COMPRESSED | sectors << compressed_offset_bits(cluster_bits) | host;
}

static const char *decode_compressed(const struct image *image, uint64_t raw,
                                     struct l2_entry *entry)
{
    unsigned bits = compressed_offset_bits(image->header.cluster_bits);
    uint64_t host = raw & ((UINT64_C(1) << bits) - 1);
    uint64_t sectors = (raw & (ENTRY_COMPRESSED - 1)) >> bits;

    *entry = (struct l2_entry){
        .kind = CLUSTER_COMPRESSED,
        .host = host,
        .length = (sectors + 1) * COMPRESSED_SECTOR - host % COMPRESSED_SECTOR,
    };
    if ((raw & ENTRY_COPIED) != 0)
        return "is compressed and says it is copied";
    if (host >= MAX_HOST_OFFSET)
        return "has reserved bits set";
    if (host < image->cluster_size)
        return "puts compressed data into the header";
    if (host >= image->file.blk->size)
        return "refers to compressed data past the end of the file";
    return NULL;
}

const char *l2_entry_decode(const struct image *image, uint64_t raw, struct l2_entry *entry)
{
    uint64_t host = raw & ENTRY_OFFSET_MASK;
    bool zero = (raw & ENTRY_ZERO) != 0;

    if ((raw & ENTRY_COMPRESSED) != 0)
        return decode_compressed(image, raw, entry);
    *entry = (struct l2_entry){
        .kind = zero ? CLUSTER_ZERO : host != 0 ? CLUSTER_DATA : CLUSTER_UNALLOCATED,
        .host = host,
        .length = host != 0 ? image->cluster_size : 0,
        .copied = (raw & ENTRY_COPIED) != 0,
    };
    if ((raw & ~(ENTRY_OFFSET_MASK | ENTRY_COPIED | ENTRY_ZERO)) != 0)
        return "has reserved bits set";
    if (zero && image->header.version < 3)
        return "is a zero cluster, which version 2 does not have";
    if (entry->copied && host == 0)
        return "says it is copied but has no place";
    if (host % image->cluster_size != 0)
        return "refers to an offset that is not on a cluster";
    if (host >= image->file.blk->size)
        return "refers to data past the end of the file";
    return NULL;
}

const char *l1_entry_decode(const struct image *image, uint64_t raw, uint64_t *offset)
{
    *offset = raw & ENTRY_OFFSET_MASK;
    if ((raw & ~(ENTRY_OFFSET_MASK | ENTRY_COPIED)) != 0)
        return "has reserved bits set";
    if (*offset % image->cluster_size != 0)
        return "refers to an L2 table that is not on a cluster";
    if (*offset >= image->file.blk->size)
        return "refers to an L2 table past the end of the file";
    if (raw == ENTRY_COPIED)
        return "says it is copied but has no L2 table";
    return NULL;
}

/* ---- finding ---- */

/* The L2 table at L1 entry INDEX; *TABLE is NULL where there is none. */
static int l2_table_get(struct image *image, const struct offsets *l1, uint64_t index,
                        struct table **table, struct chr_error *err)
{
    const char *problem;
    uint64_t offset;

    *table = NULL;
    if (index >= l1->count)
        return 0;
    problem = l1_entry_decode(image, l1->entries[index], &offset);
    if (problem != NULL)
        return err_set(err, CHR_E_DAMAGED, "L1 entry %" PRIu64 ": the entry %s", index, problem);
    if (offset == 0)
        return 0;
    *table = cache_get(&image->l2_tables, offset, err);
    return *table != NULL ? 0 : err_context(err, "L2 table at offset %" PRIu64, offset);
}

static int entry_at(struct image *image, const struct table *table, uint64_t number,
                    struct l2_entry *entry, struct chr_error *err)
{
    uint64_t index = number % map_l2_entries(image);
    const char *problem = l2_entry_decode(image, be64(table->bytes + index * ENTRY_BYTES), entry);

    if (problem == NULL)
        return 0;
    return err_set(err, CHR_E_DAMAGED, "L2 entry of guest cluster %" PRIu64 ": the entry %s",
                   number, problem);
}

/* Whether NEXT goes on where ENTRY, DISTANCE bytes before it, leads to. */
static bool continues(const struct l2_entry *entry, const struct l2_entry *next, uint64_t distance)
{
    if (entry->kind != next->kind || entry->kind == CLUSTER_COMPRESSED)
        return false;
    return entry->kind != CLUSTER_DATA ||
           (next->host == entry->host + distance && next->copied == entry->copied);
}

int map_find(struct image *image, uint64_t off, uint64_t len, struct mapping *mapping,
             struct chr_error *err)
{
    uint64_t number = cluster_of(image, off);
    uint64_t within = off % image->cluster_size;
    uint64_t l1_index = number / map_l2_entries(image);
    uint64_t to_table_end = offset_of(image, map_l2_entries(image) -
                                                 number % map_l2_entries(image)) - within;
    struct table *table;
    struct l2_entry entry;
    uint64_t length;

    *mapping = (struct mapping){.length = min_u64(len, to_table_end)};
    if (l2_table_get(image, &image->l1, l1_index, &table, err) < 0)
        return -1;
    if (table == NULL)
        return 0;
    if (entry_at(image, table, number, &entry, err) < 0)
        return -1;
    for (length = image->cluster_size - within; length < mapping->length;
         length += image->cluster_size) {
        struct l2_entry next;

        if (entry_at(image, table, cluster_of(image, off + length), &next, err) < 0)
            return -1;
        if (!continues(&entry, &next, within + length))
            break;
    }
    mapping->entry = entry;
    mapping->host = entry.host + within;
    mapping->length = min_u64(mapping->length, length);
    return 0;
}

/* ---- changing ---- */

/*
 * The L2 table at L1 entry INDEX, free to be changed: one that the committed version
 * uses, or a snapshot, moves to a cluster of its own.
 */
static int l2_table_own(struct image *image, uint64_t index, struct table **table,
                        struct chr_error *err)
{
    uint64_t *slot = &image->l1.entries[index];
    uint64_t old = *slot & ENTRY_OFFSET_MASK;
    uint64_t committed = 0;
    uint64_t place;

    if (old != 0) {
        if (refcount_get_committed(image, cluster_of(image, old), &committed, err) < 0)
            return -1;
        if (committed == 0 && (*slot & ENTRY_COPIED) != 0)
            return l2_table_get(image, &image->l1, index, table, err);
    }
    if (refcount_allocate(image, 1, &place, err) < 0)
        return -1;
    if (old == 0) {
        *table = cache_new(&image->l2_tables, place, err);
    } else {
        if (refcount_add(image, old, image->cluster_size, -1, err) < 0)
            return -1;
        *table = cache_get(&image->l2_tables, old, err);
        if (*table != NULL)
            cache_move(&image->l2_tables, *table, place);
    }
    *slot = place | ENTRY_COPIED;
    image->l1_changed = true;
    return *table != NULL ? 0 : -1;
}

int map_set(struct image *image, uint64_t number, uint64_t raw, struct chr_error *err)
{
    struct table *table;
    struct l2_entry old;
    struct l2_entry new;
    uint8_t *slot;

    if (l2_table_own(image, number / map_l2_entries(image), &table, err) < 0 ||
        entry_at(image, table, number, &old, err) < 0)
        return -1;
    slot = table->bytes + number % map_l2_entries(image) * ENTRY_BYTES;
    put_be64(slot, raw);
    table->dirty = true;
    (void)l2_entry_decode(image, raw, &new);
    if (old.host == new.host)
        return 0;
    return refcount_add(image, old.host, old.length, -1, err);
}

/* ---- whole tables ---- */

int map_add_references(struct image *image, const struct offsets *l1, int64_t delta,
                       struct chr_error *err)
{
    for (uint64_t index = 0; index < l1->count; index++) {
        struct table *table;

        if (l2_table_get(image, l1, index, &table, err) < 0)
            return -1;
        if (table == NULL)
            continue;
        for (uint64_t i = 0; i < map_l2_entries(image); i++) {
            struct l2_entry entry;

            if (entry_at(image, table, index * map_l2_entries(image) + i, &entry, err) < 0 ||
                refcount_add(image, entry.host, entry.length, delta, err) < 0)
                return -1;
        }
        if (refcount_add(image, l1->entries[index] & ENTRY_OFFSET_MASK, image->cluster_size, delta,
                         err) < 0)
            return -1;
    }
    return 0;
}

/* What entry RAW is with the flag that it should have. */
static int with_true_flag(struct image *image, uint64_t raw, uint64_t *out, struct chr_error *err)
{
    struct l2_entry entry;
    uint64_t count;

    *out = raw;
    (void)l2_entry_decode(image, raw, &entry);
    if (entry.kind == CLUSTER_COMPRESSED || entry.host == 0)
        return 0;
    if (refcount_get(image, cluster_of(image, entry.host), &count, err) < 0)
        return -1;
    *out = count == 1 ? raw | ENTRY_COPIED : raw & ~ENTRY_COPIED;
    return 0;
}

static int refresh_table(struct image *image, uint64_t index, struct chr_error *err)
{
    struct table *table;
    bool own = false;

    if (l2_table_get(image, &image->l1, index, &table, err) < 0)
        return -1;
    for (uint64_t i = 0; i < map_l2_entries(image); i++) {
        uint64_t raw = be64(table->bytes + i * ENTRY_BYTES);
        uint64_t right;

        if (raw == 0)
            continue;
        if (with_true_flag(image, raw, &right, err) < 0)
            return -1;
        if (right == raw)
            continue;
        if (!own && l2_table_own(image, index, &table, err) < 0)
            return -1;
        own = true;
        put_be64(table->bytes + i * ENTRY_BYTES, right);
        table->dirty = true;
    }
    return 0;
}

int map_refresh_copied(struct image *image, struct chr_error *err)
{
    for (uint64_t index = 0; index < image->l1.count; index++) {
        uint64_t *slot = &image->l1.entries[index];
        uint64_t offset = *slot & ENTRY_OFFSET_MASK;
        uint64_t count;

        if (offset == 0)
            continue;
        if (refresh_table(image, index, err) < 0)
            return -1;
        offset = *slot & ENTRY_OFFSET_MASK;
        if (refcount_get(image, cluster_of(image, offset), &count, err) < 0)
            return -1;
        *slot = count == 1 ? offset | ENTRY_COPIED : offset;
        image->l1_changed = true;
    }
    return 0;
}
