/*
 * Refcounts: how often each cluster of the file is used, in the version that is
 * being built and in the committed one.
 */
#ifndef CHRIMG_QCOW2_REFCOUNT_H
#define CHRIMG_QCOW2_REFCOUNT_H

#include "qcow2/image.h"

/* Entry INDEX of a refcount block, and setting it; 2^ORDER bits each. */
uint64_t refcount_entry(const uint8_t *block, uint64_t index, unsigned order);
void refcount_set_entry(uint8_t *block, uint64_t index, unsigned order, uint64_t value);

/* The largest refcount that 2^ORDER bits hold. */
uint64_t refcount_max(unsigned order);

/* Clusters that one refcount block counts. */
uint64_t refcount_block_entries(unsigned cluster_bits, unsigned order);

/* Read the refcount table, unless it is there; before any of the functions below. */
int refcount_load(struct image *image, struct chr_error *err);

/* Forget it, and the version that was being built. */
void refcount_unload(struct image *image);

/* The refcount of CLUSTER in the version that is being built. */
int refcount_get(struct image *image, uint64_t cluster, uint64_t *count, struct chr_error *err);

/* The same in the committed version. */
int refcount_get_committed(struct image *image, uint64_t cluster, uint64_t *count,
                           struct chr_error *err);

/*
 * Add DELTA to the refcounts of the clusters that LENGTH bytes at OFFSET touch.  Fails
 * when one would fall below 0 or not fit (CHR_E_REFUSED: the image's refcounts are
 * too narrow for another snapshot).
 */
int refcount_add(struct image *image, uint64_t offset, uint64_t length, int64_t delta,
                 struct chr_error *err);

/*
 * Take COUNT clusters in a row that neither version uses; *OFFSET is that of the first,
 * 0 when COUNT is 0.  The file is long enough for them; their content is anything.
 */
int refcount_allocate(struct image *image, uint64_t count, uint64_t *offset,
                      struct chr_error *err);

/*
 * Begin a version in which nothing is counted yet, for rebuilding all refcounts from
 * the references; the caller leaves the old table and its blocks out.
 */
void refcount_start_over(struct image *image);

/*
 * Choose the place of the refcount table when all else is in its place, and write
 * the table and its blocks there; the header fields in IMAGE follow.
 */
int refcount_place_table(struct image *image, struct chr_error *err);

/* After the header was written: what was built is what is committed. */
void refcount_committed(struct image *image);

#endif
