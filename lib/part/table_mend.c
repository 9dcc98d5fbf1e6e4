/*
 * Mending both tables.
 *
 * What a reader finds after a cut at each step: the backup is written first
 * (the old primary still counts), then the primary (its CRC covers it, and the
 * new backup is there for a torn one), then the MBR's free slot, one sector.
 * With a damaged primary it is the other way round: the backup may be the only
 * copy, and in the very place of the new one.  The old backup header is
 * forgotten last.
 */
#include <inttypes.h>

#include "base/bytes.h"
#include "part/table.h"

#define TABLE_SECTORS (GPT_TABLE_SIZE / GPT_SECTOR_SIZE)
#define PRIMARY_TABLE_LBA 2
#define FIRST_USABLE (PRIMARY_TABLE_LBA + TABLE_SECTORS)
/* The slots that RouterOS and the BIOS loader do not look at. */
#define FIRST_FREE_SLOT 2

struct mender {
    struct blk *disk;
    const struct table *table;
    const struct table_mend_options *options;
    struct chr_error *err;
    uint64_t last_lba; /* of the disk */
};

/* ---- is there room, and is all clear? ---- */

static bool room_for_gpt(const struct mender *m)
{
    for (size_t i = 0; i < m->table->partition_count; i++)
        if (m->table->partitions[i].first_lba < FIRST_USABLE ||
            m->table->partitions[i].last_lba + TABLE_SECTORS + 1 > m->last_lba)
            return false;
    return true;
}

/* LBA 1-33 hold nothing that a new GPT would destroy. */
static int primary_place_free(const struct mender *m, bool *free)
{
    uint8_t buf[(FIRST_USABLE - 1) * GPT_SECTOR_SIZE];

    if (blk_read(m->disk, GPT_SECTOR_SIZE, buf, sizeof buf, m->err) < 0)
        return -1;
    *free = is_zero(buf, sizeof buf);
    return 0;
}

/*
 * RouterOS and the BIOS loader follow the MBR, UEFI follows the GPT: a boot
 * partition that is not the same in both must not be changed for one of them.
 */
static int check_agreement(const struct mender *m)
{
    const struct partition *boot = m->options->boot;

    if (table_gpt(m->table) != NULL && m->table->has_mbr && boot->mbr_slot < 0 &&
        !mbr_entry_empty(&m->table->mbr.entries[0]) &&
        m->table->mbr.entries[0].type != MBR_TYPE_GPT_PROTECTIVE)
        return err_set(m->err, CHR_E_DAMAGED,
                       "the MBR's partitions and the GPT's begin in different places");
    if (findings_has(&m->table->findings, "mbr-extended"))
        return err_set(m->err, CHR_E_REFUSED,
                       "the MBR has an extended partition, which a CHR never has");
    return 0;
}

/* ---- the GPT ---- */

/* GUIDs that are the same for the same image: the seed, varied, marked as version 8
 * (RFC 9562, section 5.8: contents of one's own making). */
static void make_guid(const uint8_t seed[16], unsigned number, uint8_t guid[GPT_GUID_SIZE])
{
    memcpy(guid, seed, GPT_GUID_SIZE);
    guid[0] ^= (uint8_t)number;
    guid[7] = (uint8_t)((guid[7] & 0x0F) | 0x80); /* the version stands in a u16, low byte first */
    guid[8] = (uint8_t)((guid[8] & 0x3F) | 0x80);
}

static void gpt_from_mbr(const struct mender *m, struct gpt *gpt)
{
    uint8_t guid[GPT_GUID_SIZE];

    make_guid(m->options->seed, 0, guid);
    gpt_init(gpt, guid);
    for (size_t i = 0; i < m->table->partition_count; i++) {
        const struct partition *p = &m->table->partitions[i];
        bool boot = p == m->options->boot;

        make_guid(m->options->seed, p->number, guid);
        gpt_set_entry(gpt, p->number - 1, gpt_type_linux, p->first_lba, p->last_lba);
        gpt_name_entry(gpt, p->number - 1, guid, boot ? "RouterOS Boot" : "RouterOS");
    }
}

static void mend_entries(const struct mender *m, struct gpt *gpt)
{
    for (size_t i = 0; i < m->table->partition_count; i++) {
        const struct partition *p = &m->table->partitions[i];
        uint32_t slot = p->gpt_slot >= 0 ? (uint32_t)p->gpt_slot : p->number - 1;
        uint8_t type[GPT_GUID_SIZE];

        memcpy(type, p == m->options->boot ? gpt_type_esp : gpt->entries[slot].type, sizeof type);
        gpt_set_entry(gpt, slot, type, p->first_lba, p->last_lba);
    }
}

static int write_copy(const struct mender *m, struct gpt *gpt, uint64_t own, uint64_t other,
                      uint64_t entries)
{
    gpt->header.own_lba = own;
    gpt->header.other_lba = other;
    gpt->header.entries_lba = entries;
    gpt_seal(gpt);
    if (blk_write(m->disk, entries * GPT_SECTOR_SIZE, gpt->table,
                  (size_t)gpt->header.entry_count * GPT_ENTRY_SIZE, m->err) < 0)
        return -1;
    return blk_write(m->disk, own * GPT_SECTOR_SIZE, gpt->sector, GPT_SECTOR_SIZE, m->err);
}

static int write_primary(const struct mender *m, struct gpt *gpt)
{
    return write_copy(m, gpt, GPT_PRIMARY_LBA, m->last_lba, PRIMARY_TABLE_LBA);
}

