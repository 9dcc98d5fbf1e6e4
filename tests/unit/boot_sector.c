/* The boot partition's first sector: what its code is, and our message. */
#include "fs/boot_sector.h"

#include "base/bytes.h"
#include "unit.h"

/* The ext boot block of RouterOS: a jump over a hole, code, the signature. */
static void make_routeros(uint8_t *sector)
{
    memset(sector, 0, BOOT_SECTOR_SIZE);
    sector[0] = 0xEB;
    sector[1] = 0x66;
    memset(sector + 0x68, 0xFA, 300);
    sector[510] = 0x55;
    sector[511] = 0xAA;
}

static void put_bpb(uint8_t *sector, size_t mark)
{
    memcpy(sector + 3, "MSDOS5.0", 8);
    put_le16(sector + 11, 512);
    sector[13] = 8;
    sector[16] = 2;
    sector[mark] = 0x29;
}

static void test_code_around_a_hole(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE];

    (void)state;
    make_routeros(sector);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_HOLE);
    sector[2] = 0x90;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_HOLE);
    put_bpb(sector, 38);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_HOLE);
    make_routeros(sector); /* a near jump is as good */
    memcpy(sector, "\xE9\x65\x00", 3);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_HOLE);
}

static void test_every_byte_of_the_hole_counts(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE];

    (void)state;
    for (size_t at = 3; at < BPB_END; at++) {
        make_routeros(sector);
        sector[at] = 1;
        assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NO_HOLE);
    }
}

static void test_code_without_a_hole(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE];

    (void)state;
    make_routeros(sector);
    sector[1] = BPB_END - 3; /* lands on the BPB's last byte */
    sector[BPB_END - 1] = 0x90;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NO_HOLE);
    make_routeros(sector);
    sector[1] = 0x80; /* backwards */
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NO_HOLE);
    make_routeros(sector);
    sector[0] = 0xFA;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NO_HOLE);
}

static void test_no_code(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE] = {0};

    (void)state;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NONE);
    sector[510] = 0x55;
    sector[511] = 0xAA;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NONE);
    make_routeros(sector);
    sector[511] = 0;
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NONE);
    make_routeros(sector);
    memset(sector + 0x68, 0, 510 - 0x68); /* a jump to nothing */
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_NONE);
}

/* FAT formatters put their code right behind the BPB: FAT16 at 62, FAT32 at 90. */
static void test_foreign_code(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE];

    (void)state;
    make_routeros(sector);
    sector[1] = 60;
    put_bpb(sector, 38);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_FOREIGN);
    make_routeros(sector);
    sector[1] = 88;
    put_bpb(sector, 66);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_FOREIGN);
}

/* The message stands behind the BPB, which it leaves alone, and is recognised. */
static void test_the_message(void **state)
{
    uint8_t sector[BOOT_SECTOR_SIZE];
    uint8_t before[BOOT_SECTOR_SIZE];

    (void)state;
    make_routeros(sector);
    put_bpb(sector, 38);
    memset(sector + 400, 0xCC, 110);
    memcpy(before, sector, sizeof before);
    boot_sector_put_message(sector);
    assert_memory_equal(sector + 3, before + 3, BPB_END - 3);
    assert_memory_equal(sector, "\xEB\x3C\x90", 3);
    assert_int_equal(le16(sector + 510), 0xAA55);
    assert_int_equal(boot_sector_classify(sector), BOOT_CODE_MESSAGE);
    assert_non_null(memmem(sector, sizeof sector, "UEFI only\r\n", 12));
    /* "mov si, message": the text is where the code says, loaded at 0x7C00. */
    assert_int_equal(sector[BPB_END + 5], 0xBE);
    assert_memory_equal(sector + le16(sector + BPB_END + 6) - 0x7C00, "chrimg: this disk", 17);
    assert_true(is_zero(sector + 400, 110));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_around_a_hole),
        cmocka_unit_test(test_every_byte_of_the_hole_counts),
        cmocka_unit_test(test_code_without_a_hole),
        cmocka_unit_test(test_no_code),
        cmocka_unit_test(test_foreign_code),
        cmocka_unit_test(test_the_message),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
