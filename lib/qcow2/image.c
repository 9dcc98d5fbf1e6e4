/*
 * An image as a whole: opening it, and putting changed tables in force.
 */
#include "qcow2/image.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "qcow2/backing.h"
#include "qcow2/io.h"
#include "qcow2/refcount.h"
#include "qcow2/snapshot.h"

int offsets_read(const struct host_file *file, uint64_t offset, uint64_t count,
                 struct offsets *table, struct chr_error *err)
{
    AUTO_FREE uint64_t *entries = mem_new(count, sizeof *entries, err);

    if (entries == NULL)
        return -1;
    if (count != 0 && host_read(file, offset, entries, count * ENTRY_BYTES, err) < 0)
        return -1;
    for (uint64_t i = 0; i < count; i++)
        entries[i] = be64((const uint8_t *)&entries[i]);
    *table = (struct offsets){.entries = STEAL(entries), .count = count};
    return 0;
}

int offsets_write(const struct image *image, const struct offsets *table, uint64_t offset,
                  struct chr_error *err)
{
    AUTO_FREE uint8_t *cluster = mem_new(image->cluster_size, 1, err);
    uint64_t per_cluster = image->cluster_size / ENTRY_BYTES;

    if (cluster == NULL)
        return -1;
    for (uint64_t done = 0; done < table->count; done += per_cluster) {
        for (uint64_t i = 0; i < per_cluster; i++)
            put_be64(cluster + i * ENTRY_BYTES,
                     done + i < table->count ? table->entries[done + i] : 0);
        if (host_write(&image->file, offset + done * ENTRY_BYTES, cluster, image->cluster_size,
                       err) < 0)
            return -1;
    }
    return 0;
}

/* ---- changes ---- */

static int refuse_after_failure(const struct image *image, struct chr_error *err)
{
    if (!image->failed)
        return 0;
    (void)err_set(err, CHR_E_REFUSED,
                  "the image cannot be changed any more after an earlier error");
    return err_hint(err, "it is as at the last flush; open it again");
}

int image_begin(struct image *image, struct chr_error *err)
{
    if (refuse_after_failure(image, err) < 0)
        return -1;
    if (image->unchecked)
        return err_set(err, CHR_E_REFUSED, "the image was opened for repair, and is not repaired");
    if (image->header.autoclear == 0)
        return 0;
    image->header.autoclear = 0;
    if (header_update(&image->file, &image->header, err) < 0 ||
        blk_flush(image->file.blk, err) < 0) {
        image->failed = true;
        return -1;
    }
    return 0;
}

static int place_l1(struct image *image, struct chr_error *err)
{
    struct header *header = &image->header;
    uint64_t bytes = image->l1.count * ENTRY_BYTES;
    uint64_t offset;

    if (!image->l1_changed)
        return 0;
    /* A new snapshot has taken the old table over: then the offset is 0. */
    if (header->l1_offset != 0 &&
        refcount_add(image, header->l1_offset, (uint64_t)header->l1_entries * ENTRY_BYTES, -1,
                     err) < 0)
        return -1;
    if (refcount_allocate(image, clusters_for(image, bytes), &offset, err) < 0 ||
        offsets_write(image, &image->l1, offset, err) < 0)
        return -1;
    header->l1_offset = offset;
    header->l1_entries = (uint32_t)image->l1.count;
    return 0;
}

/*
 * The order, and what a reader finds after a cut:
 *   all tables that changed, to free clusters     the committed version, untouched
 *   flush                                         the same
 *   the header, within one sector                 one version or the other: COMMIT POINT
 *   flush                                         the new version
 * The new refcounts count the new version only, so that nothing is leaked either.
 */
static int commit(struct image *image, struct chr_error *err)
{
    if (place_l1(image, err) < 0 || snapshots_place(image, err) < 0 ||
        refcount_place_table(image, err) < 0 || cache_write_back(&image->l2_tables, err) < 0 ||
        blk_flush(image->file.blk, err) < 0 ||
        header_update(&image->file, &image->header, err) < 0 ||
        blk_flush(image->file.blk, err) < 0)
        return -1;
    refcount_committed(image);
    image->l1_changed = false;
    image->snapshots_changed = false;
    image->header_changed = false;
    return 0;
}

int image_commit(struct image *image, struct chr_error *err)
{
    if (refuse_after_failure(image, err) < 0)
        return -1;
    if (!image->l1_changed && !image->snapshots_changed && !image->header_changed)
        return blk_flush(image->file.blk, err);
    if (commit(image, err) < 0) {
        image->failed = true;
        return -1;
    }
    return 0;
}

/* ---- opening ---- */

static int load_l1(struct image *image, struct chr_error *err)
{
    uint64_t offset = image->header.l1_offset;
    uint64_t count = image->header.l1_entries;
    struct offsets l1;

    if (offsets_read(&image->file, offset, count, &l1, err) < 0)
        return err_context(err, "L1 table");
    free(image->l1.entries);
    image->l1 = l1;
    image->l1_changed = false;
    image->blk.size = image->header.size;
    return 0;
}

int image_abort(struct image *image, struct chr_error *err)
{
    struct header header;

    cache_drop(&image->l2_tables);
    refcount_unload(image);
    if (header_read(&image->file, &header, err) < 0)
        return -1;
    header_release(&image->header);
    image->header = header;
    image->header_changed = false;
    if (load_l1(image, err) < 0 || snapshots_read(image, err) < 0 || refcount_load(image, err) < 0)
        return -1;
    image->failed = false;
    return 0;
}

