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

/* Whether a partition of either table has one of the sectors FIRST to LAST. */
static bool in_use(const struct table *table, uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < table->partition_count; i++)
        if (table->partitions[i].first_lba <= last && table->partitions[i].last_lba >= first)
            return true;
    for (int i = 0; table->has_mbr && i < MBR_ENTRIES; i++) {
        const struct mbr_entry *entry = &table->mbr.entries[i];

        if (mbr_entry_claims(entry) && entry->first_lba <= last && mbr_entry_end(entry) > first)
            return true;
    }
    return false;
}

static bool room_for_gpt(const struct mender *m)
{
    return !in_use(m->table, 0, FIRST_USABLE - 1) &&
           !in_use(m->table, m->last_lba - TABLE_SECTORS, m->last_lba);
}

/* LBA 1-33 hold nothing that a new GPT would destroy. */
static int primary_place_free(const struct mender *m, bool *free)
{
    uint8_t buf[(FIRST_USABLE - 1) * GPT_SECTOR_SIZE];

    *free = true;
    if (m->table->primary.present)
        return 0;
    if (blk_read(m->disk, GPT_SECTOR_SIZE, buf, sizeof buf, m->err) < 0)
        return -1;
    *free = is_zero(buf, sizeof buf);
    return 0;
}

/* Whether the sector at LBA belongs to the backup that was found, sound or not. */
static bool in_old_backup(const struct table *table, uint64_t lba)
{
    const struct gpt_copy *old = &table->backup;

    return old->present && lba <= old->lba && lba + TABLE_SECTORS >= old->lba;
}

/* Nothing is lost: each byte is zero, or what is to be written, by a run that was cut off. */
static bool may_become(const uint8_t *now, const uint8_t *then)
{
    for (size_t i = 0; i < GPT_SECTOR_SIZE; i++)
        if (now[i] != 0 && now[i] != then[i])
            return false;
    return true;
}

/* The last 33 sectors hold nothing but zeros or an old GPT; GPT is the one to be written. */
static int backup_place_free(const struct mender *m, const struct gpt *gpt, bool *free)
{
    uint64_t first = m->last_lba - TABLE_SECTORS;
    uint8_t now[GPT_TABLE_SIZE + GPT_SECTOR_SIZE];

    if (gpt_present(m->disk, m->last_lba, free, m->err) < 0)
        return -1;
    if (*free) /* a GPT has its place here already */
        return 0;
    if (blk_read(m->disk, first * GPT_SECTOR_SIZE, now, sizeof now, m->err) < 0)
        return -1;
    *free = true;
    for (size_t i = 0; i <= TABLE_SECTORS; i++)
        *free = *free && (in_old_backup(m->table, first + i) ||
                          may_become(now + i * GPT_SECTOR_SIZE,
                                     i < TABLE_SECTORS ? gpt->table + i * GPT_SECTOR_SIZE
                                                       : gpt->sector));
    return 0;
}

static int refuse_without_room(const struct mender *m)
{
    (void)err_set(m->err, CHR_E_DAMAGED,
                  "no room for the GPT: a partition reaches into LBA 1-33 or the last 33 sectors "
                  "(LBA %" PRIu64 "-%" PRIu64 ")", m->last_lba - TABLE_SECTORS, m->last_lba);
    return err_hint(m->err, "for room at the end, make the disk 1 MiB larger");
}

static int refuse_full_end(const struct mender *m)
{
    (void)err_set(m->err, CHR_E_REFUSED,
                  "the last 33 sectors (LBA %" PRIu64 "-%" PRIu64
                  ") hold something that is not the backup GPT, which must go there",
                  m->last_lba - TABLE_SECTORS, m->last_lba);
    return err_hint(m->err, "make the disk 1 MiB larger, so that its end is free");
}

/* ---- do the tables agree? ---- */

#define HINT_AGREE "RouterOS follows the MBR, UEFI the GPT: make both tables agree first"

static const struct partition *partition_in_slot(const struct table *table, int slot)
{
    for (size_t i = 0; i < table->partition_count; i++)
        if (table->partitions[i].mbr_slot == slot)
            return &table->partitions[i];
    return NULL;
}

