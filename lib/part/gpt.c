/* One copy of the GPT: read with every check, written back with its CRCs. */
#include "part/gpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/utf.h"

#define SIGNATURE "EFI PART"
#define REVISION_1_0 0x00010000
#define MIN_HEADER_SIZE 92

enum {
    OFF_REVISION = 8,
    OFF_HEADER_SIZE = 12,
    OFF_HEADER_CRC = 16,
    OFF_OWN_LBA = 24,
    OFF_OTHER_LBA = 32,
    OFF_FIRST_USABLE = 40,
    OFF_LAST_USABLE = 48,
    OFF_DISK_GUID = 56,
    OFF_ENTRIES_LBA = 72,
    OFF_ENTRY_COUNT = 80,
    OFF_ENTRY_SIZE = 84,
    OFF_ENTRIES_CRC = 88,

    ENTRY_TYPE = 0,
    ENTRY_GUID = 16,
    ENTRY_FIRST = 32,
    ENTRY_LAST = 40,
    ENTRY_ATTRIBUTES = 48,
    ENTRY_NAME = 56,
};

/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B */
const uint8_t gpt_type_esp[GPT_GUID_SIZE] = {0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11,
                                             0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B};
/* 0FC63DAF-8483-4772-8E79-3D69D8477DE4 */
const uint8_t gpt_type_linux[GPT_GUID_SIZE] = {0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47,
                                               0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4};

static uint32_t crc_of(const void *data, size_t len)
{
    return (uint32_t)crc32(0, data, (uInt)len);
}

static uint32_t header_crc(const uint8_t *sector, uint32_t header_size)
{
    uint8_t copy[GPT_SECTOR_SIZE];

    memcpy(copy, sector, sizeof copy);
    put_le32(copy + OFF_HEADER_CRC, 0);
    return crc_of(copy, header_size);
}

int gpt_present(struct blk *disk, uint64_t lba, bool *present, struct chr_error *err)
{
    uint8_t start[8];

    *present = false;
    if (lba >= disk->size / GPT_SECTOR_SIZE)
        return 0;
    if (blk_read(disk, lba * GPT_SECTOR_SIZE, start, sizeof start, err) < 0)
        return -1;
    *present = memcmp(start, SIGNATURE, sizeof start) == 0;
    return 0;
}

static void decode_header(const uint8_t *p, struct gpt_header *header)
{
    header->header_size = le32(p + OFF_HEADER_SIZE);
    header->own_lba = le64(p + OFF_OWN_LBA);
    header->other_lba = le64(p + OFF_OTHER_LBA);
    header->first_usable = le64(p + OFF_FIRST_USABLE);
    header->last_usable = le64(p + OFF_LAST_USABLE);
    memcpy(header->disk_guid, p + OFF_DISK_GUID, GPT_GUID_SIZE);
    header->entries_lba = le64(p + OFF_ENTRIES_LBA);
    header->entry_count = le32(p + OFF_ENTRY_COUNT);
    header->entry_size = le32(p + OFF_ENTRY_SIZE);
    header->entries_crc = le32(p + OFF_ENTRIES_CRC);
}

/* Everything that the header says about itself. */
static int check_header(const uint8_t *sector, const struct gpt_header *header, uint64_t lba,
                        struct chr_error *err)
{
    uint32_t revision = le32(sector + OFF_REVISION);

    if (memcmp(sector, SIGNATURE, 8) != 0)
        return err_set(err, CHR_E_DAMAGED, "no GPT signature");
    if (revision != REVISION_1_0)
        return err_set(err, CHR_E_DAMAGED, "revision %08" PRIx32 " is not 00010000", revision);
    if (header->header_size < MIN_HEADER_SIZE || header->header_size > GPT_SECTOR_SIZE)
        return err_set(err, CHR_E_DAMAGED, "header size %" PRIu32 " is not within 92..512",
                       header->header_size);
    if (header_crc(sector, header->header_size) != le32(sector + OFF_HEADER_CRC))
        return err_set(err, CHR_E_DAMAGED, "header CRC is wrong");
    if (header->own_lba != lba)
        return err_set(err, CHR_E_DAMAGED, "header says it is at LBA %" PRIu64, header->own_lba);
    return 0;
}

/* Whether the entries are such as UEFI allows, and within the disk, known to us or not. */
static bool is_valid_geometry(const struct gpt_header *header, uint64_t sectors)
{
    /* 32 bits each: the product cannot overflow. */
    uint64_t bytes = (uint64_t)header->entry_count * header->entry_size;

    return header->entry_count != 0 && header->entry_size >= GPT_ENTRY_SIZE &&
           is_power_of_two(header->entry_size) &&
           range_within(header->entries_lba, round_up(bytes, GPT_SECTOR_SIZE) / GPT_SECTOR_SIZE,
                        sectors);
}

/* Where the entries are, before anything is multiplied or read. */
static int check_geometry(const struct gpt_header *header, uint64_t sectors, struct chr_error *err)
{
    enum chr_code unknown =
        is_valid_geometry(header, sectors) ? CHR_E_UNSUPPORTED : CHR_E_DAMAGED;

    if (header->entry_size != GPT_ENTRY_SIZE)
        return err_set(err, unknown, "entries of %" PRIu32 " bytes, only 128 is known",
                       header->entry_size);
    if (header->entry_count == 0 || header->entry_count > GPT_MAX_ENTRIES)
        return err_set(err, unknown, "%" PRIu32 " entries, only 1..128 is known",
                       header->entry_count);
    if (!range_within(header->entries_lba, GPT_TABLE_SIZE / GPT_SECTOR_SIZE, sectors))
        return err_set(err, CHR_E_DAMAGED, "entries at LBA %" PRIu64 " are outside the disk",
                       header->entries_lba);
    if (header->first_usable > header->last_usable)
        return err_set(err, CHR_E_DAMAGED, "usable range %" PRIu64 "-%" PRIu64 " is empty",
                       header->first_usable, header->last_usable);
    return 0;
}

