/*
 * The boot sector and the table.
 *
 *   BPB      11 2 bytes per sector         FAT12/16 38 1 0x29
 *            13 1 sectors per cluster               39 4 serial  43 11 label
 *            14 2 reserved sectors         FAT32    36 4 sectors per FAT
 *            16 1 number of FATs                    40 2 flags: bit 7, one copy is in use
 *            17 2 root entries                      42 2 version
 *            19 2 total sectors                     44 4 root cluster
 *            22 2 sectors per FAT                   48 2 sector of FSInfo
 *            32 4 total sectors (large)             66 1 0x29  67 4 serial  71 11 label
 */
#include "fs/fat_volume.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "fs/fat_decode.h"

/* A FAT32 of 256 MiB of table is no boot partition of 32 MiB. */
#define MAX_FAT_BYTES (4u << 20)
#define NO_SECTOR 0xFFFF
#define FLAG_ONE_COPY 0x80

bool fat_volume_plausible(const uint8_t *p)
{
    uint32_t sector = le16(p + 11);

    return (p[0] == 0xEB || p[0] == 0xE9) && p[510] == 0x55 && p[511] == 0xAA &&
           is_power_of_two(sector) && sector >= 512 && sector <= 4096 && is_power_of_two(p[13]) &&
           le16(p + 14) != 0 && (p[16] == 1 || p[16] == 2) && (p[21] == 0xF0 || p[21] >= 0xF8);
}

static void decode_fat32(struct fat_volume *v, const uint8_t *p)
{
    uint16_t hints = le16(p + 48);

    v->root_cluster = le32(p + 44);
    v->mirrored = (le16(p + 40) & FLAG_ONE_COPY) == 0;
    v->version = le16(p + 42);
    v->hints_offset = hints == NO_SECTOR ? 0 : (uint64_t)hints * v->info.bytes_per_sector;
}

static int decode_bpb(struct fat_volume *v, const uint8_t *p, struct chr_error *err)
{
    struct fat_info *info = &v->info;
    uint64_t sector = le16(p + 11);
    uint64_t fat_sectors = le16(p + 22) != 0 ? le16(p + 22) : le32(p + 36);
    uint64_t total = le16(p + 19) != 0 ? le16(p + 19) : le32(p + 32);
    uint64_t root_sectors = (le16(p + 17) * (uint64_t)FAT_ENTRY_SIZE + sector - 1) / sector;
    uint64_t data = le16(p + 14) + p[16] * fat_sectors + root_sectors;
    uint64_t clusters;

    if (total == 0 || total * sector > v->device->size)
        return err_set(err, CHR_E_DAMAGED,
                       "FAT: the BPB claims %" PRIu64 " sectors, the partition has %" PRIu64, total,
                       v->device->size / sector);
    if (data >= total)
        return err_set(err, CHR_E_DAMAGED, "FAT: the BPB leaves no room for data");
    clusters = (total - data) / p[13];
    info->bits = clusters <= FAT12_MAX_CLUSTERS ? 12 : clusters <= FAT16_MAX_CLUSTERS ? 16 : 32;
    if ((info->bits == 32) != (le16(p + 22) == 0))
        return err_set(err, CHR_E_DAMAGED, "FAT: %" PRIu64 " clusters do not fit the BPB's kind",
                       clusters);
    if (fat_sectors * sector > MAX_FAT_BYTES)
        return err_set(err, CHR_E_UNSUPPORTED, "FAT: a table of %" PRIu64 " bytes is over %u",
                       fat_sectors * sector, MAX_FAT_BYTES);
    if ((clusters + 2) * info->bits > fat_sectors * sector * 8)
        return err_set(err, CHR_E_DAMAGED, "FAT: %" PRIu64 " clusters do not fit its table",
                       clusters);
    info->bytes_per_sector = (uint32_t)sector;
    info->cluster_size = (uint32_t)(sector * p[13]);
    info->clusters = (uint32_t)clusters;
    info->data_start = data * sector;
    info->size = total * sector;
    v->fat_offset = le16(p + 14) * sector;
    v->fat_bytes = (uint32_t)(fat_sectors * sector);
    v->fat_count = p[16];
    v->root_offset = (data - root_sectors) * sector;
    v->root_entries = le16(p + 17);
    v->mirrored = true;
    if (info->bits == 32)
        decode_fat32(v, p);
    p += info->bits == 32 ? 28 : 0;
    info->serial = p[38] == 0x29 ? le32(p + 39) : 0;
    if (p[38] == 0x29)
        fat_decode_label(p + 43, info->label);
    return 0;
}

/* ---- the table ---- */

uint32_t fat_volume_entry(const struct fat_volume *v, uint32_t cluster)
{
    const uint8_t *p = v->fat;

    if (v->info.bits == 16)
        return le16(p + 2 * cluster);
    if (v->info.bits == 32)
        return le32(p + 4 * (size_t)cluster) & 0x0FFFFFFF;
    p += cluster + cluster / 2;
    return cluster % 2 == 0 ? le16(p) & 0xFFFu : le16(p) >> 4;
}

bool fat_volume_is_end(const struct fat_volume *v, uint32_t entry)
{
    return entry >= (v->info.bits == 12 ? 0xFF8u : v->info.bits == 16 ? 0xFFF8u : 0x0FFFFFF8u);
}

bool fat_volume_has(const struct fat_volume *v, uint32_t cluster)
{
    return cluster >= 2 && cluster < v->info.clusters + 2;
}

uint64_t fat_volume_offset(const struct fat_volume *v, uint32_t cluster)
{
    return v->info.data_start + (uint64_t)(cluster - 2) * v->info.cluster_size;
}

static int read_table(struct fat_volume *v, struct chr_error *err)
{
    AUTO_FREE uint8_t *second = NULL;

    /* One more byte: the last FAT12 entry is read as 16 bits. */
    v->fat = mem_new(1, v->fat_bytes + 1, err);
    if (v->fat == NULL || blk_read(v->device, v->fat_offset, v->fat, v->fat_bytes, err) < 0)
        return -1;
    if (v->fat_count == 2) {
        second = mem_new(1, v->fat_bytes, err);
        if (second == NULL ||
            blk_read(v->device, v->fat_offset + v->fat_bytes, second, v->fat_bytes, err) < 0)
            return -1;
        if (memcmp(v->fat, second, v->fat_bytes) != 0)
            return err_set(err, CHR_E_DAMAGED, "FAT: the two copies of the table differ");
    }
    return 0;
}

int fat_volume_open(struct blk *device, struct fat_volume *out, struct chr_error *err)
{
    struct fat_volume volume = {.device = device};
    uint8_t sector[512];

    if (blk_read(device, 0, sector, sizeof sector, err) < 0)
        return -1;
    if (!fat_volume_plausible(sector))
        return err_set(err, CHR_E_DAMAGED, "no FAT boot sector");
    if (decode_bpb(&volume, sector, err) < 0 || read_table(&volume, err) < 0) {
        fat_volume_release(&volume);
        return -1;
    }
    for (uint32_t i = 2; i < volume.info.clusters + 2; i++)
        volume.info.free_clusters += fat_volume_entry(&volume, i) == 0;
    *out = volume;
    return 0;
}

void fat_volume_release(struct fat_volume *v)
{
    free(v->fat);
    v->fat = NULL;
}
