/*
 * Reading and writing the virtual disk.
 */
#include "qcow2/io.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/map.h"
#include "qcow2/refcount.h"

/* ---- reading ---- */

/* Where there is no cluster: the backing file, and zeros behind its end. */
static int read_backing(struct image *image, uint64_t off, uint8_t *buf, size_t len,
                        struct chr_error *err)
{
    uint64_t size = image->backing != NULL ? image->backing->size : 0;
    size_t there = off < size ? (size_t)min_u64(len, size - off) : 0;

    memset(buf + there, 0, len - there);
    if (there != 0 && blk_read(image->backing, off, buf, there, err) < 0)
        return err_context(err, "backing file");
    return 0;
}

/* Decompress the cluster of ENTRY to image->plain, unless it is there. */
static int load_compressed(struct image *image, const struct l2_entry *entry,
                           struct chr_error *err)
{
    /* The sectors of a compressed cluster are more than a cluster where cluster bits allow it. */
    size_t room = 2 * (size_t)image->cluster_size;

    if (image->plain_host == entry->host)
        return 0;
    if (image->plain == NULL)
        image->plain = mem_new(image->cluster_size, 1, err);
    if (image->packed == NULL)
        image->packed = mem_new(room, 1, err);
    if (image->plain == NULL || image->packed == NULL)
        return -1;
    image->plain_host = 0;
    if (host_read(&image->file, entry->host, image->packed, entry->length, err) < 0 ||
        codec_decompress(image->codec, image->packed, entry->length, image->plain,
                         image->cluster_size, err) < 0)
        return -1;
    image->plain_host = entry->host;
    return 0;
}

static int read_mapped(struct image *image, uint64_t off, const struct mapping *mapping,
                       uint8_t *buf, struct chr_error *err)
{
    size_t len = (size_t)mapping->length;

    switch (mapping->entry.kind) {
    case CLUSTER_UNALLOCATED:
        return read_backing(image, off, buf, len, err);
    case CLUSTER_ZERO:
        memset(buf, 0, len);
        return 0;
    case CLUSTER_DATA:
        return host_read(&image->file, mapping->host, buf, len, err);
    case CLUSTER_COMPRESSED:
        if (load_compressed(image, &mapping->entry, err) < 0)
            return err_context(err, "guest offset %" PRIu64, off);
        memcpy(buf, image->plain + off % image->cluster_size, len);
        return 0;
    }
    return err_set(err, CHR_E_INTERNAL, "an L2 entry of no kind");
}

static int image_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    struct image *image = image_of(blk);
    uint8_t *p = buf;

    while (len > 0) {
        struct mapping mapping;

        if (map_find(image, off, len, &mapping, err) < 0 ||
            read_mapped(image, off, &mapping, p, err) < 0)
            return -1;
        off += mapping.length;
        p += mapping.length;
        len -= (size_t)mapping.length;
    }
    return 0;
}

static int image_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                        struct chr_error *err)
{
    struct image *image = image_of(blk);
    struct mapping mapping;

    if (map_find(image, off, len, &mapping, err) < 0)
        return -1;
    *extent = (struct blk_extent){.kind = BLK_DATA, .length = mapping.length};
    if (mapping.entry.kind == CLUSTER_DATA || mapping.entry.kind == CLUSTER_COMPRESSED)
        return 0;
    if (mapping.entry.kind == CLUSTER_UNALLOCATED && image->backing != NULL &&
        off < image->backing->size)
        return blk_extent(image->backing, off, min_u64(mapping.length, image->backing->size - off),
                          extent, err);
    extent->kind = BLK_ZERO;
    return 0;
}

/* ---- writing ---- */

/* Whole clusters that are written at once to new places; more would only skip more free ones. */
enum { RUN_CLUSTERS = 16 };

/* Write COUNT whole clusters, from guest cluster NUMBER on, to new places. */
static int write_run(struct image *image, uint64_t number, uint64_t count, const uint8_t *buf,
                     struct chr_error *err)
{
    uint64_t place;

    if (refcount_allocate(image, count, &place, err) < 0 ||
        host_write(&image->file, place, buf, (size_t)offset_of(image, count), err) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++)
        if (map_set(image, number + i, (place + offset_of(image, i)) | ENTRY_COPIED, err) < 0)
            return -1;
    return 0;
}

/* The whole of guest cluster NUMBER as it is now, zeros behind the end of the disk. */
static int read_cluster(struct image *image, uint64_t number, uint8_t *cluster,
                        struct chr_error *err)
{
    uint64_t start = offset_of(image, number);
    size_t there = (size_t)min_u64(image->cluster_size, image->blk.size - start);

    memset(cluster + there, 0, image->cluster_size - there);
    return image_read(&image->blk, start, cluster, there, err);
}

