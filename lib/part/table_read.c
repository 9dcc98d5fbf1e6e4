/*
 * Reading both tables.  Nothing is repaired here: a wrong end of a partition
 * is noted, and the end that must be meant stands beside it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "part/table.h"

#define TABLE_SECTORS (GPT_TABLE_SIZE / GPT_SECTOR_SIZE)
/* How far behind the last partition of the MBR a lost backup header is looked for. */
#define BACKUP_SEARCH_SECTORS 4096
/* Room for MBR, GPT and a boot partition; smaller is no disk of ours. */
#define MIN_DISK_SECTORS 2048
/* Where LBA arithmetic in 64-bit bytes is safe beyond doubt: 8 EiB. */
#define MAX_DISK_SECTORS (UINT64_C(1) << 54)

const struct gpt *table_gpt(const struct table *table)
{
    return table->source == TABLE_GPT_PRIMARY  ? &table->primary.gpt
           : table->source == TABLE_GPT_BACKUP ? &table->backup.gpt
                                               : NULL;
}

const struct partition *table_boot_partition(const struct table *table)
{
    for (size_t i = 0; i < table->partition_count; i++) {
        const struct partition *partition = &table->partitions[i];

        if (partition->mbr_slot >= 0 &&
            table->mbr.entries[partition->mbr_slot].status == MBR_STATUS_ACTIVE)
            return partition;
    }
    return table->partition_count > 0 ? &table->partitions[0] : NULL;
}

void table_free(struct table **table)
{
    if (*table != NULL)
        findings_release(&(*table)->findings);
    free(*table);
}

/* ---- the copies of the GPT ---- */

static int read_copy(struct blk *disk, uint64_t lba, struct gpt_copy *copy, struct chr_error *err)
{
    struct chr_error problem;

    copy->lba = lba;
    if (gpt_present(disk, lba, &copy->present, err) < 0)
        return -1;
    if (!copy->present)
        return 0;
    if (gpt_read(disk, lba, &copy->gpt, &problem) == 0) {
        copy->sound = true;
        return 0;
    }
    if (problem.code == CHR_E_UNSUPPORTED) {
        *err = problem;
        return err_context(err, "GPT at LBA %" PRIu64, lba);
    }
    if (problem.code == CHR_E_IO || problem.code == CHR_E_MEMORY) {
        *err = problem;
        return -1;
    }
    (void)snprintf(copy->problem, sizeof copy->problem, "%.250s", problem.message);
    return 0;
}

/* Where the last partition of the MBR ends (exclusive). */
static uint64_t mbr_end(const struct table *table)
{
    uint64_t end = 0;

    for (int i = 0; table->has_mbr && i < MBR_ENTRIES; i++) {
        const struct mbr_entry *entry = &table->mbr.entries[i];

        if (mbr_entry_claims(entry))
            end = max_u64(end, mbr_entry_end(entry));
    }
    return end;
}

/* With a damaged primary nothing says where the backup is; images keep it close behind p2. */
static int search_backup(struct blk *disk, const struct table *table, uint64_t *lba,
                         struct chr_error *err)
{
    uint64_t from = mbr_end(table);
    uint64_t to = min_u64(from + BACKUP_SEARCH_SECTORS, table->disk_sectors);

    for (uint64_t at = from; from > 0 && at < to; at++) {
        bool present;

        if (gpt_present(disk, at, &present, err) < 0)
            return -1;
        if (present) {
            *lba = at;
            return 0;
        }
    }
    return 0;
}

/* Found by chance and not by a pointer to it: it must at least point to the primary itself. */
static int read_found_copy(struct blk *disk, uint64_t lba, struct gpt_copy *copy,
                           struct chr_error *err)
{
    if (read_copy(disk, lba, copy, err) < 0)
        return -1;
    if (copy->sound && copy->gpt.header.other_lba != GPT_PRIMARY_LBA) {
        copy->sound = false;
        (void)snprintf(copy->problem, sizeof copy->problem,
                       "it says that the primary is at LBA %" PRIu64 ", not 1",
                       copy->gpt.header.other_lba);
    }
    return 0;
}

