/* A larger virtual disk: the size in the header, and an L1 table that is long enough. */
#include <inttypes.h>

#include "base/bytes.h"
#include "qcow2/image.h"

/*
 * What lies behind the old end must read as zeros: a backing file that is longer, the
 * rest of the last cluster, or what was left when somebody made the disk smaller.
 */
static int clear_new_end(struct image *image, uint64_t from, struct chr_error *err)
{
    struct blk_extent extent;

    for (uint64_t off = from; off < image->blk.size; off += extent.length) {
        if (blk_extent(&image->blk, off, image->blk.size - off, &extent, err) < 0)
            return -1;
        if (extent.kind != BLK_ZERO && blk_zero(&image->blk, off, extent.length, err) < 0)
            return -1;
    }
    return 0;
}

static int lengthen_l1(struct image *image, uint64_t size, struct chr_error *err)
{
    uint64_t needed = header_l1_needed(size, image->header.cluster_bits);
    uint64_t *longer;

    if (needed <= image->l1.count)
        return 0;
    longer = mem_new(needed, sizeof *longer, err);
    if (longer == NULL)
        return -1;
    memcpy(longer, image->l1.entries, image->l1.count * sizeof *longer);
    free(image->l1.entries);
    image->l1 = (struct offsets){.entries = longer, .count = needed};
    image->l1_changed = true;
    return 0;
}

int qcow2_check_growth(const struct blk *blk, uint64_t size, struct chr_error *err)
{
    const struct image *image = (const struct image *)blk;
    const struct header *header = &image->header;

    if (size < blk->size)
        return err_set(err, CHR_E_REFUSED, "the disk has %" PRIu64 " bytes and is not cut",
                       blk->size);
    if (header_l1_needed(size, header->cluster_bits) > MAX_L1_BYTES / ENTRY_BYTES)
        return err_set(err, CHR_E_REFUSED,
                       "a disk of %" PRIu64 " bytes is too large for clusters of %" PRIu32 " bytes",
                       size, image->cluster_size);
    if (size == blk->size || header->version > 2 || image->snapshots.count == 0)
        return 0;
    (void)err_set(err, CHR_E_REFUSED,
                  "a qcow2 of version 2 with snapshots keeps its size: QEMU could not go back");
    return err_hint(err, "qemu-img amend -o compat=1.1 makes it version 3");
}

int qcow2_grow(struct blk *blk, uint64_t size, struct chr_error *err)
{
    struct image *image = image_of(blk);
    uint64_t old = blk->size;

    if (!blk->writable)
        return err_set(err, CHR_E_REFUSED, "the image is open for reading only");
    if (qcow2_check_growth(blk, size, err) < 0)
        return -1;
    if (size == old)
        return 0;
    if (image_begin(image, err) < 0 || lengthen_l1(image, size, err) < 0)
        return -1;
    image->header.size = size;
    image->header_changed = true;
    /* Entries without a size of their own mean the header's: now each says its own. */
    image->snapshots_changed = image->snapshots.count > 0;
    blk->size = size;
    if (clear_new_end(image, old, err) < 0) {
        image->failed = true;
        return -1;
    }
    return 0;
}
