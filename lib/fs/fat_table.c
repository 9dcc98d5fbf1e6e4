/*
 * The table, changed.
 *
 *   FSInfo, one sector (FATGEN103, "FAT32 FSInfo Sector Structure"):
 *     0 4 "RRaA"   484 4 "rrAa"   488 4 free clusters   492 4 last one taken   508 4 AA550000
 */
#include "fs/fat_table.h"

#include <inttypes.h>

#include "base/bytes.h"

#define STEP 512 /* what is written at once, and marked as changed */
#define HINTS_SIZE 512
#define HINTS_LEAD 0x41615252
#define HINTS_MARK 0x61417272
#define HINTS_TRAIL 0xAA550000
#define END_OF_CHAIN 0x0FFFFFFF

int fat_table_open(struct blk *device, struct fat_table *out, struct chr_error *err)
{
    struct fat_table table = {0};
    const struct fat_volume *volume = &table.volume;

    if (fat_volume_open(device, &table.volume, err) < 0)
        return -1;
    table.changed = mem_new(volume->fat_bytes / STEP, 1, err);
    if (table.changed == NULL) {
        fat_table_release(&table);
        return -1;
    }
    if (volume->version != 0 || !volume->mirrored) {
        fat_table_release(&table);
        return err_set(err, CHR_E_UNSUPPORTED, "a FAT32 %s cannot be changed",
                       volume->version != 0 ? "of a version other than 0.0"
                                            : "of which one copy of the table alone is in use");
    }
    if (volume->hints_offset + HINTS_SIZE > volume->fat_offset) {
        fat_table_release(&table);
        return err_set(err, CHR_E_DAMAGED, "FAT32: FSInfo is said to be behind the boot sectors");
    }
    *out = table;
    return 0;
}

void fat_table_release(struct fat_table *table)
{
    fat_volume_release(&table->volume);
    free(table->changed);
    table->changed = NULL;
}

int fat_table_chain(const struct fat_table *table, uint32_t first, uint32_t **chain,
                    uint32_t *count, struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    AUTO_FREE uint32_t *out = NULL;
    size_t capacity = 0;

    *count = 0;
    for (uint32_t at = first; first != 0 && !fat_volume_is_end(volume, at);
         at = fat_volume_entry(volume, at)) {
        if (!fat_volume_has(volume, at))
            return err_set(err, CHR_E_DAMAGED, "FAT entry leads to cluster %" PRIu32
                           ", which is outside", at);
        if (*count == volume->info.clusters)
            return err_set(err, CHR_E_DAMAGED, "the chain from cluster %" PRIu32 " does not end",
                           first);
        if (mem_grow(&out, &capacity, *count, sizeof *out, err) < 0)
            return -1;
        out[(*count)++] = at;
    }
    *chain = STEAL(out);
    return 0;
}

int fat_table_need(const struct fat_table *table, uint64_t count, struct chr_error *err)
{
    const struct fat_info *info = &table->volume.info;

    if (count <= info->free_clusters)
        return 0;
    (void)err_set(err, CHR_E_SPACE,
                  "no room: %" PRIu64 " bytes are missing, %" PRIu64 " are free",
                  (count - info->free_clusters) * info->cluster_size,
                  (uint64_t)info->free_clusters * info->cluster_size);
    return err_hint(err, "a boot partition cannot be grown: remove from it what is not needed");
}

/* ---- one entry ---- */

static void mark_changed(struct fat_table *table, size_t at)
{
    table->changed[at / STEP] = 1;
}