/* No GPT partition begins where entry SLOT of the MBR does. */
static int refuse_unknown_entry(const struct mender *m, int slot)
{
    const struct mbr_entry *entry = &m->table->mbr.entries[slot];
    uint64_t last = max_u64(mbr_entry_end(entry), 1) - 1;

    for (size_t i = 0; i < m->table->partition_count; i++) {
        const struct partition *p = &m->table->partitions[i];

        if (p->number != (unsigned)slot + 1 || p->mbr_slot >= 0)
            continue;
        (void)err_set(m->err, CHR_E_DAMAGED,
                      "the MBR's partitions and the GPT's begin in different places: number %u is "
                      "LBA %" PRIu32 "-%" PRIu64 " in the MBR, %" PRIu64 "-%" PRIu64 " in the GPT",
                      p->number, entry->first_lba, last, p->first_lba, p->stored_last_lba);
        return err_hint(m->err, HINT_AGREE);
    }
    (void)err_set(m->err, CHR_E_REFUSED,
                  "entry %d of the MBR (LBA %" PRIu32 "-%" PRIu64 ") is not in the GPT", slot + 1,
                  entry->first_lba, last);
    return err_hint(m->err, HINT_AGREE);
}

/* RouterOS may write to all that its MBR gives it; the GPT must leave it that. */
static int check_entry(const struct mender *m, int slot)
{
    const struct mbr_entry *entry = &m->table->mbr.entries[slot];
    const struct partition *p = partition_in_slot(m->table, slot);

    if (!mbr_entry_claims(entry))
        return 0;
    if (p == NULL)
        return refuse_unknown_entry(m, slot);
    if (mbr_entry_end(entry) <= p->last_lba + 1)
        return 0;
    (void)err_set(m->err, CHR_E_REFUSED,
                  "partition %u is LBA %" PRIu32 "-%" PRIu64 " in the MBR, but ends at LBA %" PRIu64
                  " in the GPT", p->number, entry->first_lba, mbr_entry_end(entry) - 1,
                  p->last_lba);
    return err_hint(m->err, HINT_AGREE);
}

/* A boot partition that is not the same in both must not be changed for one of them. */
static int check_boot(const struct mender *m)
{
    const struct partition *boot = m->options->boot;

    if (boot == NULL || boot->mbr_slot >= 0 || !mbr_entry_claims(&m->table->mbr.entries[0]))
        return 0;
    (void)err_set(m->err, CHR_E_DAMAGED,
                  "the MBR's partitions and the GPT's begin in different places: partition %u of "
                  "the GPT (LBA %" PRIu64 "-%" PRIu64 ") is not in the MBR",
                  boot->number, boot->first_lba, boot->last_lba);
    return err_hint(m->err, HINT_AGREE);
}

static int check_agreement(const struct mender *m)
{
    if (findings_has(&m->table->findings, "mbr-extended"))
        return err_set(m->err, CHR_E_REFUSED,
                       "the MBR has an extended partition, which a CHR never has");
    if (table_gpt(m->table) == NULL || !m->table->has_mbr)
        return 0;
    for (int i = 0; i < MBR_ENTRIES; i++)
        if (check_entry(m, i) < 0)
            return -1;
    return check_boot(m);
}

