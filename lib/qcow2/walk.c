/* Every reference that an image makes to a cluster of its file. */
#include "qcow2/walk.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/map.h"
#include "qcow2/snapshot.h"

const char *reference_name(enum reference_kind kind)
{
    static const char *const names[] = {
        [REFERENCE_NONE] = "nothing",
        [REFERENCE_HEADER] = "the header",
        [REFERENCE_L1] = "an L1 table",
        [REFERENCE_L2] = "an L2 table",
        [REFERENCE_DATA] = "a data cluster",
        [REFERENCE_COMPRESSED] = "compressed data",
        [REFERENCE_REFTABLE] = "the refcount table",
        [REFERENCE_REFBLOCK] = "a refcount block",
        [REFERENCE_SNAPSHOTS] = "the snapshot table",
        [REFERENCE_BITMAP] = "a bitmap",
    };

    return names[kind];
}

struct walk {
    struct image *image;
    reference_fn *fn;
    void *context;
};

static int range(const struct walk *walk, enum reference_kind kind,
                 const struct snapshot *snapshot, uint64_t number, uint64_t offset,
                 uint64_t length, struct chr_error *err)
{
    struct reference reference = {
        .kind = kind,
        .snapshot = snapshot,
        .number = number,
        .offset = offset,
        .length = length,
    };

    return length != 0 ? walk->fn(walk->context, &reference, err) : 0;
}

/* ---- the tree of a disk ---- */

static int walk_l2(const struct walk *walk, const struct snapshot *snapshot, uint64_t l1_index,
                   uint64_t offset, struct chr_error *err)
{
    struct image *image = walk->image;
    uint64_t entries = map_l2_entries(image);

    for (uint64_t i = 0; i < entries; i++) {
        /* Asked for each time: the visitor may use the cache. */
        struct table *table = cache_get(&image->l2_tables, offset, err);
        struct reference reference = {.snapshot = snapshot, .number = l1_index * entries + i};
        struct l2_entry entry;

        if (table == NULL)
            return -1;
        reference.problem = l2_entry_decode(image, be64(table->bytes + i * ENTRY_BYTES), &entry);
        reference.kind =
            entry.kind == CLUSTER_COMPRESSED ? REFERENCE_COMPRESSED : REFERENCE_DATA;
        reference.offset = entry.host;
        reference.length = entry.length;
        reference.copied = entry.copied;
        if ((reference.problem != NULL || reference.length != 0) &&
            walk->fn(walk->context, &reference, err) < 0)
            return -1;
    }
    return 0;
}

static int walk_l1(const struct walk *walk, const struct snapshot *snapshot,
                   const struct offsets *l1, struct chr_error *err)
{
    uint64_t tables = 0;

    for (uint64_t i = 0; i < l1->count; i++) {
        struct reference reference = {
            .kind = REFERENCE_L2,
            .snapshot = snapshot,
            .number = i,
            .length = walk->image->cluster_size,
            .copied = (l1->entries[i] & ENTRY_COPIED) != 0,
        };

        reference.problem = l1_entry_decode(walk->image, l1->entries[i], &reference.offset);
        if (reference.problem == NULL && reference.offset == 0)
            continue;
        /* A small file could keep us busy for days with one table under every entry. */
        if (++tables > clusters_for(walk->image, walk->image->file.blk->size))
            reference.problem = "is one more L2 table than the file has clusters";
        if (walk->fn(walk->context, &reference, err) < 0)
            return -1;
        if (tables > clusters_for(walk->image, walk->image->file.blk->size))
            return 0;
        if (reference.problem == NULL && walk_l2(walk, snapshot, i, reference.offset, err) < 0)
            return -1;
    }
    return 0;
}

int walk_tree(struct image *image, const struct snapshot *snapshot, reference_fn *fn,
              void *context, struct chr_error *err)
{
    struct walk walk = {image, fn, context};
    AUTO_FREE uint64_t *entries = NULL;
    struct offsets l1 = {0};
    uint64_t offset = snapshot != NULL ? snapshot->l1_offset : image->header.l1_offset;
    uint32_t count = snapshot != NULL ? snapshot->l1_entries : image->header.l1_entries;
    int result;

    if (offsets_read(&image->file, offset, count, &l1, err) < 0)
        return -1;
    entries = l1.entries;
    result = range(&walk, REFERENCE_L1, snapshot, 0, offset, count * (uint64_t)ENTRY_BYTES, err);
    if (result != 0)
        return result < 0 ? -1 : 0;
    return walk_l1(&walk, snapshot, &l1, err);
}

/* ---- the rest ---- */

static int walk_refcounts(const struct walk *walk, struct chr_error *err)
{
    const struct image *image = walk->image;
    const struct offsets *table = &image->committed_reftable;

    if (range(walk, REFERENCE_REFTABLE, NULL, 0, image->header.reftable_offset,
              offset_of(image, image->header.reftable_clusters), err) < 0)
        return -1;
    for (uint64_t i = 0; i < table->count; i++)
        if (table->entries[i] != 0 && range(walk, REFERENCE_REFBLOCK, NULL, i, table->entries[i],
                                            image->cluster_size, err) < 0)
            return -1;
    return 0;
}

static int bad_bitmap(const struct walk *walk, uint64_t number, const char *problem,
                      struct chr_error *err)
{
    struct reference reference = {
        .kind = REFERENCE_BITMAP, .number = number, .problem = problem};

    return walk->fn(walk->context, &reference, err);
}

/* The clusters of bitmap NUMBER, whose table of COUNT entries is at OFFSET. */
static int walk_bitmap(const struct walk *walk, uint64_t number, uint64_t offset, uint32_t count,
                       struct chr_error *err)
{
    const struct image *image = walk->image;
    uint64_t bytes = (uint64_t)count * ENTRY_BYTES;

