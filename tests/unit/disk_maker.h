/*
 * A partitioned disk in memory, made without the code under test: CRC and byte
 * offsets are this file's own (UEFI 2.10, section 5.3).
 */
#ifndef CHRIMG_TESTS_UNIT_DISK_MAKER_H
#define CHRIMG_TESTS_UNIT_DISK_MAKER_H

#include "base/bytes.h"
#include "memory_blk.h"

#define SECTOR 512
#define ENTRY_BYTES 128
#define TABLE_LBAS 32

/* CRC-32 (IEEE 802.3), bit by bit. */
static inline uint32_t own_crc(const uint8_t *p, size_t len)
{
    uint32_t crc = 0xFFFFFFFF;

    while (len-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

struct disk_partition {
    bool in_mbr;
    bool in_gpt;
    uint64_t first;
    uint64_t last;     /* in the GPT */
    uint64_t mbr_last; /* 0: the same */
    const char *name;
};

/* Defaults (0): 128 entries, the layout of a stock CHR, smaller. */
struct disk_spec {
    uint64_t sectors;
    uint64_t backup_lba; /* of the header; its entries lie right before it */
    uint64_t last_usable;
    bool no_gpt;
    bool protective;
    struct disk_partition partitions[4]; /* slot by slot; first == 0: empty */
};

/* Two partitions, the backup right behind them and not at the end of the disk. */
static inline struct disk_spec stock_disk(void)
{
    return (struct disk_spec){
        .sectors = 8192,
        .backup_lba = 6033,
        .last_usable = 6000,
        .partitions = {{true, true, 34, 2081, 0, "RouterOS Boot"},
                       {true, true, 2082, 6000, 0, "RouterOS"}},
    };
}

/* Compute both CRCs of the copy whose header is at LBA, from what lies there. */
static inline void seal_copy(uint8_t *disk, uint64_t lba)
{
    uint8_t *header = disk + lba * SECTOR;

    put_le32(header + 88, own_crc(disk + le64(header + 72) * SECTOR,
                                  (size_t)le32(header + 80) * le32(header + 84)));
    put_le32(header + 16, 0);
    put_le32(header + 16, own_crc(header, le32(header + 12)));
}

static inline void put_guid(uint8_t *p, uint8_t mark)
{
    for (uint8_t i = 0; i < 16; i++)
        p[i] = (uint8_t)(mark + i);
}

static inline void put_gpt_entry(uint8_t *p, const struct disk_partition *partition, uint8_t mark)
{
    static const uint8_t linux_type[16] = {0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47,
                                           0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4};

    memcpy(p, linux_type, 16);
    put_guid(p + 16, mark);
    put_le64(p + 32, partition->first);
    put_le64(p + 40, partition->last);
    put_le64(p + 48, UINT64_C(0x8000000000000004));
    for (size_t i = 0; partition->name != NULL && partition->name[i] != '\0'; i++)
        p[56 + 2 * i] = (uint8_t)partition->name[i];
}

static inline void put_gpt_copy(uint8_t *disk, const struct disk_spec *spec, uint64_t own,
                                uint64_t other, uint64_t entries)
{
    uint8_t *header = disk + own * SECTOR;

    memcpy(header, "EFI PART", 8);
    put_le32(header + 8, 0x00010000);
    put_le32(header + 12, 92);
    put_le64(header + 24, own);
    put_le64(header + 32, other);
    put_le64(header + 40, 34);
    put_le64(header + 48, spec->last_usable);
    put_guid(header + 56, 0xD0);
    put_le64(header + 72, entries);
    put_le32(header + 80, 128);
    put_le32(header + 84, ENTRY_BYTES);
    memset(disk + entries * SECTOR, 0, TABLE_LBAS * SECTOR);
    for (size_t i = 0; i < 4; i++)
        if (spec->partitions[i].in_gpt)
            put_gpt_entry(disk + entries * SECTOR + i * ENTRY_BYTES, &spec->partitions[i],
                          (uint8_t)(0x10 * (i + 1)));
    seal_copy(disk, own);
}

/* Boot code, a mark at 336, and CHS values that no formula gives. */
static inline void put_mbr(uint8_t *disk, const struct disk_spec *spec)
{
    for (size_t i = 0; i < 440; i++)
        disk[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < 4; i++) {
        const struct disk_partition *partition = &spec->partitions[i];
        uint8_t *p = disk + 446 + 16 * i;
        uint64_t last = partition->mbr_last != 0 ? partition->mbr_last : partition->last;

        if (!partition->in_mbr)
            continue;
        p[0] = i == 0 ? 0x80 : 0;
        p[4] = 0x83;
        memcpy(p + 1, "\x00\x23\x00", 3);
        memcpy(p + 5, "\xF1\xFE\xFE", 3);
        put_le32(p + 8, (uint32_t)partition->first);
        put_le32(p + 12, (uint32_t)(last - partition->first + 1));
    }
    if (spec->protective) {
        disk[446 + 32 + 4] = 0xEE;
        put_le32(disk + 446 + 32 + 8, 1);
        put_le32(disk + 446 + 32 + 12, 33);
    }
    disk[510] = 0x55;
    disk[511] = 0xAA;
}

/* The disk of SPEC, its partitions filled with bytes of their own. */
static inline struct memory *make_disk(const struct disk_spec *spec)
{
    struct memory *memory = memory_new(spec->sectors * SECTOR);

    for (size_t i = 0; i < 4; i++)
        if (spec->partitions[i].first != 0)
            memset(memory->bytes + spec->partitions[i].first * SECTOR, (int)(0xA0 + i),
                   (spec->partitions[i].last - spec->partitions[i].first + 1) * SECTOR);
    if (!spec->no_gpt) {
        put_gpt_copy(memory->bytes, spec, 1, spec->backup_lba, 2);
        put_gpt_copy(memory->bytes, spec, spec->backup_lba, 1, spec->backup_lba - TABLE_LBAS);
    }
    put_mbr(memory->bytes, spec);
    return memory;
}

/* Whether the copy at LBA is sound, by this file's own reading. */
static inline bool copy_is_sound(const uint8_t *disk, uint64_t sectors, uint64_t lba)
{
    uint8_t header[SECTOR];
    uint32_t crc;

    memcpy(header, disk + lba * SECTOR, SECTOR);
    crc = le32(header + 16);
    put_le32(header + 16, 0);
    return memcmp(header, "EFI PART", 8) == 0 && le32(header + 12) == 92 &&
           own_crc(header, 92) == crc && le64(header + 24) == lba &&
           le64(header + 72) + TABLE_LBAS <= sectors && le32(header + 80) <= 128 &&
           own_crc(disk + le64(header + 72) * SECTOR, (size_t)le32(header + 80) * ENTRY_BYTES) ==
               le32(header + 88);
}

#endif
