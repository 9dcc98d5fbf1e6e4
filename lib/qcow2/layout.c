/* A new image, laid out from front to back. */
#include "qcow2/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/map.h"
#include "qcow2/refcount.h"

/* A refcount block: in memory until it is complete, then at an offset of the file. */
struct block {
    uint8_t *bytes;
    uint64_t offset;
};

struct layout {
    const struct host_file *file; /* borrowed */
    struct header header;
    uint32_t cluster_size;
    uint64_t next; /* the first cluster that is not given out */
    uint64_t tail; /* where compressed data may go on within a cluster; 0 = nowhere */

    uint64_t *l1;
    uint8_t *l2;       /* as on disk */
    uint64_t l2_index; /* L1 index of the table in l2 */
    bool l2_used;

    struct block *blocks; /* one for each stretch of clusters, in order */
    size_t blocks_count;
    size_t blocks_capacity;
    size_t blocks_written;
};

static uint64_t offset_of_cluster(const struct layout *layout, uint64_t cluster)
{
    return cluster << layout->header.cluster_bits;
}

static uint64_t clusters_in(const struct layout *layout, uint64_t bytes)
{
    return round_up(bytes, layout->cluster_size) >> layout->header.cluster_bits;
}

static uint64_t l2_entries(const struct layout *layout)
{
    return layout->cluster_size / ENTRY_BYTES;
}

static uint64_t block_entries(const struct layout *layout)
{
    return refcount_block_entries(layout->header.cluster_bits, layout->header.refcount_order);
}

/* ---- the file ---- */

/* The file grows in steps, so that not every write needs two calls of the host. */
#define GROWTH (UINT64_C(8) << 20)

static int put(struct layout *layout, uint64_t at, const uint8_t *data, uint64_t length,
               struct chr_error *err)
{
    if (at + length > layout->file->blk->size &&
        host_grow(layout->file, at + length + GROWTH, err) < 0)
        return -1;
    return blk_write(layout->file->blk, at, data, (size_t)length, err);
}

