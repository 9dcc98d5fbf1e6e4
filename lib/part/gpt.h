/*
 * The GUID partition table: one copy of it, decoded, checked, encoded.
 *
 * Format (UEFI 2.10, section 5.3), all little-endian.  Header, one sector:
 *      0  8  "EFI PART"               40  8  first usable LBA
 *      8  4  revision 00010000        48  8  last usable LBA
 *     12  4  header size (92..512)    56 16  disk GUID
 *     16  4  header CRC-32            72  8  LBA of the entries
 *     20  4  reserved, 0              80  4  number of entries
 *     24  8  own LBA                  84  4  size of one entry (128 x 2^n)
 *     32  8  the other copy's LBA     88  4  CRC-32 of the entries
 * Entry, 128 bytes:
 *      0 16  type GUID                40  8  last LBA (inclusive)
 *     16 16  partition GUID           48  8  attributes
 *     32  8  first LBA                56 72  name, UTF-16LE
 */
#ifndef CHRIMG_PART_GPT_H
#define CHRIMG_PART_GPT_H

#include "block/blk.h"

#define GPT_SECTOR_SIZE 512
#define GPT_ENTRY_SIZE 128
#define GPT_GUID_SIZE 16
#define GPT_PRIMARY_LBA 1
/* What all known tools write, and more than any CHR has by two orders; a
 * larger table is refused before it costs memory. */
#define GPT_MAX_ENTRIES 128
#define GPT_NAME_UNITS 36
/* Three bytes of UTF-8 for each UTF-16 unit at the most, and the end. */
#define GPT_NAME_SIZE (GPT_NAME_UNITS * 3 + 1)
#define GPT_TABLE_SIZE (GPT_MAX_ENTRIES * GPT_ENTRY_SIZE)

/* Type GUIDs in their order on the disk. */
extern const uint8_t gpt_type_esp[GPT_GUID_SIZE];   /* EF00, EFI system partition */
extern const uint8_t gpt_type_linux[GPT_GUID_SIZE]; /* 8300, Linux file system */

struct gpt_header {
    uint32_t header_size;
    uint64_t own_lba;
    uint64_t other_lba;
    uint64_t first_usable;
    uint64_t last_usable;
    uint8_t disk_guid[GPT_GUID_SIZE];
    uint64_t entries_lba;
    uint32_t entry_count;
    uint32_t entry_size;
    uint32_t entries_crc;
};

struct gpt_entry {
    uint8_t type[GPT_GUID_SIZE];
    uint8_t guid[GPT_GUID_SIZE];
    uint64_t first_lba;
    uint64_t last_lba; /* inclusive, as on the disk */
    uint64_t attributes;
    char name[GPT_NAME_SIZE]; /* UTF-8; an unpaired surrogate becomes U+FFFD */
};

/*
 * One copy: raw bytes stay beside the decoded values, so that what we do not
 * change is written back to the letter.
 */
struct gpt {
    struct gpt_header header;
    uint8_t sector[GPT_SECTOR_SIZE]; /* the header's sector */
    uint8_t table[GPT_TABLE_SIZE];   /* the entries, zero behind entry_count */
    struct gpt_entry entries[GPT_MAX_ENTRIES];
};

/* Whether the sector at LBA begins like a GPT header; false past the end of the disk. */
int gpt_present(struct blk *disk, uint64_t lba, bool *present, struct chr_error *err);

/*
 * Read and check the copy whose header is at LBA: signature, revision, size,
 * header CRC, own LBA, table geometry, entries' CRC.  CHR_E_DAMAGED says which
 * of them failed, OUT is then not filled.  CHR_E_UNSUPPORTED is a copy that may
 * well be sound, with larger or more entries than we know: it must not be
 * taken for damage and written over.  Whether entries overlap or leave
 * the usable range is not judged here: real images do both.
 */
int gpt_read(struct blk *disk, uint64_t lba, struct gpt *out, struct chr_error *err);

/* An entry is in use when its type GUID is not zero. */
bool gpt_entry_used(const struct gpt_entry *entry);

/* Make GPT an empty table of 128 entries, to be filled and sealed. */
void gpt_init(struct gpt *gpt, const uint8_t disk_guid[GPT_GUID_SIZE]);

/* Set type and LBAs of slot INDEX; name, GUID and attributes stay. */
void gpt_set_entry(struct gpt *gpt, uint32_t index, const uint8_t type[GPT_GUID_SIZE],
                   uint64_t first_lba, uint64_t last_lba);

/* Set GUID and name (ASCII, 36 characters at most) of slot INDEX. */
void gpt_name_entry(struct gpt *gpt, uint32_t index, const uint8_t guid[GPT_GUID_SIZE],
                    const char *name);

/* Compute both CRCs and write the header's values into the raw sector. */
void gpt_seal(struct gpt *gpt);

/* "C12A7328-F81F-11D2-BA4B-00A0C93EC93B": 37 bytes with the end. */
#define GPT_GUID_TEXT_SIZE 37
void gpt_guid_text(const uint8_t *guid, char *out);

#endif
