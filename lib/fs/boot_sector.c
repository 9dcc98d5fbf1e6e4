/* What the boot sector's code is, and the message that stands in for it. */
#include "fs/boot_sector.h"

#include "base/bytes.h"

#define OFF_SIGNATURE 510
/* The first byte behind a FAT32 BPB (FATGEN103). */
#define BPB32_END 90

/*
 * Position 0x7C3E (BPB_END in the loaded sector), 16-bit:
 *   cld; xor ax,ax; mov ds,ax; mov si,message
 *   next: lodsb; test al,al; jz done; mov ah,0Eh; mov bx,7; int 10h; jmp next
 *   done: int 18h (nothing to boot here: the firmware tries the next device)
 *   stop: hlt; jmp stop
 */
static const uint8_t message_code[] = {
    0xFC, 0x31, 0xC0, 0x8E, 0xD8, 0xBE, 0x59, 0x7C, 0xAC, 0x84, 0xC0, 0x74, 0x09, 0xB4,
    0x0E, 0xBB, 0x07, 0x00, 0xCD, 0x10, 0xEB, 0xF2, 0xCD, 0x18, 0xF4, 0xEB, 0xFD,
};
static const char message_text[] = "chrimg: this disk boots with UEFI only\r\n";

static bool has_signature(const uint8_t *sector)
{
    return sector[OFF_SIGNATURE] == 0x55 && sector[OFF_SIGNATURE + 1] == 0xAA;
}

/* Where the first instruction jumps to, or 0 when it is no jump forward. */
static unsigned jump_target(const uint8_t *sector)
{
    if (sector[0] == 0xEB && sector[1] < 0x80)
        return 2u + sector[1];
    if (sector[0] == 0xE9 && le16(sector + 1) < OFF_SIGNATURE)
        return 3u + le16(sector + 1);
    return 0;
}

/* A BPB already there says so itself: 512 bytes a sector, and the mark of its serial number. */
static bool has_bpb(const uint8_t *sector)
{
    return le16(sector + 11) == 512 && sector[16] != 0 && (sector[38] == 0x29 || sector[66] == 0x29);
}

enum boot_code boot_sector_classify(const uint8_t *sector)
{
    unsigned target = jump_target(sector);

    if (!has_signature(sector) || is_zero(sector, OFF_SIGNATURE))
        return BOOT_CODE_NONE;
    if (memcmp(sector + BPB_END, message_code, sizeof message_code) == 0)
        return BOOT_CODE_MESSAGE;
    if (target < OFF_SIGNATURE && target >= BPB_END &&
        is_zero(sector + target, OFF_SIGNATURE - target))
        return BOOT_CODE_NONE;
    if (has_bpb(sector) && (target == BPB_END || target == BPB32_END))
        return BOOT_CODE_FOREIGN;
    if (target >= BPB_END && (is_zero(sector + 3, BPB_END - 3) || has_bpb(sector)))
        return BOOT_CODE_HOLE;
    return BOOT_CODE_NO_HOLE;
}

void boot_sector_put_message(uint8_t *sector)
{
    sector[0] = 0xEB;
    sector[1] = BPB_END - 2;
    sector[2] = 0x90;
    memset(sector + BPB_END, 0, OFF_SIGNATURE - BPB_END);
    memcpy(sector + BPB_END, message_code, sizeof message_code);
    memcpy(sector + BPB_END + sizeof message_code, message_text, sizeof message_text);
    sector[OFF_SIGNATURE] = 0x55;
    sector[OFF_SIGNATURE + 1] = 0xAA;
}