/* Ends that the reader could not tell. */
static int check_ends(const struct mender *m)
{
    for (size_t i = 0; i < m->table->partition_count; i++) {
        const struct partition *p = &m->table->partitions[i];

        if (p->runs_into == 0)
            continue;
        (void)err_set(m->err, CHR_E_DAMAGED,
                      "partition %u (LBA %" PRIu64 "-%" PRIu64 ") ends inside %s at LBA %" PRIu64
                      ", and no table says where it should end", p->number, p->first_lba,
                      p->stored_last_lba,
                      i + 1 < m->table->partition_count ? "the next partition"
                                                        : "the backup GPT's entries",
                      p->runs_into);
        return err_hint(m->err, "correct the end of the partition first");
    }
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

/* The GPT as it should be, without its place. */
static void describe_gpt(const struct mender *m, struct gpt *gpt)
{
    if (table_gpt(m->table) != NULL)
        *gpt = *table_gpt(m->table);
    else
        gpt_from_mbr(m, gpt);
    mend_entries(m, gpt);
    gpt->header.first_usable = FIRST_USABLE;
    gpt->header.last_usable = m->last_lba - TABLE_SECTORS - 1;
}

/* Make GPT the copy at OWN. */
static void place_copy(struct gpt *gpt, uint64_t own, uint64_t other, uint64_t entries)
{
    gpt->header.own_lba = own;
    gpt->header.other_lba = other;
    gpt->header.entries_lba = entries;
    gpt_seal(gpt);
}

static int write_copy(struct blk *disk, const struct gpt *gpt, struct chr_error *err)
{
    if (blk_write(disk, gpt->header.entries_lba * GPT_SECTOR_SIZE, gpt->table,
                  (size_t)gpt->header.entry_count * GPT_ENTRY_SIZE, err) < 0)
        return -1;
    return blk_write(disk, gpt->header.own_lba * GPT_SECTOR_SIZE, gpt->sector, GPT_SECTOR_SIZE,
                     err);
}

static void place_backup(const struct mender *m, struct gpt *gpt)
{
    place_copy(gpt, m->last_lba, GPT_PRIMARY_LBA, m->last_lba - TABLE_SECTORS);
}

static int write_primary(const struct mender *m, struct gpt *gpt)
{
    place_copy(gpt, GPT_PRIMARY_LBA, m->last_lba, PRIMARY_TABLE_LBA);
    return write_copy(m->disk, gpt, m->err);
}

static int write_gpt(const struct mender *m, struct gpt *gpt)
{
    /* The copy that counts now is overwritten last: it serves until the other one does. */
    if (!m->table->primary.sound && write_primary(m, gpt) < 0)
        return -1;
    place_backup(m, gpt);
    if (write_copy(m->disk, gpt, m->err) < 0)
        return -1;
    return m->table->primary.sound ? write_primary(m, gpt) : 0;
}

/* A backup that is no longer where the primary says must not be found and believed. */
static int forget_old_backup(const struct mender *m)
{
    uint64_t lba = m->table->backup.lba;
    uint64_t new_start = m->last_lba - TABLE_SECTORS;

    if (!m->table->backup.present || lba >= new_start || lba < FIRST_USABLE ||
        in_use(m->table, lba, lba))
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

/* Whether both places for GPT are free.  With a GPT in force they must be. */
static int check_room(const struct mender *m, const struct gpt *gpt, bool *room)
{
    bool required = table_gpt(m->table) != NULL;

    *room = room_for_gpt(m);
    if (!*room)
        return required ? refuse_without_room(m) : 0;
    if (primary_place_free(m, room) < 0)
        return -1;
    if (!*room)
        return required ? err_set(m->err, CHR_E_REFUSED,
                                  "LBA 1-33 hold something that is not the primary GPT, which must "
                                  "go there")
                        : 0;
    if (backup_place_free(m, gpt, room) < 0)
        return -1;
    return *room || !required ? 0 : refuse_full_end(m);
}

int table_mend(struct blk *disk, const struct table *table,
               const struct table_mend_options *options, bool *has_gpt, struct chr_error *err)
{
    const struct mender m = {disk, table, options, err, table->disk_sectors - 1};
    AUTO_FREE struct gpt *gpt = mem_new(1, sizeof *gpt, err);
    bool room;

    *has_gpt = false;
    if (gpt == NULL || check_agreement(&m) < 0 || check_ends(&m) < 0)
        return -1;
    describe_gpt(&m, gpt);
    place_backup(&m, gpt);
    if (check_room(&m, gpt, &room) < 0)
        return -1;
    if (!room)
        return 0; /* the MBR alone, as it was */
    *has_gpt = true;
    if (write_gpt(&m, gpt) < 0 || add_protective(&m) < 0)
        return -1;
    return forget_old_backup(&m);
}

/* ---- repair: one copy from the other ---- */

/* GPT, a sound copy, becomes the other one, where it says that is; refuse where that cannot be. */
static int place_other(const struct table *table, struct gpt *gpt, struct chr_error *err)
{
    bool primary = !table->primary.sound;
    uint64_t own = gpt->header.other_lba;
    uint64_t first;
    uint64_t last;

    if (primary && own != GPT_PRIMARY_LBA)
        return err_set(err, CHR_E_REFUSED, "the backup GPT at LBA %" PRIu64
                       " says that the primary is at LBA %" PRIu64 ", not 1",
                       gpt->header.own_lba, own);
    first = primary || own < TABLE_SECTORS ? own : own - TABLE_SECTORS;
    last = primary ? FIRST_USABLE - 1 : own;
    if (last >= table->disk_sectors || (!primary && first < FIRST_USABLE) ||
        in_use(table, first, last))
        return err_set(err, CHR_E_REFUSED, "the %s GPT cannot be written at LBA %" PRIu64
                       ": it is not free", primary ? "primary" : "backup", own);
    place_copy(gpt, own, gpt->header.own_lba, primary ? PRIMARY_TABLE_LBA : first);
    return 0;
}

int table_repair_gpt(struct blk *disk, const struct table *table, const char **done,
                     struct chr_error *err)
{
    AUTO_FREE struct gpt *gpt = mem_new(1, sizeof *gpt, err);

    *done = NULL;
    if (gpt == NULL)
        return -1;
    if (table_gpt(table) == NULL || (table->primary.sound && table->backup.sound))
        return 0;
    *gpt = *table_gpt(table);
    if (place_other(table, gpt, err) < 0)
        return -1;
    *done = table->primary.sound ? "backup" : "primary";
    return write_copy(disk, gpt, err);
}