/* Write COUNT entries to AT, filled up to whole clusters. */
static int put_entries(struct layout *layout, uint64_t at, const uint64_t *entries,
                       uint64_t count, struct chr_error *err)
{
    uint8_t *cluster = layout->l2; /* free by now */

    for (uint64_t done = 0; done < count; done += l2_entries(layout)) {
        for (uint64_t i = 0; i < l2_entries(layout); i++)
            put_be64(cluster + i * ENTRY_BYTES, done + i < count ? entries[done + i] : 0);
        if (put(layout, at + done * ENTRY_BYTES, cluster, layout->cluster_size, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- clusters and their refcounts ---- */

static int open_block(struct layout *layout, struct chr_error *err)
{
    struct block block = {0};

    if (layout->blocks_count == MAX_REFTABLE_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_SPACE,
                       "the image needs a refcount table of more than %" PRIu64 " bytes",
                       MAX_REFTABLE_BYTES);
    if (mem_grow(&layout->blocks, &layout->blocks_capacity, layout->blocks_count,
                 sizeof *layout->blocks, err) < 0)
        return -1;
    block.bytes = mem_new(layout->cluster_size, 1, err);
    if (block.bytes == NULL)
        return -1;
    layout->blocks[layout->blocks_count++] = block;
    return 0;
}

/* One more use for each of COUNT clusters from FIRST on. */
static int count_uses(struct layout *layout, uint64_t first, uint64_t count,
                      struct chr_error *err)
{
    unsigned order = layout->header.refcount_order;

    for (uint64_t cluster = first; cluster < first + count; cluster++) {
        uint64_t index = cluster / block_entries(layout);
        uint64_t entry = cluster % block_entries(layout);
        uint8_t *bytes;

        if (index == layout->blocks_count && open_block(layout, err) < 0)
            return -1;
        bytes = layout->blocks[index].bytes;
        refcount_set_entry(bytes, entry, order, refcount_entry(bytes, entry, order) + 1);
    }
    return 0;
}

/* Whether compressed data may still be added to CLUSTER: narrow refcounts are soon full. */
static bool can_share(const struct layout *layout, uint64_t cluster)
{
    unsigned order = layout->header.refcount_order;
    const uint8_t *bytes = layout->blocks[cluster / block_entries(layout)].bytes;

    return refcount_entry(bytes, cluster % block_entries(layout), order) < refcount_max(order);
}

/* Give out COUNT clusters in a row; their uses are counted by the caller. */
static int reserve(struct layout *layout, uint64_t count, uint64_t *at, struct chr_error *err)
{
    uint64_t limit = MAX_HOST_OFFSET >> layout->header.cluster_bits;

    if (count > limit - layout->next)
        return err_set(err, CHR_E_SPACE, "the image would be longer than %" PRIu64 " bytes",
                       MAX_HOST_OFFSET);
    *at = offset_of_cluster(layout, layout->next);
    layout->next += count;
    return 0;
}

static int take(struct layout *layout, uint64_t count, uint64_t *at, struct chr_error *err)
{
    if (reserve(layout, count, at, err) < 0)
        return -1;
    return count_uses(layout, *at >> layout->header.cluster_bits, count, err);
}

/* Write the blocks whose clusters are all given out and can get no more uses. */
static int write_complete_blocks(struct layout *layout, struct chr_error *err)
{
    for (;;) {
        uint64_t open = layout->tail != 0 ? layout->tail >> layout->header.cluster_bits
                                          : layout->next;
        struct block *block = &layout->blocks[layout->blocks_written];
        uint64_t at;

        if ((layout->blocks_written + 1) * block_entries(layout) > open)
            return 0;
        if (take(layout, 1, &at, err) < 0)
            return -1;
        block = &layout->blocks[layout->blocks_written]; /* take() may have moved the array */
        if (put(layout, at, block->bytes, layout->cluster_size, err) < 0)
            return -1;
        block->offset = at;
        free(STEAL(block->bytes));
        layout->blocks_written++;
    }
}

/* ---- the map ---- */

static int write_l2(struct layout *layout, struct chr_error *err)
{
    uint64_t at;

    if (!layout->l2_used)
        return 0;
    if (take(layout, 1, &at, err) < 0 ||
        put(layout, at, layout->l2, layout->cluster_size, err) < 0)
        return -1;
    layout->l1[layout->l2_index] = at | ENTRY_COPIED;
    memset(layout->l2, 0, layout->cluster_size);
    layout->l2_used = false;
    return 0;
}

/*
 * Begin with the L2 table of guest cluster NUMBER.  Before the cluster gets a place:
 * then where the last table lies depends on the data alone, not on how many clusters
 * are added at a time.
 */
static int open_table(struct layout *layout, uint64_t number, struct chr_error *err)
{
    uint64_t index = number / l2_entries(layout);

    if (index != layout->l2_index && write_l2(layout, err) < 0)
        return -1;
    layout->l2_index = index;
    return 0;
}

/* The table of NUMBER is open. */
static int map_cluster(struct layout *layout, uint64_t number, uint64_t entry,
                       struct chr_error *err)
{
    layout->l2_used = true;
    put_be64(layout->l2 + number % l2_entries(layout) * ENTRY_BYTES, entry);
    return write_complete_blocks(layout, err);
}

/* How many clusters from NUMBER on get places in a row: a table that becomes complete
 * in between, of L2 or of refcounts, breaks the run. */
static uint64_t run_length(const struct layout *layout, uint64_t number, uint64_t count)
{
    uint64_t to_table_end = l2_entries(layout) - number % l2_entries(layout);
    uint64_t block_end = (layout->blocks_written + 1) * block_entries(layout);
    uint64_t to_block_end = block_end > layout->next ? block_end - layout->next : 1;

    return min_u64(count, min_u64(to_table_end, to_block_end));
}

int layout_add_data(struct layout *layout, uint64_t number, uint64_t count, const uint8_t *data,
                    struct chr_error *err)
{
    while (count > 0) {
        uint64_t run;
        uint64_t bytes;
        uint64_t at;

        if (open_table(layout, number, err) < 0)
            return -1;
        run = run_length(layout, number, count);
        bytes = offset_of_cluster(layout, run);
        if (take(layout, run, &at, err) < 0 ||
            (data != NULL && put(layout, at, data, bytes, err) < 0))
            return -1;
        for (uint64_t i = 0; i < run; i++)
            if (map_cluster(layout, number + i,
                            (at + offset_of_cluster(layout, i)) | ENTRY_COPIED, err) < 0)
                return -1;
        number += run;
        count -= run;
        data = data != NULL ? data + bytes : NULL;
    }
    return 0;
}

/*
 * A place for LENGTH bytes: behind the last compressed ones where they fit in that
 * cluster, or in it and the next one; else on a new cluster.
 */
static int place_compressed(struct layout *layout, size_t length, uint64_t *at,
                            struct chr_error *err)
{
    uint64_t tail_cluster = layout->tail >> layout->header.cluster_bits;
    uint64_t ignored;

    if (layout->tail != 0 && can_share(layout, tail_cluster)) {
        uint64_t room = offset_of_cluster(layout, tail_cluster + 1) - layout->tail;

        *at = layout->tail;
        if (length <= room)
            return 0;
        if (layout->next == tail_cluster + 1)
            return reserve(layout, 1, &ignored, err);
    }
    return reserve(layout, 1, at, err);
}

int layout_add_compressed(struct layout *layout, uint64_t number, const uint8_t *data,
                          size_t length, bool *fits, struct chr_error *err)
{
    unsigned bits = layout->header.cluster_bits;
    uint64_t at = 0;
    uint64_t end;

    if (open_table(layout, number, err) < 0)
        return -1;
    *fits = compressed_offset_fits(bits, offset_of_cluster(layout, layout->next + 1));
    if (!*fits)
        return 0;
    if (place_compressed(layout, length, &at, err) < 0)
        return -1;
    end = at + length;
    /* Counted in sectors; the last one never reaches into another cluster. */
    if (count_uses(layout, at >> bits, ((end - 1) >> bits) - (at >> bits) + 1, err) < 0 ||
        put(layout, at, data, length, err) < 0)
        return -1;
    layout->tail = end % layout->cluster_size != 0 ? end : 0;
    return map_cluster(layout, number, l2_entry_compressed(bits, at, length), err);
}

/* ---- beginning and end ---- */

int layout_new(const struct host_file *file, const struct header *header, struct layout **out,
               struct chr_error *err)
{
    uint64_t l1_entries = header_l1_needed(header->size, header->cluster_bits);
    struct layout *layout = mem_new(1, sizeof *layout, err);
    uint64_t at;

    if (layout == NULL)
        return -1;
    layout->file = file;
    layout->header = *header;
    layout->header.l1_entries = (uint32_t)l1_entries;
    layout->cluster_size = UINT32_C(1) << header->cluster_bits;
    layout->l1 = mem_new(l1_entries, sizeof *layout->l1, err);
    layout->l2 = mem_new(layout->cluster_size, 1, err);
    if (layout->l1 == NULL || layout->l2 == NULL || take(layout, 1, &at, err) < 0) {
        layout_free(layout); /* cluster 0, which take() gives out first, is the header's */
        return -1;
    }
    *out = layout;
    return 0;
}

void layout_free(struct layout *layout)
{
    if (layout == NULL)
        return;
    for (size_t i = 0; i < layout->blocks_count; i++)
        free(layout->blocks[i].bytes);
    free(layout->blocks);
    free(layout->l1);
    free(layout->l2);
    free(layout);
}

static int write_l1(struct layout *layout, struct chr_error *err)
{
    struct header *header = &layout->header;

    if (take(layout, clusters_in(layout, (uint64_t)header->l1_entries * ENTRY_BYTES),
             &header->l1_offset, err) < 0)
        return -1;
    return put_entries(layout, header->l1_offset, layout->l1, header->l1_entries, err);
}

/*
 * The refcount table and the blocks that are left count themselves: find how many
 * there are, then give out the clusters, then write.
 */
static int write_refcounts(struct layout *layout, struct chr_error *err)
{
    struct header *header = &layout->header;
    AUTO_FREE uint64_t *table = NULL;
    uint64_t blocks = layout->blocks_written;
    uint64_t table_clusters = 0;
    uint64_t at;

    for (;;) {
        uint64_t end = layout->next + table_clusters + (blocks - layout->blocks_written);
        uint64_t needed = (end + block_entries(layout) - 1) / block_entries(layout);

        if (needed == blocks)
            break;
        blocks = needed;
        table_clusters = clusters_in(layout, blocks * ENTRY_BYTES);
    }
    if (take(layout, table_clusters, &header->reftable_offset, err) < 0 ||
        take(layout, blocks - layout->blocks_written, &at, err) < 0)
        return -1;
    if (layout->blocks_count != blocks)
        return err_set(err, CHR_E_INTERNAL, "planned %" PRIu64 " refcount blocks, made %zu",
                       blocks, layout->blocks_count);
    table = mem_new(blocks, sizeof *table, err);
    if (table == NULL)
        return -1;
    for (uint64_t i = 0; i < blocks; i++) {
        if (i >= layout->blocks_written) {
            layout->blocks[i].offset = at;
            at += layout->cluster_size;
            if (put(layout, layout->blocks[i].offset, layout->blocks[i].bytes,
                    layout->cluster_size, err) < 0)
                return -1;
        }
        table[i] = layout->blocks[i].offset;
    }
    header->reftable_clusters = (uint32_t)table_clusters;
    return put_entries(layout, header->reftable_offset, table, blocks, err);
}

int layout_finish(struct layout *layout, struct chr_error *err)
{
    uint8_t head[HEADER_NEW_SIZE];
    struct blk *file = layout->file->blk;
    size_t length;

    layout->tail = 0;
    if (write_l2(layout, err) < 0 || write_l1(layout, err) < 0 ||
        write_complete_blocks(layout, err) < 0 || write_refcounts(layout, err) < 0 ||
        layout->file->resize(file, offset_of_cluster(layout, layout->next), err) < 0)
        return -1;
    length = header_encode(&layout->header, head);
    return blk_write(file, 0, head, length, err);
}
