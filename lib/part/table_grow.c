/*
 * The last partition made longer, in both tables.
 *
 * The order, for who cuts it: the GPT as table_mend() writes it, then the MBR's one
 * sector, then the header of a backup that is inside of the partition now.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "part/table.h"

#define BACKUP_SECTORS (GPT_TABLE_SIZE / GPT_SECTOR_SIZE + 1)

#define MIB_SECTORS 2048

uint64_t table_last_lba(uint64_t sectors)
{
    return round_down(sectors - BACKUP_SECTORS, MIB_SECTORS) - 1;
}

static int check(const struct table *table, const struct partition *p, uint64_t last,
                 struct chr_error *err)
{
    if (p != &table->partitions[table->partition_count - 1] || last < p->last_lba ||
        last >= table->disk_sectors - BACKUP_SECTORS)
        return err_set(err, CHR_E_INTERNAL, "partition %u cannot end at LBA %" PRIu64, p->number,
                       last);
    if (p->mbr_slot >= 0 && last >= UINT32_MAX) {
        (void)err_set(err, CHR_E_REFUSED, "the MBR, which RouterOS follows, ends at 2 TiB");
        return err_hint(err, "2T is the most");
    }
    if (table_gpt(table) == NULL && (table->primary.present || table->backup.present)) {
        (void)err_set(err, CHR_E_DAMAGED, "the GPT is damaged, both copies of it");
        return err_hint(err, "chrimg fatten makes a new one from the MBR");
    }
    return 0;
}

/* TABLE, as it should be: what the mender writes. */
static int grow_gpt(struct blk *disk, const struct table *table, size_t index, uint64_t last,
                    struct chr_error *err)
{
    const struct table_mend_options options = {.keep_mbr = true};
    AUTO_FREE struct table *wanted = mem_new(1, sizeof *wanted, err);
    bool has_gpt;

    if (wanted == NULL)
        return -1;
    *wanted = *table; /* its findings are still the other's */
    wanted->partitions[index].last_lba = last;
    return table_mend(disk, wanted, &options, &has_gpt, err);
}

static void grow_entries(const struct table *table, const struct partition *p, uint64_t last,
                         uint64_t old_sectors, uint8_t *sector)
{
    for (int i = 0; i < MBR_ENTRIES; i++) {
        struct mbr_entry entry = table->mbr.entries[i];

        if (i == p->mbr_slot)
            entry.sectors = (uint32_t)(last - p->first_lba + 1);
        else if (entry.type == MBR_TYPE_GPT_PROTECTIVE && entry.first_lba == GPT_PRIMARY_LBA &&
                 mbr_entry_end(&entry) == old_sectors)
            entry.sectors = (uint32_t)min_u64(table->disk_sectors - 1, UINT32_MAX);
        else
            continue;
        mbr_encode_entry(sector, i, &entry);
    }
}

/* An old backup that the partition has grown over is no longer one. */
static int forget_inside(struct blk *disk, const struct table *table, const struct partition *p,
                         uint64_t last, struct chr_error *err)
{
    uint64_t lba = table->backup.lba;

    if (!table->backup.present || lba <= p->last_lba || lba > last)
        return 0;
    return blk_zero(disk, lba * GPT_SECTOR_SIZE, GPT_SECTOR_SIZE, err);
}

int table_grow(struct blk *disk, const struct table *table, const struct partition *partition,
               uint64_t last, uint64_t old_sectors, struct chr_error *err)
{
    uint8_t sector[MBR_SECTOR_SIZE];

    if (check(table, partition, last, err) < 0)
        return -1;
    if (table_gpt(table) != NULL &&
        grow_gpt(disk, table, (size_t)(partition - table->partitions), last, err) < 0)
        return -1;
    if (table->has_mbr) {
        memcpy(sector, table->mbr_sector, sizeof sector);
        grow_entries(table, partition, last, old_sectors, sector);
        if (blk_write(disk, 0, sector, sizeof sector, err) < 0)
            return -1;
    }
    return forget_inside(disk, table, partition, last, err);
}