static void set_entry(struct fat_table *table, uint32_t cluster, uint32_t value)
{
    struct fat_volume *volume = &table->volume;
    size_t at = volume->info.bits == 12 ? cluster + cluster / 2
                                        : (size_t)cluster * (volume->info.bits / 8);
    uint8_t *p = volume->fat + at;

    volume->info.free_clusters -= fat_volume_entry(volume, cluster) == 0;
    volume->info.free_clusters += value == 0;
    mark_changed(table, at);
    switch (volume->info.bits) {
    case 12:
        put_le16(p, (uint16_t)(cluster % 2 == 0 ? (le16(p) & 0xF000u) | (value & 0xFFFu)
                                                : (le16(p) & 0xFu) | (value & 0xFFFu) << 4));
        mark_changed(table, at + 1);
        break;
    case 16:
        put_le16(p, (uint16_t)value);
        break;
    default: /* the highest four bits are not ours */
        put_le32(p, (le32(p) & 0xF0000000u) | (value & 0x0FFFFFFFu));
    }
}

void fat_table_link(struct fat_table *table, uint32_t cluster, uint32_t next)
{
    set_entry(table, cluster, next != 0 ? next : END_OF_CHAIN);
}

void fat_table_give_back(struct fat_table *table, const uint32_t *clusters, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        set_entry(table, clusters[i], 0);
}

/* ---- taking ---- */

/* How many of at most LIMIT clusters from CLUSTER on are free. */
static uint32_t free_run(const struct fat_volume *volume, uint32_t cluster, uint32_t limit)
{
    uint32_t count = 0;

    while (count < limit && fat_volume_has(volume, cluster + count) &&
           fat_volume_entry(volume, cluster + count) == 0)
        count++;
    return count;
}

/* Where COUNT free clusters begin in one piece; 0 if nowhere. */
static uint32_t find_run(const struct fat_volume *volume, uint32_t after, uint32_t count)
{
    uint32_t end = volume->info.clusters + 2;

    if (after != 0 && free_run(volume, after + 1, count) == count)
        return after + 1;
    for (uint32_t at = 2; at < end;) {
        uint32_t length = free_run(volume, at, count);

        if (length == count)
            return at;
        at += length + 1;
    }
    return 0;
}

int fat_table_take(struct fat_table *table, uint32_t after, uint32_t count, uint32_t *out,
                   struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    uint32_t at;

    if (count == 0)
        return 0;
    if (count > volume->info.free_clusters)
        return err_set(err, CHR_E_INTERNAL, "%" PRIu32 " clusters taken, %" PRIu32 " are free",
                       count, volume->info.free_clusters);
    at = find_run(volume, after, count);
    if (at == 0)
        at = 2;
    for (uint32_t i = 0; i < count; at++)
        if (fat_volume_entry(volume, at) == 0)
            out[i++] = at;
    for (uint32_t i = 0; i < count; i++)
        fat_table_link(table, out[i], i + 1 < count ? out[i + 1] : 0);
    table->last = out[count - 1];
    return 0;
}

/* ---- writing ---- */

/* A FAT32's own count; a sector there that is none of FSInfo stays as it is. */
static int write_hints(const struct fat_table *table, struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    uint8_t sector[HINTS_SIZE];

    if (volume->hints_offset == 0)
        return 0;
    if (blk_read(volume->device, volume->hints_offset, sector, sizeof sector, err) < 0)
        return -1;
    if (le32(sector) != HINTS_LEAD || le32(sector + 484) != HINTS_MARK ||
        le32(sector + 508) != HINTS_TRAIL)
        return 0;
    put_le32(sector + 488, volume->info.free_clusters);
    if (table->last != 0)
        put_le32(sector + 492, table->last);
    return blk_write(volume->device, volume->hints_offset, sector, sizeof sector, err);
}

int fat_table_write(struct fat_table *table, struct chr_error *err)
{
    const struct fat_volume *volume = &table->volume;
    bool any = false;

    for (uint32_t at = 0; at < volume->fat_bytes; at += STEP) {
        if (table->changed[at / STEP] == 0)
            continue;
        for (unsigned copy = 0; copy < volume->fat_count; copy++)
            if (blk_write(volume->device,
                          volume->fat_offset + (uint64_t)copy * volume->fat_bytes + at,
                          volume->fat + at, STEP, err) < 0)
                return -1;
        table->changed[at / STEP] = 0;
        any = true;
    }
    return any ? write_hints(table, err) : 0;
}
