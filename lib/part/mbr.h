/*
 * The master boot record.
 *
 * Format (IBM PC; UEFI 2.10, section 5.2.1), all little-endian:
 *     0   440  boot code                  510  2  signature 55 AA
 *     440   4  disk id                    446  4 x 16 entries:
 *         0 status (80 = active)   1 first CHS (head, sector | cylinder high, cylinder)
 *         4 type                   5 last CHS
 *         8 first LBA (u32)       12 sectors (u32)
 */
#ifndef CHRIMG_PART_MBR_H
#define CHRIMG_PART_MBR_H

#include <stdbool.h>
#include <stdint.h>

#define MBR_ENTRIES 4
#define MBR_SECTOR_SIZE 512
#define MBR_BOOT_CODE_SIZE 440

enum {
    MBR_TYPE_EMPTY = 0x00,
    MBR_TYPE_EXTENDED_CHS = 0x05,
    MBR_TYPE_EXTENDED_LBA = 0x0F,
    MBR_TYPE_LINUX = 0x83,
    MBR_TYPE_EXTENDED_LINUX = 0x85,
    MBR_TYPE_GPT_PROTECTIVE = 0xEE,
    MBR_STATUS_ACTIVE = 0x80,
};

struct mbr_entry {
    uint8_t status;
    uint8_t first_chs[3]; /* as on the disk: its loaders use the very bytes */
    uint8_t type;
    uint8_t last_chs[3];
    uint32_t first_lba;
    uint32_t sectors;
};

struct mbr {
    uint32_t disk_id;
    bool has_boot_code; /* bytes 0-439 are not all zero */
    struct mbr_entry entries[MBR_ENTRIES];
};

/* Decode SECTOR (512 bytes).  False, and OUT untouched, without the signature. */
bool mbr_decode(const uint8_t *sector, struct mbr *out);

/* Write ENTRY into slot INDEX (0-3) of SECTOR; no other byte changes. */
void mbr_encode_entry(uint8_t *sector, int index, const struct mbr_entry *entry);

/* Whether the slot holds nothing (type 0). */
bool mbr_entry_empty(const struct mbr_entry *entry);

/* Whether the slot claims sectors for somebody: neither empty nor the 0xEE of a GPT. */
bool mbr_entry_claims(const struct mbr_entry *entry);

/* The first LBA behind the entry. */
uint64_t mbr_entry_end(const struct mbr_entry *entry);

/* Whether the slot holds a chain of logical partitions. */
bool mbr_entry_extended(const struct mbr_entry *entry);

#endif