/* Where the primary says that the backup is, or must be when it does not say. */
static uint64_t stated_backup(const struct table *table)
{
    const struct gpt_header *header = &table->primary.gpt.header;

    return table->primary.sound && header->other_lba > GPT_PRIMARY_LBA
               ? min_u64(header->other_lba, table->disk_sectors - 1)
               : table->disk_sectors - 1;
}

static int read_backup(struct blk *disk, struct table *table, struct chr_error *err)
{
    uint64_t last = table->disk_sectors - 1;
    uint64_t stated = stated_backup(table);
    uint64_t found = 0;

    table->backup_expected_lba = last;
    if (read_copy(disk, stated, &table->backup, err) < 0)
        return -1;
    if (!table->backup.sound && stated != last && read_copy(disk, last, &table->backup, err) < 0)
        return -1;
    if (table->backup.sound || search_backup(disk, table, &found, err) < 0)
        return table->backup.sound ? 0 : -1;
    return found != 0 ? read_found_copy(disk, found, &table->backup, err) : 0;
}

/* ---- partitions ---- */

static void insert_sorted(struct table *table, struct partition partition)
{
    size_t at = table->partition_count++;

    while (at > 0 && table->partitions[at - 1].first_lba > partition.first_lba) {
        table->partitions[at] = table->partitions[at - 1];
        at--;
    }
    table->partitions[at] = partition;
}

/* The MBR slot that begins at LBA, or -1. */
static int mbr_slot_at(const struct table *table, uint64_t lba)
{
    for (int i = 0; table->has_mbr && i < MBR_ENTRIES; i++)
        if (mbr_entry_claims(&table->mbr.entries[i]) && table->mbr.entries[i].first_lba == lba)
            return i;
    return -1;
}

/* The usual reason for a partition that ends behind the disk is a download that broke off. */
#define outside(err, ...)                                                                         \
    (err_set((err), CHR_E_DAMAGED, __VA_ARGS__),                                                  \
     err_hint((err), "the file may be cut short: compare its size with the original's"))

static int take_gpt(struct table *table, const struct gpt *gpt, struct chr_error *err)
{
    for (uint32_t i = 0; i < gpt->header.entry_count; i++) {
        const struct gpt_entry *entry = &gpt->entries[i];

        if (!gpt_entry_used(entry))
            continue;
        if (entry->first_lba > entry->last_lba || entry->last_lba >= table->disk_sectors)
            return outside(err,
                           "GPT: partition %" PRIu32 " (LBA %" PRIu64 "-%" PRIu64
                           ") is not within the disk of %" PRIu64 " sectors",
                           i + 1, entry->first_lba, entry->last_lba, table->disk_sectors);
        insert_sorted(table, (struct partition){
                                 .number = i + 1,
                                 .first_lba = entry->first_lba,
                                 .last_lba = entry->last_lba,
                                 .stored_last_lba = entry->last_lba,
                                 .mbr_slot = mbr_slot_at(table, entry->first_lba),
                                 .gpt_slot = (int)i,
                             });
    }
    return 0;
}

static int take_mbr(struct table *table, struct chr_error *err)
{
    for (int i = 0; i < MBR_ENTRIES; i++) {
        const struct mbr_entry *entry = &table->mbr.entries[i];
        uint64_t end = mbr_entry_end(entry);

        if (!mbr_entry_claims(entry))
            continue;
        if (mbr_entry_extended(entry))
            continue; /* find_extended() says so */
        if (entry->first_lba == 0 || entry->sectors == 0 || end > table->disk_sectors)
            return outside(err,
                           "MBR: partition %d (LBA %" PRIu32 ", %" PRIu32
                           " sectors) is not within the disk of %" PRIu64 " sectors",
                           i + 1, entry->first_lba, entry->sectors, table->disk_sectors);
        insert_sorted(table, (struct partition){
                                 .number = (unsigned)i + 1,
                                 .first_lba = entry->first_lba,
                                 .last_lba = end - 1,
                                 .stored_last_lba = end - 1,
                                 .mbr_slot = i,
                                 .gpt_slot = -1,
                             });
    }
    return 0;
}

