/*
 * An open image, as the files of lib/qcow2 share it.
 *
 * There are always two versions of the tables: the committed one, which the header
 * on disk names, and the one that is being built.  Tables of the second that differ
 * from the first live in clusters that the first does not use, until image_commit()
 * writes the header.
 */
#ifndef CHRIMG_QCOW2_IMAGE_H
#define CHRIMG_QCOW2_IMAGE_H

#include "qcow2/cache.h"
#include "qcow2/codec.h"
#include "qcow2/header.h"

/* A table of 8-byte offsets in memory, in the host's byte order. */
struct offsets {
    uint64_t *entries;
    uint64_t count;
};

/* One entry of the snapshot table. */
struct snapshot {
    struct qcow2_snapshot facts; /* strings owned */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint8_t *extra; /* the extra data as it was, SNAPSHOT_EXTRA_KNOWN bytes or more; owned */
    uint32_t extra_length;
};

struct snapshots {
    struct snapshot *list;
    size_t count;
    size_t capacity;
    uint64_t table_bytes; /* of the table on disk */
};

struct refcount_change; /* see refcount.c */

struct image {
    struct blk blk;
    struct host_file file;
    struct blk *backing; /* or NULL; owned */
    struct header header;
    struct codec *codec;
    uint32_t cluster_size;
    bool atomic; /* clusters of the committed version are never overwritten */
    bool view; /* of a snapshot: blk and l1 are the snapshot's */

    /* Where guest clusters are. */
    struct offsets l1;
    bool l1_changed;
    struct table_cache l2_tables;

    /* Which clusters of the file are used. */
    struct offsets reftable;
    struct offsets committed_reftable;
    uint64_t bad_blocks; /* entries of the table that were not usable */
    struct table_cache refcount_blocks;
    uint64_t next_free;    /* cluster number: no free one below it, or none that may be taken */
    uint64_t lowest_freed; /* by the change that is being built */
    struct refcount_change *changes; /* a queue, empty between calls */
    size_t changes_count;
    size_t changes_capacity;

    struct snapshots snapshots;
    bool snapshots_changed;
    bool header_changed; /* something in it beside the places of tables */

    bool unchecked; /* opened for repair: nothing else may change it */
    bool failed; /* a change broke off half-way: the version being built is void */

    /* The last compressed cluster that was read. */
    uint64_t plain_host; /* of its data, 0 = none */
    uint8_t *plain;
    uint8_t *packed;
};

static inline struct image *image_of(struct blk *blk)
{
    return (struct image *)blk;
}

static inline uint64_t cluster_of(const struct image *image, uint64_t off)
{
    return off >> image->header.cluster_bits;
}

static inline uint64_t offset_of(const struct image *image, uint64_t cluster)
{
    return cluster << image->header.cluster_bits;
}

/* Clusters that LENGTH bytes take when they start on one. */
static inline uint64_t clusters_for(const struct image *image, uint64_t length)
{
    return cluster_of(image, length + image->cluster_size - 1);
}

/* Read COUNT entries at OFFSET; the caller owns TABLE->entries. */
int offsets_read(const struct host_file *file, uint64_t offset, uint64_t count,
                 struct offsets *table, struct chr_error *err);

/* Write the table to OFFSET, filled up with zeros to whole clusters. */
int offsets_write(const struct image *image, const struct offsets *table, uint64_t offset,
                  struct chr_error *err);

/* ---- changes: image.c ---- */

/*
 * Before a change: refuses when an earlier one failed, and clears the autoclear
 * bits, as the specification wants before anything else is written.
 */
int image_begin(struct image *image, struct chr_error *err);

/* Put the version that was built in force; see qcow2.h for what a power cut leaves. */
int image_commit(struct image *image, struct chr_error *err);

/* Back to the committed version. */
int image_abort(struct image *image, struct chr_error *err);

#endif
