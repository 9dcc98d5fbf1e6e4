/*
 * Every reference that an image makes to a cluster of its file, one after the other;
 * and counting them, for as many clusters at a time as memory allows.
 */
#ifndef CHRIMG_QCOW2_WALK_H
#define CHRIMG_QCOW2_WALK_H

#include "qcow2/image.h"

enum reference_kind {
    REFERENCE_NONE,
    REFERENCE_HEADER,
    REFERENCE_L1,
    REFERENCE_L2,
    REFERENCE_DATA,
    REFERENCE_COMPRESSED,
    REFERENCE_REFTABLE,
    REFERENCE_REFBLOCK,
    REFERENCE_SNAPSHOTS,
    REFERENCE_BITMAP,
};

const char *reference_name(enum reference_kind kind);

struct reference {
    enum reference_kind kind;
    const struct snapshot *snapshot; /* whose tree it is in, NULL = the active disk's */
    uint64_t number;                 /* L1 index, guest cluster, block index: by kind */
    uint64_t offset;                 /* bytes of the file: what is referred to */
    uint64_t length;
    bool copied;
    const char *problem; /* the entry is bad, and why; then offset and length mean nothing */
};

/* 0, -1 with ERR to stop, or WALK_SKIP to leave out what lies below an L1 table. */
enum { WALK_SKIP = 1 };

typedef int reference_fn(void *context, const struct reference *reference, struct chr_error *err);

/* The references of one disk: its L1 table, L2 tables and clusters.  SNAPSHOT NULL = active. */
int walk_tree(struct image *image, const struct snapshot *snapshot, reference_fn *fn,
              void *context, struct chr_error *err);

/* All references of the committed version; needs refcount_load(). */
int walk_all(struct image *image, reference_fn *fn, void *context, struct chr_error *err);

/*
 * How often each of a window of clusters is referred to.  The window is as wide as
 * its memory (20 MiB) allows; a larger image is walked once for each window that
 * something refers to.
 */
struct tally {
    uint64_t first; /* cluster */
    uint64_t count;
    uint64_t next; /* the lowest one behind it that something refers to, or UINT64_MAX */
    uint32_t *uses;
    uint8_t *kinds; /* enum reference_kind of the first one */
};

int tally_new(struct tally *tally, uint64_t clusters, struct chr_error *err);
void tally_release(struct tally *tally);

/* Begin to count from cluster FIRST on. */
void tally_start(struct tally *tally, uint64_t first);

/*
 * Count REFERENCE where it lies in the window.  Returns the kind that was there
 * before when the two must not share a cluster, else REFERENCE_NONE.
 */
enum reference_kind tally_add(struct tally *tally, const struct image *image,
                              const struct reference *reference);

#endif