static int write_gpt(const struct mender *m)
{
    AUTO_FREE struct gpt *gpt = mem_new(1, sizeof *gpt, m->err);

    if (gpt == NULL)
        return -1;
    if (table_gpt(m->table) != NULL)
        *gpt = *table_gpt(m->table);
    else
        gpt_from_mbr(m, gpt);
    mend_entries(m, gpt);
    gpt->header.first_usable = FIRST_USABLE;
    gpt->header.last_usable = m->last_lba - TABLE_SECTORS - 1;
    /* The copy that counts now is overwritten last: it serves until the other one does. */
    if (!m->table->primary.sound && write_primary(m, gpt) < 0)
        return -1;
    if (write_copy(m, gpt, m->last_lba, GPT_PRIMARY_LBA, m->last_lba - TABLE_SECTORS) < 0)
        return -1;
    return m->table->primary.sound ? write_primary(m, gpt) : 0;
}

/* A backup that is no longer where the primary says must not be found and believed. */
static int forget_old_backup(const struct mender *m)
{
    uint64_t lba = m->table->backup.lba;
    uint64_t new_start = m->last_lba - TABLE_SECTORS;

    if (!m->table->backup.present || lba >= new_start || lba < FIRST_USABLE)
        return 0;
    for (size_t i = 0; i < m->table->partition_count; i++)
        if (lba >= m->table->partitions[i].first_lba && lba <= m->table->partitions[i].last_lba)
            return 0;
    return blk_zero(m->disk, lba * GPT_SECTOR_SIZE, GPT_SECTOR_SIZE, m->err);
}

/* ---- the MBR ---- */

static int add_protective(const struct mender *m)
{
    /* LBA 1-33, as cylinder/head/sector of the usual 255 x 63 geometry. */
    const struct mbr_entry protective = {
        .first_chs = {0, 2, 0},
        .type = MBR_TYPE_GPT_PROTECTIVE,
        .last_chs = {0, 34, 0},
        .first_lba = GPT_PRIMARY_LBA,
        .sectors = FIRST_USABLE - 1,
    };
    uint8_t sector[MBR_SECTOR_SIZE];

    if (m->options->keep_mbr || !m->table->has_mbr)
        return 0;
    for (int i = 0; i < MBR_ENTRIES; i++)
        if (m->table->mbr.entries[i].type == MBR_TYPE_GPT_PROTECTIVE)
            return 0;
    memcpy(sector, m->table->mbr_sector, sizeof sector);
    for (int i = FIRST_FREE_SLOT; i < MBR_ENTRIES; i++) {
        if (!mbr_entry_empty(&m->table->mbr.entries[i]))
            continue;
        mbr_encode_entry(sector, i, &protective);
        return blk_write(m->disk, 0, sector, sizeof sector, m->err);
    }
    return 0; /* both slots are taken: the image boots without it too */
}

int table_mend(struct blk *disk, const struct table *table,
               const struct table_mend_options *options, bool *has_gpt, struct chr_error *err)
{
    const struct mender m = {disk, table, options, err, table->disk_sectors - 1};
    bool clear = true;

    *has_gpt = false;
    if (check_agreement(&m) < 0)
        return -1;
    if (!room_for_gpt(&m)) {
        if (table_gpt(table) == NULL)
            return 0; /* the MBR alone, as it was */
        return err_set(err, CHR_E_DAMAGED,
                       "no room for the GPT: a partition reaches into LBA 1-33 or the last 33 "
                       "sectors");
    }
    if (!table->primary.present && primary_place_free(&m, &clear) < 0)
        return -1;
    if (!clear && table_gpt(table) != NULL)
        return err_set(err, CHR_E_REFUSED,
                       "LBA 1-33 hold something that is not the primary GPT, which must go there");
    if (!clear)
        return 0;
    *has_gpt = true;
    if (write_gpt(&m) < 0 || add_protective(&m) < 0)
        return -1;
    return forget_old_backup(&m);
}

/* ---- repair: one copy from the other ---- */

static bool place_free(const struct table *table, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < table->partition_count; i++)
        if (table->partitions[i].first_lba <= last && table->partitions[i].last_lba >= first)
            return false;
    return last < table->disk_sectors;
}

int table_repair_gpt(struct blk *disk, const struct table *table, const char **done,
                     struct chr_error *err)
{
    const struct mender m = {disk, table, NULL, err, table->disk_sectors - 1};
    AUTO_FREE struct gpt *gpt = mem_new(1, sizeof *gpt, err);
    bool primary_lost = !table->primary.sound;
    uint64_t own;
    uint64_t entries;

    *done = NULL;
    if (gpt == NULL)
        return -1;
    if (table_gpt(table) == NULL || (table->primary.sound && table->backup.sound))
        return 0;
    *gpt = *table_gpt(table);
    own = gpt->header.other_lba;
    entries = primary_lost ? PRIMARY_TABLE_LBA : own - TABLE_SECTORS;
    if (own < GPT_PRIMARY_LBA || (!primary_lost && own < FIRST_USABLE + TABLE_SECTORS) ||
        !place_free(table, primary_lost ? own : entries, primary_lost ? FIRST_USABLE - 1 : own))
        return err_set(err, CHR_E_REFUSED, "the %s GPT cannot be written at LBA %" PRIu64
                       ": it is not free", primary_lost ? "primary" : "backup", own);
    *done = primary_lost ? "primary" : "backup";
    return write_copy(&m, gpt, own, gpt->header.own_lba, entries);
}