static void decode_entry(const uint8_t *p, struct gpt_entry *entry)
{
    memcpy(entry->type, p + ENTRY_TYPE, GPT_GUID_SIZE);
    memcpy(entry->guid, p + ENTRY_GUID, GPT_GUID_SIZE);
    entry->first_lba = le64(p + ENTRY_FIRST);
    entry->last_lba = le64(p + ENTRY_LAST);
    entry->attributes = le64(p + ENTRY_ATTRIBUTES);
    utf16le_to_utf8(p + ENTRY_NAME, GPT_NAME_UNITS, entry->name);
}

int gpt_read(struct blk *disk, uint64_t lba, struct gpt *out, struct chr_error *err)
{
    AUTO_FREE struct gpt *gpt = mem_new(1, sizeof *gpt, err);
    size_t used;

    if (gpt == NULL)
        return -1;
    if (!range_within(lba, 1, disk->size / GPT_SECTOR_SIZE))
        return err_set(err, CHR_E_DAMAGED, "LBA %" PRIu64 " is outside the disk", lba);
    if (blk_read(disk, lba * GPT_SECTOR_SIZE, gpt->sector, GPT_SECTOR_SIZE, err) < 0)
        return -1;
    decode_header(gpt->sector, &gpt->header);
    if (check_header(gpt->sector, &gpt->header, lba, err) < 0 ||
        check_geometry(&gpt->header, disk->size / GPT_SECTOR_SIZE, err) < 0)
        return -1;
    used = (size_t)gpt->header.entry_count * GPT_ENTRY_SIZE;
    if (blk_read(disk, gpt->header.entries_lba * GPT_SECTOR_SIZE, gpt->table, used, err) < 0)
        return -1;
    if (crc_of(gpt->table, used) != gpt->header.entries_crc)
        return err_set(err, CHR_E_DAMAGED, "CRC of the entries is wrong");
    for (uint32_t i = 0; i < gpt->header.entry_count; i++)
        decode_entry(gpt->table + i * GPT_ENTRY_SIZE, &gpt->entries[i]);
    *out = *gpt;
    return 0;
}

bool gpt_entry_used(const struct gpt_entry *entry)
{
    return !is_zero(entry->type, GPT_GUID_SIZE);
}

void gpt_init(struct gpt *gpt, const uint8_t disk_guid[GPT_GUID_SIZE])
{
    *gpt = (struct gpt){.header = {.header_size = MIN_HEADER_SIZE,
                                   .entry_count = GPT_MAX_ENTRIES,
                                   .entry_size = GPT_ENTRY_SIZE}};
    memcpy(gpt->header.disk_guid, disk_guid, GPT_GUID_SIZE);
    memcpy(gpt->sector, SIGNATURE, 8);
    put_le32(gpt->sector + OFF_REVISION, REVISION_1_0);
    put_le32(gpt->sector + OFF_HEADER_SIZE, MIN_HEADER_SIZE);
    memcpy(gpt->sector + OFF_DISK_GUID, disk_guid, GPT_GUID_SIZE);
    put_le32(gpt->sector + OFF_ENTRY_COUNT, GPT_MAX_ENTRIES);
    put_le32(gpt->sector + OFF_ENTRY_SIZE, GPT_ENTRY_SIZE);
}

void gpt_set_entry(struct gpt *gpt, uint32_t index, const uint8_t type[GPT_GUID_SIZE],
                   uint64_t first_lba, uint64_t last_lba)
{
    uint8_t *p = gpt->table + index * GPT_ENTRY_SIZE;

    memcpy(p + ENTRY_TYPE, type, GPT_GUID_SIZE);
    put_le64(p + ENTRY_FIRST, first_lba);
    put_le64(p + ENTRY_LAST, last_lba);
    decode_entry(p, &gpt->entries[index]);
}

void gpt_name_entry(struct gpt *gpt, uint32_t index, const uint8_t guid[GPT_GUID_SIZE],
                    const char *name)
{
    uint8_t *p = gpt->table + index * GPT_ENTRY_SIZE;

    memcpy(p + ENTRY_GUID, guid, GPT_GUID_SIZE);
    for (size_t i = 0; i < GPT_NAME_UNITS && name[i] != '\0'; i++)
        put_le16(p + ENTRY_NAME + 2 * i, (uint8_t)name[i]);
    decode_entry(p, &gpt->entries[index]);
}

void gpt_seal(struct gpt *gpt)
{
    struct gpt_header *header = &gpt->header;
    uint8_t *p = gpt->sector;

    header->entries_crc = crc_of(gpt->table, (size_t)header->entry_count * GPT_ENTRY_SIZE);
    put_le64(p + OFF_OWN_LBA, header->own_lba);
    put_le64(p + OFF_OTHER_LBA, header->other_lba);
    put_le64(p + OFF_FIRST_USABLE, header->first_usable);
    put_le64(p + OFF_LAST_USABLE, header->last_usable);
    put_le64(p + OFF_ENTRIES_LBA, header->entries_lba);
    put_le32(p + OFF_ENTRIES_CRC, header->entries_crc);
    put_le32(p + OFF_HEADER_CRC, header_crc(p, header->header_size));
}

void gpt_guid_text(const uint8_t *g, char *out)
{
    (void)snprintf(out, GPT_GUID_TEXT_SIZE,
                   "%08" PRIX32 "-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X", le32(g),
                   le16(g + 4), le16(g + 6), g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}