static int find_extended(struct table *table, struct chr_error *err)
{
    for (int i = 0; table->has_mbr && i < MBR_ENTRIES; i++)
        if (mbr_entry_extended(&table->mbr.entries[i]) &&
            findings_add(&table->findings, CHR_WARNING, "mbr-extended", err,
                         "MBR: entry %d is an extended partition; what it holds is not read",
                         i + 1) < 0)
            return -1;
    return 0;
}

/* ---- ends ---- */

/*
 * Where the backup's entries begin that lie behind START: those of the sound
 * backup, and those that the primary states, which need not be the same ones.
 * The disk's end when there are none.  The usable range is not asked: tools that
 * make a disk and its last partition larger leave it behind.
 */
static uint64_t backup_behind(const struct table *table, uint64_t start)
{
    uint64_t limit = table->disk_sectors;
    uint64_t stated = table->primary.sound ? table->primary.gpt.header.other_lba : 0;

    if (table_gpt(table) == NULL)
        return limit;
    if (table->backup.sound && table->backup.gpt.header.entries_lba > start)
        limit = min_u64(limit, table->backup.gpt.header.entries_lba);
    if (stated < table->disk_sectors && stated > start + TABLE_SECTORS)
        limit = min_u64(limit, stated - TABLE_SECTORS);
    return limit;
}

/*
 * The end of P, which runs into LIMIT, as it must be meant: where the MBR says,
 * when that is less; else right before LIMIT, for an end one too high.  What both
 * tables say stays, and so does an end that is wrong by more: nobody knows by how much.
 */
static uint64_t meant_last_lba(const struct table *table, const struct partition *p, uint64_t limit)
{
    uint64_t end = p->mbr_slot >= 0 ? mbr_entry_end(&table->mbr.entries[p->mbr_slot]) : 0;

    if (end > p->first_lba && end <= limit)
        return end - 1;
    return p->last_lba == limit && end != p->last_lba + 1 ? limit - 1 : p->last_lba;
}

/* Whether the MBR has P with the end that the GPT has. */
static bool tables_agree(const struct table *table, const struct partition *p)
{
    return p->mbr_slot >= 0 &&
           mbr_entry_end(&table->mbr.entries[p->mbr_slot]) == p->stored_last_lba + 1;
}

/*
 * Ends one too high (RouterOS 7.15 to 7.18), and others: a partition that runs
 * into the next one, or into the backup's entries.  A backup inside of a partition
 * that is the same in both tables is an old one; two partitions cannot both be right.
 */
static int mend_end(struct table *table, size_t index, struct chr_error *err)
{
    struct partition *p = &table->partitions[index];
    bool last = index + 1 == table->partition_count;
    uint64_t limit = last ? backup_behind(table, p->first_lba)
                          : table->partitions[index + 1].first_lba;

    if (p->last_lba < limit)
        return 0;
    if (limit <= p->first_lba)
        return err_set(err, CHR_E_DAMAGED, "partition %u begins at LBA %" PRIu64
                       ", inside of what follows it", p->number, p->first_lba);
    p->last_lba = meant_last_lba(table, p, limit);
    if (p->last_lba >= limit && !(last && tables_agree(table, p)))
        p->runs_into = limit;
    return findings_add(&table->findings, CHR_WARNING, last ? "gpt-overlaps-backup" : "gpt-overlap",
                        err, "partition %u ends at LBA %" PRIu64 ", inside %s at LBA %" PRIu64,
                        p->number, p->stored_last_lba,
                        last ? "the backup GPT's entries" : "the next partition", limit);
}

static int mend_ends(struct table *table, struct chr_error *err)
{
    for (size_t i = 0; i < table->partition_count; i++)
        if (mend_end(table, i, err) < 0)
            return -1;
    return 0;
}

