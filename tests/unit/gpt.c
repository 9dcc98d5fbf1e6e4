/* One copy of the GPT: what is decoded, each check by name, what is written. */
#include "part/gpt.h"

#include "disk_maker.h"

#define HEADER(memory) ((memory)->bytes + SECTOR)

static struct memory *stock(void)
{
    struct disk_spec spec = stock_disk();

    return make_disk(&spec);
}

static void test_a_sound_copy_is_decoded(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    struct chr_error err;

    (void)state;
    assert_non_null(gpt);
    assert_done(gpt_read(&memory->blk, 1, gpt, &err), &err);
    assert_int_equal(gpt->header.header_size, 92);
    assert_int_equal(gpt->header.own_lba, 1);
    assert_int_equal(gpt->header.other_lba, 6033);
    assert_int_equal(gpt->header.first_usable, 34);
    assert_int_equal(gpt->header.last_usable, 6000);
    assert_int_equal(gpt->header.entries_lba, 2);
    assert_int_equal(gpt->header.entry_count, 128);
    assert_int_equal(gpt->header.disk_guid[15], 0xDF);
    assert_memory_equal(gpt->entries[0].type, gpt_type_linux, 16);
    assert_int_equal(gpt->entries[0].guid[0], 0x10);
    assert_int_equal(gpt->entries[1].first_lba, 2082);
    assert_int_equal(gpt->entries[1].last_lba, 6000);
    assert_true(gpt->entries[1].attributes == UINT64_C(0x8000000000000004));
    assert_string_equal(gpt->entries[0].name, "RouterOS Boot");
    assert_true(gpt_entry_used(&gpt->entries[0]) && gpt_entry_used(&gpt->entries[1]));
    assert_false(gpt_entry_used(&gpt->entries[2]) || gpt_entry_used(&gpt->entries[127]));
    assert_done(gpt_read(&memory->blk, 6033, gpt, &err), &err);
    assert_int_equal(gpt->header.entries_lba, 6001);
    free(gpt);
    memory_free(memory);
}

/* ---- the checks, one broken field each; the CRCs are made right again ---- */

static void refuse(struct memory *memory, enum chr_code code, const char *text)
{
    struct gpt *gpt = malloc(sizeof *gpt);
    struct gpt *before = malloc(sizeof *before);
    struct chr_error err;

    assert_true(gpt != NULL && before != NULL);
    memset(gpt, 0x3C, sizeof *gpt);
    memset(before, 0x3C, sizeof *before);
    assert_refused(gpt_read(&memory->blk, 1, gpt, &err), &err, code, text);
    assert_memory_equal(gpt, before, sizeof *gpt);
    free(gpt);
    free(before);
    memory_free(memory);
}

static void reseal_header(struct memory *memory)
{
    uint8_t *header = HEADER(memory);

    put_le32(header + 16, 0);
    put_le32(header + 16, own_crc(header, le32(header + 12)));
}

static void refuse_field(size_t off, unsigned size, uint64_t value, enum chr_code code,
                         const char *text)
{
    struct memory *memory = stock();

    if (size == 8)
        put_le64(HEADER(memory) + off, value);
    else
        put_le32(HEADER(memory) + off, (uint32_t)value);
    if (off != 12)
        reseal_header(memory);
    refuse(memory, code, text);
}

static void test_signature(void **state)
{
    struct memory *memory = stock();

    (void)state;
    HEADER(memory)[7] = 'X';
    refuse(memory, CHR_E_DAMAGED, "no GPT signature");
}

static void test_revision(void **state)
{
    (void)state;
    refuse_field(8, 4, 0x00020000, CHR_E_DAMAGED, "revision 00020000 is not 00010000");
}

static void test_header_size(void **state)
{
    (void)state;
    refuse_field(12, 4, 91, CHR_E_DAMAGED, "header size 91 is not within 92..512");
    refuse_field(12, 4, 513, CHR_E_DAMAGED, "header size 513 is not within");
    refuse_field(12, 4, UINT32_MAX, CHR_E_DAMAGED, "header size 4294967295 is not within");
}

static void test_header_crc(void **state)
{
    (void)state;
    for (size_t at = 16; at < 92; at++) {
        struct memory *memory = stock();

        HEADER(memory)[at] ^= 0x10;
        refuse(memory, CHR_E_DAMAGED, "header CRC is wrong");
    }
}

/* A longer header is sound when its CRC covers all of it. */
static void test_header_of_a_whole_sector(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    struct chr_error err;

    (void)state;
    assert_non_null(gpt);
    put_le32(HEADER(memory) + 12, 512);
    HEADER(memory)[511] = 7;
    reseal_header(memory);
    assert_done(gpt_read(&memory->blk, 1, gpt, &err), &err);
    free(gpt);
    HEADER(memory)[511] = 8;
    refuse(memory, CHR_E_DAMAGED, "header CRC is wrong");
}