    if (count > MAX_BITMAP_TABLE_ENTRIES)
        return bad_bitmap(walk, number, "has a table that is too long", err);
    if (offset % image->cluster_size != 0 || !range_within(offset, bytes, image->file.blk->size))
        return bad_bitmap(walk, number, "has a table outside the file or not on a cluster", err);
    if (range(walk, REFERENCE_BITMAP, NULL, number, offset, bytes, err) < 0)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t raw[ENTRY_BYTES];
        uint64_t data;

        if (host_read(&image->file, offset + (uint64_t)i * ENTRY_BYTES, raw, sizeof raw, err) < 0)
            return -1;
        data = be64(raw) & ENTRY_OFFSET_MASK;
        if (data % image->cluster_size != 0 || data >= image->file.blk->size)
            return bad_bitmap(walk, number, "has data outside the file or not on a cluster", err);
        if (data != 0 &&
            range(walk, REFERENCE_BITMAP, NULL, number, data, image->cluster_size, err) < 0)
            return -1;
    }
    return 0;
}

/* Bitmap directory ("Bitmaps"): 24 bytes, extra data, name, padding to 8. */
static int walk_bitmaps(const struct walk *walk, struct chr_error *err)
{
    enum { TABLE_OFFSET = 0, TABLE_SIZE = 8, NAME_SIZE = 18, EXTRA_SIZE = 20, FIXED = 24 };
    const struct image *image = walk->image;
    const struct header *header = &image->header;
    uint64_t start = header->bitmap_directory_offset;
    uint64_t at = 0;

    if (header->bitmap_count == 0)
        return 0;
    if (start % image->cluster_size != 0 ||
        !range_within(start, header->bitmap_directory_length, image->file.blk->size))
        return bad_bitmap(walk, 0, "is in a directory outside the file or not on a cluster", err);
    if (range(walk, REFERENCE_BITMAP, NULL, 0, start, header->bitmap_directory_length, err) < 0)
        return -1;
    for (uint32_t i = 0; i < header->bitmap_count; i++) {
        uint8_t entry[FIXED];

        if (!range_within(at, FIXED, header->bitmap_directory_length))
            return bad_bitmap(walk, i, "is behind the end of the directory", err);
        if (host_read(&image->file, start + at, entry, sizeof entry, err) < 0 ||
            walk_bitmap(walk, i, be64(entry + TABLE_OFFSET), be32(entry + TABLE_SIZE), err) < 0)
            return -1;
        at += round_up((uint64_t)FIXED + be16(entry + NAME_SIZE) + be32(entry + EXTRA_SIZE), 8);
    }
    return 0;
}

int walk_all(struct image *image, reference_fn *fn, void *context, struct chr_error *err)
{
    struct walk walk = {image, fn, context};

    if (range(&walk, REFERENCE_HEADER, NULL, 0, 0, image->cluster_size, err) < 0 ||
        walk_refcounts(&walk, err) < 0 || walk_tree(image, NULL, fn, context, err) < 0 ||
        range(&walk, REFERENCE_SNAPSHOTS, NULL, 0, image->header.snapshot_offset,
              image->snapshots.table_bytes, err) < 0)
        return -1;
    for (size_t i = 0; i < image->snapshots.count; i++)
        if (walk_tree(image, &image->snapshots.list[i], fn, context, err) < 0)
            return -1;
    return walk_bitmaps(&walk, err);
}

/* ---- counting ---- */

#define TALLY_CLUSTERS (UINT64_C(4) << 20) /* of a window: 5 bytes each */

int tally_new(struct tally *tally, uint64_t clusters, struct chr_error *err)
{
    *tally = (struct tally){.count = min_u64(max_u64(clusters, 1), TALLY_CLUSTERS)};
    tally->uses = mem_new(tally->count, sizeof *tally->uses, err);
    tally->kinds = mem_new(tally->count, sizeof *tally->kinds, err);
    return tally->uses != NULL && tally->kinds != NULL ? 0 : -1;
}

void tally_release(struct tally *tally)
{
    free(tally->uses);
    free(tally->kinds);
}

void tally_start(struct tally *tally, uint64_t first)
{
    tally->first = first;
    tally->next = UINT64_MAX;
    memset(tally->uses, 0, tally->count * sizeof *tally->uses);
    memset(tally->kinds, 0, tally->count * sizeof *tally->kinds);
}

/* Two disks share L2 tables and clusters; all else belongs to one reference. */
static bool may_share(enum reference_kind before, enum reference_kind now)
{
    return before == REFERENCE_NONE ||
           (before == now && (now == REFERENCE_L2 || now == REFERENCE_DATA ||
                              now == REFERENCE_COMPRESSED));
}

enum reference_kind tally_add(struct tally *tally, const struct image *image,
                              const struct reference *reference)
{
    uint64_t cluster = cluster_of(image, reference->offset);
    uint64_t last = cluster_of(image, reference->offset + reference->length - 1);
    uint64_t end = tally->first + tally->count;
    enum reference_kind clash = REFERENCE_NONE;

    if (last >= end)
        tally->next = min_u64(tally->next, max_u64(cluster, end));
    for (cluster = max_u64(cluster, tally->first); cluster <= last && cluster < end; cluster++) {
        uint64_t i = cluster - tally->first;

        if (!may_share(tally->kinds[i], reference->kind))
            clash = tally->kinds[i];
        if (tally->kinds[i] == REFERENCE_NONE)
            tally->kinds[i] = (uint8_t)reference->kind;
        if (tally->uses[i] != UINT32_MAX)
            tally->uses[i]++;
    }
    return clash;
}
