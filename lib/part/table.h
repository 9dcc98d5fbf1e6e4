/*
 * Both partition tables of a CHR disk, seen as one, and how to mend them.
 *
 * A CHR has an MBR and a GPT at once, and they disagree.  The reader takes
 * every position from the tables, never from a constant, and says what is
 * wrong; the mender changes what UEFI needs and leaves what RouterOS and the
 * BIOS loader look at: MBR bytes 0-445 and entries 1 and 2.
 */
#ifndef CHRIMG_PART_TABLE_H
#define CHRIMG_PART_TABLE_H

#include "base/findings.h"
#include "part/gpt.h"
#include "part/mbr.h"

/* A GPT that we can read has 128 entries. */
#define PARTITIONS_MAX GPT_MAX_ENTRIES

enum table_source {
    TABLE_NONE,
    TABLE_MBR,
    TABLE_GPT_PRIMARY,
    TABLE_GPT_BACKUP,
};

struct partition {
    unsigned number;     /* 1, 2, ...: the slot in the table it comes from */
    uint64_t first_lba;
    uint64_t last_lba;   /* inclusive, with a wrong end mended */
    uint64_t stored_last_lba;
    uint64_t runs_into;  /* LBA of what it ends inside of, when the right end is unknown; else 0 */
    int mbr_slot;        /* 0-3, or -1: not in the MBR */
    int gpt_slot;        /* 0-127, or -1: not in the GPT */
};

struct gpt_copy {
    bool present; /* there is a signature */
    bool sound;   /* and all checks passed: `gpt` is filled */
    uint64_t lba;
    char problem[CHR_FINDING_SIZE]; /* why not sound */
    struct gpt gpt;
};

struct table {
    uint64_t disk_sectors;
    bool has_mbr;
    uint8_t mbr_sector[MBR_SECTOR_SIZE];
    struct mbr mbr;
    struct gpt_copy primary;
    struct gpt_copy backup;
    uint64_t backup_expected_lba; /* the last sector */
    enum table_source source;     /* where `partitions` come from */
    struct partition partitions[PARTITIONS_MAX]; /* ascending by first LBA */
    size_t partition_count;
    struct findings findings;
};

/*
 * Read both tables of DISK.  Damaged copies and disagreements become findings;
 * an error is only what leaves nothing to work on (no table at all, sectors of
 * 4096 bytes, a GPT of a kind that we do not know, a disk too small or too
 * large).  Free with table_free().
 */
int table_read(struct blk *disk, struct table **out, struct chr_error *err);

void table_free(struct table **table);
#define AUTO_TABLE CLEANUP(table_free)

/* The sound copy that counts, or NULL. */
const struct gpt *table_gpt(const struct table *table);

/* The partition that the MBR marks active, else the first; NULL when there is none. */
const struct partition *table_boot_partition(const struct table *table);

struct table_mend_options {
    const struct partition *boot; /* becomes an EFI system partition; NULL: types stay */
    bool keep_mbr;                /* no 0xEE entry is added */
    uint8_t seed[16];             /* GUIDs of a table that must be made anew come from it */
};

/*
 * Write to DISK (usually an overlay) what TABLE should be: boot partition of
 * type ESP, overlaps mended, usable range and backup at the end of the disk,
 * and an 0xEE entry in a free MBR slot.  In the order backup, primary, MBR
 * (primary first where it is damaged), so that a reader finds at least one sound
 * copy after any of the writes.
 *
 * Where both copies are damaged, or there is no GPT but free room for one
 * (LBA 1-33 zero or damaged GPT; the last 33 sectors in no partition, and zero
 * or an old GPT), a GPT is made from the MBR; where there is no room, the MBR
 * alone is left and *HAS_GPT says so.  With a GPT in force, no room is an error.
 * CHR_E_REFUSED or CHR_E_DAMAGED, too, when the partitions cannot be told for
 * certain: RouterOS follows the MBR, so each of its partitions must be in the
 * GPT, from the same LBA on, and end there at the latest.
 */
int table_mend(struct blk *disk, const struct table *table,
               const struct table_mend_options *options, bool *has_gpt, struct chr_error *err);

/*
 * Where the last partition is to end on a disk of SECTORS: before the room for a backup
 * GPT, and on a whole MiB, as RouterOS's own partition does.
 */
uint64_t table_last_lba(uint64_t sectors);

/*
 * Write to DISK the tables with PARTITION, the last one of TABLE, ending at LBA LAST,
 * which is no less than before, and with the backup GPT at the disk's end: TABLE was
 * read from a disk of this size.  Of the MBR the partition's number of sectors
 * changes, and an 0xEE entry that reached to the end of OLD_SECTORS; no CHS value
 * does.  A GPT that is not there is not made.  Errors as for table_mend().
 */
int table_grow(struct blk *disk, const struct table *table, const struct partition *partition,
               uint64_t last, uint64_t old_sectors, struct chr_error *err);

/*
 * Write the damaged or missing copy of the GPT anew from the sound one, where the
 * sound one says it belongs.  *DONE says what was written: "primary", "backup", or
 * NULL for nothing to do.  CHR_E_REFUSED when a partition of either table is in the
 * place, or the place is none for a GPT.
 */
int table_repair_gpt(struct blk *disk, const struct table *table, const char **done,
                     struct chr_error *err);

#endif