static void test_own_lba(void **state)
{
    (void)state;
    refuse_field(24, 8, 2, CHR_E_DAMAGED, "header says it is at LBA 2");
    refuse_field(24, 8, UINT64_MAX, CHR_E_DAMAGED, "header says it is at LBA 18446744073709551615");
}

static void test_entry_size_and_count(void **state)
{
    (void)state;
    refuse_field(84, 4, 256, CHR_E_UNSUPPORTED, "entries of 256 bytes, only 128 is known");
    refuse_field(80, 4, 129, CHR_E_UNSUPPORTED, "129 entries");
    /* What UEFI does not allow either, or no disk has room for, is damage. */
    refuse_field(84, 4, 0, CHR_E_DAMAGED, "entries of 0 bytes");
    refuse_field(84, 4, 64, CHR_E_DAMAGED, "entries of 64 bytes");
    refuse_field(84, 4, 192, CHR_E_DAMAGED, "entries of 192 bytes");
    refuse_field(84, 4, UINT32_C(1) << 31, CHR_E_DAMAGED, "entries of 2147483648 bytes");
    refuse_field(80, 4, 0, CHR_E_DAMAGED, "0 entries, only 1..128 is known");
    refuse_field(80, 4, UINT32_MAX, CHR_E_DAMAGED, "4294967295 entries");
}

static void test_place_of_the_entries(void **state)
{
    (void)state;
    refuse_field(72, 8, 8192 - 31, CHR_E_DAMAGED, "entries at LBA 8161 are outside the disk");
    refuse_field(72, 8, UINT64_MAX, CHR_E_DAMAGED, "are outside the disk");
    refuse_field(72, 8, UINT64_MAX / 512, CHR_E_DAMAGED, "are outside the disk");
}

static void test_usable_range(void **state)
{
    (void)state;
    refuse_field(40, 8, 6001, CHR_E_DAMAGED, "usable range 6001-6000 is empty");
}

static void test_entries_crc(void **state)
{
    (void)state;
    for (size_t at = 0; at < 128 * ENTRY_BYTES; at += 97) {
        struct memory *memory = stock();

        memory->bytes[2 * SECTOR + at] ^= 1;
        refuse(memory, CHR_E_DAMAGED, "CRC of the entries is wrong");
    }
}

static void test_outside_the_disk_and_faults(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    struct chr_error err;
    bool present = true;

    (void)state;
    assert_non_null(gpt);
    assert_refused(gpt_read(&memory->blk, 8192, gpt, &err), &err, CHR_E_DAMAGED,
                   "LBA 8192 is outside the disk");
    assert_refused(gpt_read(&memory->blk, UINT64_MAX, gpt, &err), &err, CHR_E_DAMAGED, "outside");
    assert_done(gpt_present(&memory->blk, UINT64_MAX, &present, &err), &err);
    assert_false(present);
    assert_done(gpt_present(&memory->blk, 6033, &present, &err), &err);
    assert_true(present);
    assert_done(gpt_present(&memory->blk, 6032, &present, &err), &err);
    assert_false(present);
    memory->read_fault = true;
    assert_refused(gpt_read(&memory->blk, 1, gpt, &err), &err, CHR_E_IO, "read fault");
    free(gpt);
    memory_free(memory);
}

/* What lies behind a shorter table is neither checked nor shown. */
static void test_a_table_of_fewer_entries(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    struct chr_error err;

    (void)state;
    assert_non_null(gpt);
    put_le32(HEADER(memory) + 80, 1);
    seal_copy(memory->bytes, 1);
    memory->bytes[2 * SECTOR + ENTRY_BYTES] ^= 1;
    assert_done(gpt_read(&memory->blk, 1, gpt, &err), &err);
    assert_true(gpt_entry_used(&gpt->entries[0]));
    assert_false(gpt_entry_used(&gpt->entries[1]));
    assert_true(is_zero(gpt->table + ENTRY_BYTES, GPT_TABLE_SIZE - ENTRY_BYTES));
    free(gpt);
    memory_free(memory);
}

/* All 36 units of a name are text, without an end mark. */
static void test_a_name_without_an_end(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    struct chr_error err;

    (void)state;
    assert_non_null(gpt);
    for (size_t i = 0; i < 36; i++)
        put_le16(memory->bytes + 2 * SECTOR + 56 + 2 * i, 0x20AC);
    seal_copy(memory->bytes, 1);
    assert_done(gpt_read(&memory->blk, 1, gpt, &err), &err);
    assert_int_equal(strlen(gpt->entries[0].name), 108);
    free(gpt);
    memory_free(memory);
}

