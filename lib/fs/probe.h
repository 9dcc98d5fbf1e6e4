/* What a partition holds: our own look, and libblkid's as a second opinion. */
#ifndef CHRIMG_FS_PROBE_H
#define CHRIMG_FS_PROBE_H

#include "block/blk.h"
#include "fs/kernel.h"

/* CHR_CONTENTS_KERNEL is not found here: see probe_find_kernel(). */
int probe_contents(struct blk *device, enum chr_contents *out, struct chr_error *err);

/* Whether both ext and FAT left their marks: one of the two is stale. */
int probe_ambiguous(struct blk *device, bool *ambiguous, struct chr_error *err);

struct raw_kernel {
    uint64_t offset; /* bytes from the start of the device */
    struct kernel kernel;
};

/*
 * Look for a UEFI loader at a sector boundary of a device without a file
 * system.  CHR_E_MISSING when there is none, CHR_E_REFUSED when there are two.
 */
int probe_find_kernel(struct blk *device, struct raw_kernel *out, struct chr_error *err);

#define PROBE_TYPE_SIZE 16

/* libblkid's name for what is on DEVICE ("ext3", "vfat"), "" for nothing or no answer. */
int probe_blkid(struct blk *device, char type[PROBE_TYPE_SIZE], struct chr_error *err);

#endif
