/*
 * The boot partition's first sector: boot code that was made for ext, with a
 * hole where FAT wants its BPB.
 *
 * In ext the first 1024 bytes belong to the loader.  RouterOS's begins with a
 * short jump over bytes 2..0x67, which are zero; a FAT BPB (bytes 3-61) fits
 * into that hole, and the code does not notice.
 */
#ifndef CHRIMG_FS_BOOT_SECTOR_H
#define CHRIMG_FS_BOOT_SECTOR_H

#include <stddef.h>
#include <stdint.h>

#define BOOT_SECTOR_SIZE 512
/* The first byte behind a FAT12/16 BPB with extended boot record (FATGEN103). */
#define BPB_END 62

enum boot_code {
    BOOT_CODE_NONE,    /* no signature, or no jump: firmware finds nothing to run */
    BOOT_CODE_HOLE,    /* code, with room for a BPB, or around one that is there */
    BOOT_CODE_NO_HOLE, /* code that uses bytes 3-61 itself */
    BOOT_CODE_FOREIGN, /* right behind a BPB, where FAT formatters put theirs: no RouterOS loader */
    BOOT_CODE_MESSAGE, /* ours: says that the disk boots with UEFI only */
};

enum boot_code boot_sector_classify(const uint8_t *sector);

/*
 * The 450 bytes from BPB_END on that print "this disk boots with UEFI only",
 * with the signature: for a FAT whose BIOS loader is lost.
 */
void boot_sector_put_message(uint8_t *sector);

#endif