static int allow_writing(struct image *image, const struct qcow2_open_options *options,
                         struct chr_error *err)
{
    bool dirty = (image->header.incompatible & INCOMPATIBLE_DIRTY) != 0;
    struct qcow2_check_report report;

    if (!image->file.blk->writable)
        return err_set(err, CHR_E_REFUSED, "the file is open for reading only");
    if (image->view)
        return err_set(err, CHR_E_REFUSED, "a snapshot can only be read");
    image->blk.writable = true;
    if (refcount_load(image, err) < 0)
        return -1;
    image->atomic = options->atomic;
    if (options->for_repair) {
        image->unchecked = true;
        return 0;
    }
    if ((image->header.incompatible & INCOMPATIBLE_CORRUPT) != 0) {
        (void)err_set(err, CHR_E_DAMAGED, "the image is marked as corrupt");
        return err_hint(err, "it can be read; chrimg check --repair all makes it one that may be changed");
    }
    if (dirty)
        return qcow2_repair(&image->blk, QCOW2_REPAIR_ALL, &report, err);
    if (qcow2_check(&image->blk, &report, err) < 0)
        return -1;
    if (report.corruptions != 0) {
        (void)err_set(err, CHR_E_DAMAGED, "the image is damaged, so it is not changed: %s",
                      report.findings[0]);
        return err_hint(err, "chrimg check says what is wrong, chrimg check --repair all mends what can be mended");
    }
    return 0;
}

static int open_view(struct image *image, const char *tag, struct chr_error *err)
{
    const struct snapshot *snapshot;

    if (tag == NULL)
        return 0;
    snapshot = snapshots_find(image, tag, err);
    if (snapshot == NULL)
        return -1;
    free(image->l1.entries);
    image->l1 = (struct offsets){0};
    image->view = true;
    image->blk.size = snapshot->facts.disk_size;
    return snapshot_read_l1(image, snapshot, &image->l1, err);
}

static int open_parts(struct image *image, const struct qcow2_open_options *options,
                      unsigned depth, struct chr_error *err)
{
    if (header_read(&image->file, &image->header, err) < 0)
        return -1;
    image->cluster_size = UINT32_C(1) << image->header.cluster_bits;
    cache_init(&image->l2_tables, &image->file, image->cluster_size);
    cache_init(&image->refcount_blocks, &image->file, image->cluster_size);
    if (codec_new(image->header.compression, &image->codec, err) < 0 ||
        load_l1(image, err) < 0 || snapshots_read(image, err) < 0 ||
        open_view(image, options->snapshot, err) < 0)
        return -1;
    if (options->refuse_backing && image->header.backing_name != NULL)
        return err_set(err, CHR_E_REFUSED, "the image has a backing file (%s)",
                       image->header.backing_name);
    if (backing_open(&image->header, options->path, depth, &image->backing, err) < 0)
        return -1;
    return options->writable ? allow_writing(image, options, err) : 0;
}

int image_open_at_depth(struct blk *file, const struct qcow2_open_options *options,
                        unsigned depth, struct blk **out, struct chr_error *err)
{
    AUTO_BLK struct blk *owned = file;
    AUTO_BLK struct blk *opened = NULL;
    struct image *image = mem_new(1, sizeof *image, err);

    if (image == NULL)
        return -1;
    *image = (struct image){
        .blk = {.ops = &image_ops, .fd = -1},
        .file = {.blk = STEAL(owned),
                 .resize = options->resize != NULL ? options->resize : raw_resize},
        .lowest_freed = UINT64_MAX,
    };
    opened = &image->blk;
    if (open_parts(image, options, depth, err) < 0)
        return -1;
    *out = STEAL(opened);
    return 0;
}

int qcow2_open(struct blk *file, const struct qcow2_open_options *options, struct blk **out,
               struct chr_error *err)
{
    return image_open_at_depth(file, options, 0, out, err);
}

int image_close(struct blk *blk, struct chr_error *err)
{
    struct image *image = image_of(blk);
    struct chr_error ignored;
    int result;

    (void)blk_close(image->backing, &ignored);
    result = blk_close(image->file.blk, err);
    snapshots_release(&image->snapshots);
    cache_release(&image->l2_tables);
    cache_release(&image->refcount_blocks);
    codec_free(image->codec);
    header_release(&image->header);
    free(image->l1.entries);
    free(image->reftable.entries);
    free(image->committed_reftable.entries);
    free(image->changes);
    if (image->plain != NULL)
        explicit_bzero(image->plain, image->cluster_size); /* it may hold a password */
    free(image->plain);
    free(image->packed);
    free(image);
    return result;
}

void qcow2_get_info(const struct blk *blk, struct qcow2_info *info)
{
    const struct image *image = (const struct image *)blk;
    const struct header *header = &image->header;

    *info = (struct qcow2_info){
        .version = header->version,
        .virtual_size = header->size,
        .cluster_size = image->cluster_size,
        .refcount_bits = 1u << header->refcount_order,
        .compression = header->compression,
        .dirty = (header->incompatible & INCOMPATIBLE_DIRTY) != 0,
        .corrupt = (header->incompatible & INCOMPATIBLE_CORRUPT) != 0,
        .lazy_refcounts = (header->compatible & COMPATIBLE_LAZY_REFCOUNTS) != 0,
        .bitmaps = header->bitmap_count != 0,
        .snapshots = (uint32_t)image->snapshots.count,
        .backing_file = header->backing_name,
        .backing_format = header->backing_format,
    };
}