/* A usable range that no disk has, or that was left behind; the partitions count without it. */
static int find_usable_range(struct table *table, struct chr_error *err)
{
    const struct gpt *gpt = table_gpt(table);
    const struct partition *last = &table->partitions[table->partition_count - 1];

    if (gpt == NULL)
        return 0;
    if (gpt->header.last_usable >= table->disk_sectors)
        return findings_add(&table->findings, CHR_WARNING, "gpt-usable-range", err,
                            "GPT: its usable range ends at LBA %" PRIu64
                            ", behind the disk of %" PRIu64 " sectors",
                            gpt->header.last_usable, table->disk_sectors);
    if (last->last_lba <= gpt->header.last_usable)
        return 0;
    return findings_add(&table->findings, CHR_WARNING, "gpt-usable-range", err,
                        "GPT: its usable range ends at LBA %" PRIu64
                        ", partition %u behind it, at LBA %" PRIu64,
                        gpt->header.last_usable, last->number, last->last_lba);
}

/* ---- disagreements ---- */

static int find_copy_problems(struct table *table, struct chr_error *err)
{
    struct findings *findings = &table->findings;
    const struct gpt_copy *primary = &table->primary;
    const struct gpt_copy *backup = &table->backup;

    if (primary->present && !primary->sound &&
        findings_add(findings, CHR_WARNING, "gpt-primary-damaged", err,
                     "GPT: the primary copy is damaged: %s", primary->problem) < 0)
        return -1;
    if (!primary->present && backup->sound &&
        findings_add(findings, CHR_WARNING, "gpt-primary-missing", err,
                     "GPT: there is no primary copy, only a backup at LBA %" PRIu64,
                     backup->lba) < 0)
        return -1;
    if (backup->present && !backup->sound &&
        findings_add(findings, CHR_WARNING, "gpt-backup-damaged", err,
                     "GPT: the backup copy at LBA %" PRIu64 " is damaged: %s", backup->lba,
                     backup->problem) < 0)
        return -1;
    if (primary->present && !backup->present &&
        findings_add(findings, CHR_WARNING, "gpt-backup-missing", err,
                     "GPT: there is no backup copy at LBA %" PRIu64, backup->lba) < 0)
        return -1;
    if (backup->sound && backup->lba != table->backup_expected_lba &&
        findings_add(findings, CHR_NOTE, "gpt-backup-not-at-end", err,
                     "GPT: the backup is at LBA %" PRIu64 ", the disk ends at LBA %" PRIu64,
                     backup->lba, table->backup_expected_lba) < 0)
        return -1;
    if (primary->sound && backup->sound &&
        memcmp(primary->gpt.table, backup->gpt.table, GPT_TABLE_SIZE) != 0 &&
        findings_add(findings, CHR_WARNING, "gpt-copies-differ", err,
                     "GPT: primary and backup have different entries; the primary is used") < 0)
        return -1;
    return 0;
}

static bool has_protective(const struct table *table)
{
    for (int i = 0; i < MBR_ENTRIES; i++)
        if (table->mbr.entries[i].type == MBR_TYPE_GPT_PROTECTIVE)
            return true;
    return false;
}

