/*
 * MBR and GPT: reading, mending, and reading what was mended.
 *
 * The first byte says which checksums are made right before the reader sees them
 * (else it would hardly ever get past them), the second how large the disk is;
 * then follows the disk from LBA 0.
 */
#include <zlib.h>

#include "block/overlay.h"
#include "fuzz.h"
#include "part/table.h"

#define SECTOR 512u

/* Make the CRCs of the GPT copy at LBA right, as far as it lies in the bytes given. */
static void seal(uint8_t *disk, size_t size, uint64_t lba)
{
    uint8_t *header;
    uint64_t entries;
    uint64_t length;

    if (lba > size / SECTOR || (lba + 1) * SECTOR > size)
        return;
    header = disk + lba * SECTOR;
    entries = le64(header + 72);
    length = (uint64_t)le32(header + 80) * le32(header + 84);
    if (entries < size / SECTOR && length <= size - entries * SECTOR)
        put_le32(header + 88, (uint32_t)crc32(0, disk + entries * SECTOR, (uInt)length));
    put_le32(header + 16, 0);
    if (le32(header + 12) <= SECTOR)
        put_le32(header + 16, (uint32_t)crc32(0, header, le32(header + 12)));
}

static void mend(struct blk *disk, const struct table *table)
{
    const struct table_mend_options options = {
        .boot = table_boot_partition(table),
        .seed = "fuzzing the seed",
    };
    AUTO_BLK struct blk *overlay = NULL;
    AUTO_TABLE struct table *mended = NULL;
    struct chr_error err = {0};
    bool has_gpt = false;

    if (options.boot == NULL)
        return;
    MUST(overlay_open(disk, &overlay, &err) == 0, "%s", err.message);
    if (table_mend(overlay, table, &options, &has_gpt, &err) < 0) {
        must_be_told(&err);
        return;
    }
    MUST(table_read(overlay, &mended, &err) == 0, "%s", err.message);
    if (!has_gpt)
        return;
    MUST(mended->primary.sound, "%s", mended->primary.problem);
    MUST(mended->backup.sound, "%s", mended->backup.problem);
    MUST(mended->partition_count == table->partition_count, "%zu partitions were %zu",
         mended->partition_count, table->partition_count);
    for (size_t i = 0; i < table->partition_count; i++)
        MUST(mended->partitions[i].first_lba == table->partitions[i].first_lba &&
                 mended->partitions[i].last_lba == table->partitions[i].last_lba,
             "partition %zu moved", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_TABLE struct table *table = NULL;
    AUTO_FREE uint8_t *bytes = NULL;
    struct chr_error err = {0};
    struct memory disk;

    if (size < 2 + 2 * SECTOR)
        return 0;
    bytes = malloc(size);
    MUST(bytes != NULL, "memory");
    memcpy(bytes, data + 2, size - 2);
    if ((data[0] & 1) != 0)
        seal(bytes, size - 2, 1);
    if ((data[0] & 2) != 0)
        seal(bytes, size - 2, le64(bytes + SECTOR + 32));
    disk = memory_device(bytes, size - 2, (128 + 16 * (uint64_t)data[1]) * SECTOR);
    if (table_read(&disk.blk, &table, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    for (size_t i = 0; i < table->partition_count; i++)
        MUST(table->partitions[i].first_lba <= table->partitions[i].last_lba,
             "partition %zu ends before it begins", i);
    mend(&disk.blk, table);
    return 0;
}
