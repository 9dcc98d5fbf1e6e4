/* MBR entries to values and back; the byte table is in the header. */
#include "part/mbr.h"

#include "base/bytes.h"

#define OFF_DISK_ID 440
#define OFF_ENTRIES 446
#define OFF_SIGNATURE 510
#define ENTRY_SIZE 16

static void decode_entry(const uint8_t *p, struct mbr_entry *entry)
{
    entry->status = p[0];
    memcpy(entry->first_chs, p + 1, 3);
    entry->type = p[4];
    memcpy(entry->last_chs, p + 5, 3);
    entry->first_lba = le32(p + 8);
    entry->sectors = le32(p + 12);
}

bool mbr_decode(const uint8_t *sector, struct mbr *out)
{
    if (sector[OFF_SIGNATURE] != 0x55 || sector[OFF_SIGNATURE + 1] != 0xAA)
        return false;
    out->disk_id = le32(sector + OFF_DISK_ID);
    out->has_boot_code = !is_zero(sector, MBR_BOOT_CODE_SIZE);
    for (int i = 0; i < MBR_ENTRIES; i++)
        decode_entry(sector + OFF_ENTRIES + i * ENTRY_SIZE, &out->entries[i]);
    return true;
}

void mbr_encode_entry(uint8_t *sector, int index, const struct mbr_entry *entry)
{
    uint8_t *p = sector + OFF_ENTRIES + index * ENTRY_SIZE;

    p[0] = entry->status;
    memcpy(p + 1, entry->first_chs, 3);
    p[4] = entry->type;
    memcpy(p + 5, entry->last_chs, 3);
    put_le32(p + 8, entry->first_lba);
    put_le32(p + 12, entry->sectors);
}

bool mbr_entry_empty(const struct mbr_entry *entry)
{
    return entry->type == MBR_TYPE_EMPTY;
}

bool mbr_entry_claims(const struct mbr_entry *entry)
{
    return !mbr_entry_empty(entry) && entry->type != MBR_TYPE_GPT_PROTECTIVE;
}

uint64_t mbr_entry_end(const struct mbr_entry *entry)
{
    return (uint64_t)entry->first_lba + entry->sectors;
}

bool mbr_entry_extended(const struct mbr_entry *entry)
{
    return entry->type == MBR_TYPE_EXTENDED_CHS || entry->type == MBR_TYPE_EXTENDED_LBA ||
           entry->type == MBR_TYPE_EXTENDED_LINUX;
}