/* What the MBR says of the partitions that come from the GPT, and the other way round. */
static int find_disagreements(struct table *table, struct chr_error *err)
{
    for (size_t i = 0; i < table->partition_count; i++) {
        const struct partition *p = &table->partitions[i];
        const struct mbr_entry *mbr = p->mbr_slot >= 0 ? &table->mbr.entries[p->mbr_slot] : NULL;

        if (mbr == NULL && p->number <= MBR_ENTRIES &&
            findings_add(&table->findings, CHR_WARNING, "mbr-gpt-differ", err,
                         "partition %u of the GPT (LBA %" PRIu64 ") is not in the MBR", p->number,
                         p->first_lba) < 0)
            return -1;
        if (mbr != NULL && !tables_agree(table, p) &&
            findings_add(&table->findings, CHR_WARNING, "mbr-gpt-differ", err,
                         "partition %u ends at LBA %" PRIu64 " in the MBR, at %" PRIu64
                         " in the GPT", p->number, mbr_entry_end(mbr) - 1,
                         p->stored_last_lba) < 0)
            return -1;
    }
    for (int i = 0; i < MBR_ENTRIES; i++) {
        const struct mbr_entry *mbr = &table->mbr.entries[i];
        bool known = !mbr_entry_claims(mbr);

        for (size_t k = 0; k < table->partition_count && !known; k++)
            known = table->partitions[k].mbr_slot == i;
        if (!known && findings_add(&table->findings, CHR_WARNING, "mbr-gpt-differ", err,
                                   "entry %d of the MBR (LBA %" PRIu32 ") is not in the GPT", i + 1,
                                   mbr->first_lba) < 0)
            return -1;
    }
    if (!has_protective(table) &&
        findings_add(&table->findings, CHR_NOTE, "mbr-no-protective", err,
                     "MBR: no 0xEE entry, so some tools take the MBR and some the GPT") < 0)
        return -1;
    return 0;
}

/* ---- all of it ---- */

static int check_sector_size(struct blk *disk, const struct table *table, struct chr_error *err)
{
    char start[8];

    if (table->primary.present)
        return 0;
    if (blk_read(disk, 4096, start, sizeof start, err) < 0)
        return -1;
    if (memcmp(start, "EFI PART", sizeof start) == 0)
        return err_set(err, CHR_E_UNSUPPORTED,
                       "the disk has sectors of 4096 bytes; CHR images have 512");
    return 0;
}

static int check_size(const struct blk *disk, struct table *table, struct chr_error *err)
{
    table->disk_sectors = disk->size / GPT_SECTOR_SIZE;
    if (table->disk_sectors >= MIN_DISK_SECTORS && table->disk_sectors <= MAX_DISK_SECTORS)
        return 0;
    (void)err_set(err, CHR_E_DAMAGED, "not a disk image: %" PRIu64 " bytes is no size for a CHR disk",
                  disk->size);
    return err_hint(err, "a CHR image has 128 MiB or more; is it another file, or cut short?");
}

static int choose_source(struct table *table, struct chr_error *err)
{
    table->source = table->primary.sound  ? TABLE_GPT_PRIMARY
                    : table->backup.sound ? TABLE_GPT_BACKUP
                    : table->has_mbr      ? TABLE_MBR
                                          : TABLE_NONE;
    if (table->source == TABLE_NONE) {
        (void)err_set(err, CHR_E_DAMAGED, "no partition table: neither MBR nor GPT");
        return err_hint(err, "is it a disk image at all, and not a single partition?");
    }
    if (table_gpt(table) != NULL)
        return take_gpt(table, table_gpt(table), err);
    return take_mbr(table, err);
}

int table_read(struct blk *disk, struct table **out, struct chr_error *err)
{
    AUTO_TABLE struct table *table = mem_new(1, sizeof *table, err);

    if (table == NULL || check_size(disk, table, err) < 0)
        return -1;
    if (blk_read(disk, 0, table->mbr_sector, MBR_SECTOR_SIZE, err) < 0)
        return -1;
    table->has_mbr = mbr_decode(table->mbr_sector, &table->mbr);
    if (read_copy(disk, GPT_PRIMARY_LBA, &table->primary, err) < 0 ||
        check_sector_size(disk, table, err) < 0 || read_backup(disk, table, err) < 0 ||
        find_copy_problems(table, err) < 0 || choose_source(table, err) < 0 ||
        find_extended(table, err) < 0)
        return -1;
    if (table->partition_count == 0)
        return err_set(err, CHR_E_DAMAGED, "the partition table has no partitions");
    if (mend_ends(table, err) < 0 || find_usable_range(table, err) < 0)
        return -1;
    if (table_gpt(table) != NULL && find_disagreements(table, err) < 0)
        return -1;
    *out = STEAL(table);
    return 0;
}
