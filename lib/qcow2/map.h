/*
 * The map from guest clusters to the file: L1 and L2 tables.
 */
#ifndef CHRIMG_QCOW2_MAP_H
#define CHRIMG_QCOW2_MAP_H

#include "qcow2/image.h"

enum cluster_kind {
    CLUSTER_UNALLOCATED, /* the backing file's, or zeros */
    CLUSTER_ZERO,
    CLUSTER_DATA,
    CLUSTER_COMPRESSED,
};

/* One L2 entry, decoded. */
struct l2_entry {
    enum cluster_kind kind;
    uint64_t host;   /* offset of the data; a zero cluster may have a place too, else 0 */
    uint64_t length; /* bytes of the file at HOST that the entry refers to */
    bool copied;     /* the place is this entry's alone */
};

/*
 * Decode an entry of IMAGE.  Returns NULL, or what is wrong with it, in words
 * that follow "the entry ".
 */
const char *l2_entry_decode(const struct image *image, uint64_t raw, struct l2_entry *entry);

/* The same for an L1 entry: *OFFSET is the L2 table's, 0 = none. */
const char *l1_entry_decode(const struct image *image, uint64_t raw, uint64_t *offset);

/* L2 entry of compressed data at HOST, LENGTH bytes long. */
uint64_t l2_entry_compressed(unsigned cluster_bits, uint64_t host, uint64_t length);

/* Whether compressed data of up to a cluster at HOST can be addressed. */
bool compressed_offset_fits(unsigned cluster_bits, uint64_t host);

uint64_t map_l2_entries(const struct image *image);

/* A stretch of the disk that lies in one place. */
struct mapping {
    struct l2_entry entry; /* of the first cluster */
    uint64_t host;         /* of the first byte; CLUSTER_DATA only */
    uint64_t length;       /* bytes from the offset asked for */
};

/* What lies at guest offset OFF, for at most LEN bytes (not 0). */
int map_find(struct image *image, uint64_t off, uint64_t len, struct mapping *mapping,
             struct chr_error *err);

/*
 * Set the entry of guest cluster NUMBER; the caller has counted what the new entry
 * refers to.  What the old one referred to is released, unless it is the same place.
 */
int map_set(struct image *image, uint64_t number, uint64_t raw, struct chr_error *err);

/*
 * Add DELTA to the refcounts of everything below an L1 table: L2 tables and, once for
 * each path that leads there, clusters.
 */
int map_add_references(struct image *image, const struct offsets *l1, int64_t delta,
                       struct chr_error *err);

/*
 * Make the "copied" flags of the active L1 and L2 tables tell the truth, after
 * refcounts have changed.  An L2 table that others share is not touched but copied.
 */
int map_refresh_copied(struct image *image, struct chr_error *err);

#endif
