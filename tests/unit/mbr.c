/* MBR entries to values and back. */
#include "part/mbr.h"

#include "base/bytes.h"
#include "unit.h"

/* A stock CHR: disk id, one active partition at LBA 34, another behind it. */
static void make_sector(uint8_t *sector)
{
    static const uint8_t entries[32] = {
        0x80, 0x00, 0x23, 0x00, 0x83, 0xF1, 0xFE, 0xFE, 34, 0, 0, 0, 0, 0, 1, 0,
        0x00, 0xF1, 0xFE, 0xFE, 0x83, 0xF1, 0xFE, 0xFE, 0x22, 0, 1, 0, 0xDE, 0xEF, 2, 0,
    };

    memset(sector, 0, MBR_SECTOR_SIZE);
    sector[439] = 0x90;
    put_le32(sector + 440, 0x12345678);
    memcpy(sector + 446, entries, sizeof entries);
    sector[510] = 0x55;
    sector[511] = 0xAA;
}

static void test_decode(void **state)
{
    uint8_t sector[MBR_SECTOR_SIZE];
    struct mbr mbr;

    (void)state;
    make_sector(sector);
    assert_true(mbr_decode(sector, &mbr));
    assert_int_equal(mbr.disk_id, 0x12345678);
    assert_true(mbr.has_boot_code);
    assert_int_equal(mbr.entries[0].status, MBR_STATUS_ACTIVE);
    assert_int_equal(mbr.entries[0].type, MBR_TYPE_LINUX);
    assert_memory_equal(mbr.entries[0].first_chs, "\x00\x23\x00", 3);
    assert_memory_equal(mbr.entries[0].last_chs, "\xF1\xFE\xFE", 3);
    assert_int_equal(mbr.entries[0].first_lba, 34);
    assert_int_equal(mbr.entries[0].sectors, 65536);
    assert_int_equal(mbr.entries[1].first_lba, 65570);
    assert_int_equal(mbr.entries[1].sectors, 192478);
    assert_true(mbr_entry_empty(&mbr.entries[2]) && mbr_entry_empty(&mbr.entries[3]));
    assert_false(mbr_entry_empty(&mbr.entries[0]));
    sector[439] = 0;
    assert_true(mbr_decode(sector, &mbr));
    assert_false(mbr.has_boot_code);
}

static void test_without_a_signature_nothing_is_decoded(void **state)
{
    uint8_t sector[MBR_SECTOR_SIZE];
    struct mbr mbr;
    struct mbr before;

    (void)state;
    memset(&mbr, 0x3C, sizeof mbr);
    before = mbr;
    for (int at = 510; at < 512; at++) {
        make_sector(sector);
        sector[at] ^= 1;
        assert_false(mbr_decode(sector, &mbr));
        assert_memory_equal(&mbr, &before, sizeof mbr);
    }
}

/* Any 16 bytes come back as they were, in their slot only. */
static void test_encode_writes_one_slot(void **state)
{
    struct dice dice = {6};

    (void)state;
    for (int round = 0; round < 400; round++) {
        uint8_t sector[MBR_SECTOR_SIZE];
        uint8_t target[MBR_SECTOR_SIZE];
        uint8_t expected[MBR_SECTOR_SIZE];
        struct mbr mbr;
        int from = round % 4;
        int to = round / 4 % 4;

        roll_bytes(&dice, sector, sizeof sector);
        roll_bytes(&dice, target, sizeof target);
        sector[510] = 0x55;
        sector[511] = 0xAA;
        memcpy(expected, target, sizeof expected);
        memcpy(expected + 446 + 16 * to, sector + 446 + 16 * from, 16);
        assert_true(mbr_decode(sector, &mbr));
        mbr_encode_entry(target, to, &mbr.entries[from]);
        assert_memory_equal(target, expected, sizeof target);
    }
}

static void test_kinds_of_entries(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        struct mbr_entry entry = {.type = (uint8_t)type, .first_lba = 1, .sectors = 1};

        assert_int_equal(mbr_entry_empty(&entry), type == 0);
        assert_int_equal(mbr_entry_extended(&entry), type == 5 || type == 0xF || type == 0x85);
    }
}

static void test_what_claims_sectors(void **state)
{
    struct mbr_entry entry = {
        .type = MBR_TYPE_LINUX,
        .first_lba = UINT32_MAX,
        .sectors = UINT32_MAX,
    };

    (void)state;
    assert_true(mbr_entry_claims(&entry));
    assert_true(mbr_entry_end(&entry) == UINT64_C(2) * UINT32_MAX);
    entry.type = MBR_TYPE_EXTENDED_LBA;
    assert_true(mbr_entry_claims(&entry));
    entry.type = MBR_TYPE_GPT_PROTECTIVE;
    assert_false(mbr_entry_claims(&entry));
    entry.type = MBR_TYPE_EMPTY;
    assert_false(mbr_entry_claims(&entry));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_without_a_signature_nothing_is_decoded),
        cmocka_unit_test(test_encode_writes_one_slot),
        cmocka_unit_test(test_kinds_of_entries),
        cmocka_unit_test(test_what_claims_sectors),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