/* ---- writing ---- */

/* A table made from nothing is sound by the test's own CRC and by gpt_read(). */
static void test_a_new_table(void **state)
{
    static const char long_name[] = "a name of more than thirty-six letters";
    uint8_t guid[GPT_GUID_SIZE];
    struct memory *memory = memory_new(8192 * SECTOR);
    struct gpt *gpt = malloc(sizeof *gpt);
    struct gpt *back = malloc(sizeof *back);
    struct chr_error err;

    (void)state;
    assert_true(gpt != NULL && back != NULL);
    put_guid(guid, 0x40);
    memset(gpt, 0xFF, sizeof *gpt);
    gpt_init(gpt, guid);
    gpt_set_entry(gpt, 0, gpt_type_esp, 34, 100);
    gpt_name_entry(gpt, 0, guid, "Boot");
    gpt_set_entry(gpt, 127, gpt_type_linux, 101, 8158);
    gpt_name_entry(gpt, 127, guid, long_name);
    gpt->header.own_lba = 1;
    gpt->header.other_lba = 8191;
    gpt->header.entries_lba = 2;
    gpt->header.first_usable = 34;
    gpt->header.last_usable = 8158;
    gpt_seal(gpt);
    memcpy(memory->bytes + SECTOR, gpt->sector, SECTOR);
    memcpy(memory->bytes + 2 * SECTOR, gpt->table, GPT_TABLE_SIZE);
    assert_true(copy_is_sound(memory->bytes, 8192, 1));
    assert_done(gpt_read(&memory->blk, 1, back, &err), &err);
    assert_memory_equal(back->entries, gpt->entries, sizeof gpt->entries);
    assert_string_equal(back->entries[0].name, "Boot");
    assert_memory_equal(back->entries[127].name, long_name, 36);
    assert_int_equal(strlen(back->entries[127].name), 36);
    assert_int_equal(back->header.last_usable, 8158);
    assert_memory_equal(back->header.disk_guid, guid, 16);
    free(gpt);
    free(back);
    memory_free(memory);
}

/* Type and LBAs change; GUID, attributes, name and the other entries stay to the letter. */
static void test_setting_an_entry_leaves_the_rest(void **state)
{
    struct memory *memory = stock();
    struct gpt *gpt = malloc(sizeof *gpt);
    uint8_t expected[GPT_TABLE_SIZE];
    struct chr_error err;

    (void)state;
    assert_non_null(gpt);
    assert_done(gpt_read(&memory->blk, 1, gpt, &err), &err);
    memcpy(expected, gpt->table, sizeof expected);
    memcpy(expected + ENTRY_BYTES, gpt_type_esp, 16);
    put_le64(expected + ENTRY_BYTES + 32, 5);
    put_le64(expected + ENTRY_BYTES + 40, UINT64_C(0x123456789A));
    gpt_set_entry(gpt, 1, gpt_type_esp, 5, UINT64_C(0x123456789A));
    assert_memory_equal(gpt->table, expected, sizeof expected);
    assert_true(gpt->entries[1].last_lba == UINT64_C(0x123456789A));
    assert_string_equal(gpt->entries[1].name, "RouterOS");
    free(gpt);
    memory_free(memory);
}

static void test_guid_text(void **state)
{
    char text[GPT_GUID_TEXT_SIZE];

    (void)state;
    gpt_guid_text(gpt_type_esp, text);
    assert_string_equal(text, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    gpt_guid_text(gpt_type_linux, text);
    assert_string_equal(text, "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sound_copy_is_decoded),
        cmocka_unit_test(test_signature),
        cmocka_unit_test(test_revision),
        cmocka_unit_test(test_header_size),
        cmocka_unit_test(test_header_crc),
        cmocka_unit_test(test_header_of_a_whole_sector),
        cmocka_unit_test(test_own_lba),
        cmocka_unit_test(test_entry_size_and_count),
        cmocka_unit_test(test_place_of_the_entries),
        cmocka_unit_test(test_usable_range),
        cmocka_unit_test(test_entries_crc),
        cmocka_unit_test(test_outside_the_disk_and_faults),
        cmocka_unit_test(test_a_table_of_fewer_entries),
        cmocka_unit_test(test_a_name_without_an_end),
        cmocka_unit_test(test_a_new_table),
        cmocka_unit_test(test_setting_an_entry_leaves_the_rest),
        cmocka_unit_test(test_guid_text),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
