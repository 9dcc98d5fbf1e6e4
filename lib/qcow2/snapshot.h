/*
 * The snapshot table in memory.
 */
#ifndef CHRIMG_QCOW2_SNAPSHOT_H
#define CHRIMG_QCOW2_SNAPSHOT_H

#include "qcow2/image.h"

/* Read the table that the header names; what was there is released. */
int snapshots_read(struct image *image, struct chr_error *err);

void snapshots_release(struct snapshots *snapshots);

/*
 * The snapshot called TAG, or else the one with that ID; NULL with ERR when there is
 * none (CHR_E_MISSING) or when two share the name (QEMU lets that happen).
 */
const struct snapshot *snapshots_find(const struct image *image, const char *tag,
                                      struct chr_error *err);

/* Its L1 table; the caller owns L1->entries. */
int snapshot_read_l1(const struct image *image, const struct snapshot *snapshot,
                     struct offsets *l1, struct chr_error *err);

/* Part of image_commit(): write a changed table to a new place. */
int snapshots_place(struct image *image, struct chr_error *err);

#endif