/* Write LEN bytes within one cluster, which gets a new place with all else that it holds. */
static int write_part(struct image *image, uint64_t off, const uint8_t *buf, size_t len,
                      struct chr_error *err)
{
    AUTO_FREE uint8_t *cluster = mem_new(image->cluster_size, 1, err);
    uint64_t number = cluster_of(image, off);
    int result = cluster == NULL ? -1 : read_cluster(image, number, cluster, err);

    if (result == 0) {
        memcpy(cluster + off % image->cluster_size, buf, len);
        result = write_run(image, number, 1, cluster, err);
    }
    if (cluster != NULL)
        explicit_bzero(cluster, image->cluster_size); /* it may hold a password */
    return result;
}

/*
 * How much of what was found may be written where it is: all of the active disk's own
 * clusters, or, where a change must be atomic, the rest of one that is not committed.
 */
static int overwritable(struct image *image, const struct mapping *mapping, uint64_t off,
                        size_t *length, struct chr_error *err)
{
    uint64_t committed = 0;

    *length = 0;
    if (mapping->entry.kind != CLUSTER_DATA || !mapping->entry.copied)
        return 0;
    if (!image->atomic) {
        *length = (size_t)mapping->length;
        return 0;
    }
    if (refcount_get_committed(image, cluster_of(image, mapping->host), &committed, err) < 0)
        return -1;
    if (committed == 0)
        *length = (size_t)min_u64(mapping->length, image->cluster_size - off % image->cluster_size);
    return 0;
}

/* Write the first part of the request, as far as one way of writing goes; *DONE bytes. */
static int write_step(struct image *image, uint64_t off, const uint8_t *buf, size_t len,
                      size_t *done, struct chr_error *err)
{
    uint64_t within = off % image->cluster_size;
    struct mapping mapping;
    uint64_t whole;

    if (map_find(image, off, len, &mapping, err) < 0 ||
        overwritable(image, &mapping, off, done, err) < 0)
        return -1;
    if (*done != 0)
        return host_write(&image->file, mapping.host, buf, *done, err);
    whole = within == 0 ? cluster_of(image, mapping.length) : 0;
    if (whole != 0) {
        whole = min_u64(whole, RUN_CLUSTERS);
        *done = (size_t)offset_of(image, whole);
        return write_run(image, cluster_of(image, off), whole, buf, err);
    }
    *done = (size_t)min_u64(len, image->cluster_size - within);
    return write_part(image, off, buf, *done, err);
}

static int image_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                       struct chr_error *err)
{
    struct image *image = image_of(blk);
    const uint8_t *p = buf;

    if (image_begin(image, err) < 0)
        return -1;
    while (len > 0) {
        size_t done;

        if (write_step(image, off, p, len, &done, err) < 0) {
            image->failed = true;
            return -1;
        }
        off += done;
        p += done;
        len -= done;
    }
    return 0;
}

/* ---- zeros ---- */

static bool reads_as_zeros(const struct image *image, const struct mapping *mapping)
{
    return mapping->entry.kind == CLUSTER_ZERO ||
           (mapping->entry.kind == CLUSTER_UNALLOCATED && image->backing == NULL);
}

/* Whether an L2 entry can say "zeros": version 2 can only leave the cluster out. */
static bool has_zero_entry(const struct image *image)
{
    return image->header.version >= 3 || image->backing == NULL;
}

static int zero_step(struct image *image, uint64_t off, uint64_t len, uint64_t *done,
                     struct chr_error *err)
{
    uint64_t within = off % image->cluster_size;
    struct mapping mapping;

    if (map_find(image, off, len, &mapping, err) < 0)
        return -1;
    *done = mapping.length;
    if (reads_as_zeros(image, &mapping))
        return 0;
    *done = min_u64(len, image->cluster_size - within);
    /* The last cluster is whole where the disk ends. */
    if (within == 0 && (*done == image->cluster_size || off + *done == image->blk.size) &&
        has_zero_entry(image))
        return map_set(image, cluster_of(image, off),
                       image->header.version >= 3 ? ENTRY_ZERO : 0, err);
    return blk_write_zeros(&image->blk, off, *done, err);
}

static int image_zero(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err)
{
    struct image *image = image_of(blk);

    if (image_begin(image, err) < 0)
        return -1;
    while (len > 0) {
        uint64_t done;

        if (zero_step(image, off, len, &done, err) < 0) {
            image->failed = true;
            return -1;
        }
        off += done;
        len -= done;
    }
    return 0;
}

static int image_flush(struct blk *blk, struct chr_error *err)
{
    return image_commit(image_of(blk), err);
}

const struct blk_ops image_ops = {
    .read = image_read,
    .write = image_write,
    .zero = image_zero,
    .flush = image_flush,
    .extent = image_extent,
    .close = image_close,
};
