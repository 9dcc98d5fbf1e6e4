/* A file's bytes: its chain made as long as they are, and filled. */
#include "fs/fat_file.h"

#include "base/bytes.h"
#include "fs/fat_decode.h"
#include "fs/fat_encode.h"

uint32_t fat_file_clusters(const struct fat_table *table, uint64_t size)
{
    uint32_t cluster_size = table->volume.info.cluster_size;

    return (uint32_t)((size + cluster_size - 1) / cluster_size);
}

/* Copy SOURCE into the clusters of CHAIN; what is left of the last one becomes zeros. */
static int write_bytes(const struct fat_volume *volume, const uint32_t *chain, uint32_t count,
                       const struct edit_source *source, struct chr_error *err)
{
    size_t size = volume->info.cluster_size;
    uint8_t *buf = mem_new(1, size, err);
    int result = buf != NULL ? 0 : -1;

    for (uint32_t i = 0; i < count && result == 0; i++) {
        uint64_t off = (uint64_t)i * size;
        size_t valid = (size_t)min_u64(size, source->size - off);

        memset(buf + valid, 0, size - valid);
        result = source->read(source->context, off, buf, valid, err);
        if (result == 0)
            result = blk_write(volume->device, fat_volume_offset(volume, chain[i]), buf, size, err);
    }
    if (buf != NULL)
        explicit_bzero(buf, size); /* it may have been a secret */
    free(buf);
    return result;
}

/*
 * Make *CHAIN, which has COUNT clusters, one of NEEDED: what is there stays in
 * its order, so that a file of the same length does not move.
 */
static int fit_chain(struct fat_table *table, uint32_t **chain, uint32_t count, uint32_t needed,
                     struct chr_error *err)
{
    uint32_t *longer;

    if (needed > count) {
        longer = reallocarray(*chain, needed, sizeof *longer);
        if (longer == NULL)
            return err_set(err, CHR_E_MEMORY, "out of memory");
        *chain = longer;
        if (fat_table_take(table, count > 0 ? longer[count - 1] : 0, needed - count,
                           longer + count, err) < 0)
            return -1;
        if (count > 0)
            fat_table_link(table, longer[count - 1], longer[count]);
    } else if (needed < count) {
        fat_table_give_back(table, *chain + needed, count - needed);
        if (needed > 0)
            fat_table_link(table, (*chain)[needed - 1], 0);
    }
    return 0;
}

int fat_file_fill(struct fat_table *table, uint8_t *entry, const struct edit_source *source,
                  struct chr_error *err)
{
    uint32_t first = fat_decode_cluster(entry, table->volume.info.bits);
    uint32_t needed = fat_file_clusters(table, source->size);
    AUTO_FREE uint32_t *chain = NULL;
    uint32_t count = 0;

    if (fat_table_chain(table, first, &chain, &count, err) < 0 ||
        fit_chain(table, &chain, count, needed, err) < 0 ||
        write_bytes(&table->volume, chain, needed, source, err) < 0)
        return -1;
    fat_encode_cluster(entry, needed > 0 ? chain[0] : 0);
    put_le32(entry + 28, (uint32_t)source->size);
    return 0;
}

int fat_file_give_back(struct fat_table *table, uint32_t first, struct chr_error *err)
{
    AUTO_FREE uint32_t *chain = NULL;
    uint32_t count = 0;

    if (fat_table_chain(table, first, &chain, &count, err) < 0)
        return -1;
    fat_table_give_back(table, chain, count);
    return 0;
}
