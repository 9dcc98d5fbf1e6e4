/*
 * Mending the tables: judged by reading them again, by the test's own CRC, by
 * the bytes that may not change, and by cutting the power at every write.
 */
#include "disk_maker.h"
#include "part/table.h"

#define LAST(spec) ((spec)->sectors - 1)

struct mended {
    bool has_gpt;
    int result;
    struct chr_error err;
};

/* Read the table of MEMORY and mend it there. */
static struct mended mend(struct memory *memory, bool keep_mbr)
{
    struct mended mended = {0};
    struct table *table = NULL;
    struct table_mend_options options = {.keep_mbr = keep_mbr};

    put_guid(options.seed, 0x77);
    assert_done(table_read(&memory->blk, &table, &mended.err), &mended.err);
    options.boot = table_boot_partition(table);
    mended.result = table_mend(&memory->blk, table, &options, &mended.has_gpt, &mended.err);
    table_free(&table);
    return mended;
}

static void expect_gpt(struct mended mended)
{
    if (mended.result != 0 || !mended.has_gpt)
        fail_msg("no GPT was made: %s", mended.err.message);
}

/* Both copies sound, at their places, alike; boot is the ESP; nothing is left to say. */
static void check_result(struct memory *memory, const struct disk_spec *spec)
{
    const uint8_t *disk = memory->bytes;
    const uint8_t *primary = disk + SECTOR;
    const uint8_t *backup = disk + LAST(spec) * SECTOR;
    struct table *table = NULL;
    struct chr_error err;

    assert_true(copy_is_sound(disk, spec->sectors, 1));
    assert_true(copy_is_sound(disk, spec->sectors, LAST(spec)));
    assert_int_equal(le64(primary + 32), LAST(spec));
    assert_int_equal(le64(backup + 32), 1);
    assert_int_equal(le64(primary + 72), 2);
    assert_int_equal(le64(backup + 72), LAST(spec) - 32);
    assert_int_equal(le64(primary + 40), 34);
    assert_int_equal(le64(primary + 48), LAST(spec) - 33);
    assert_memory_equal(disk + 2 * SECTOR, disk + (LAST(spec) - 32) * SECTOR,
                        (size_t)le32(primary + 80) * ENTRY_BYTES);
    assert_memory_equal(disk + 2 * SECTOR, gpt_type_esp, 16);
    assert_done(table_read(&memory->blk, &table, &err), &err);
    assert_int_equal(table->source, TABLE_GPT_PRIMARY);
    for (size_t i = 0; i < table->findings.count; i++)
        if (strncmp(table->findings.items[i].id, "gpt-", 4) == 0)
            fail_msg("still: %s", table->findings.items[i].text);
    assert_ptr_equal(table_boot_partition(table), &table->partitions[0]);
    table_free(&table);
}

static bool is_declared(const struct disk_spec *spec, uint64_t lba)
{
    return lba < 34 || lba >= LAST(spec) - 32 || (!spec->no_gpt && lba == spec->backup_lba);
}

/* MBR bytes 0-445 and entries 1 and 2, and all that is not table, are as before. */
static void check_untouched(const uint8_t *before, const struct memory *memory,
                            const struct disk_spec *spec)
{
    assert_memory_equal(memory->bytes, before, 446 + 32);
    for (uint64_t lba = 34; lba < spec->sectors; lba++)
        if (!is_declared(spec, lba) &&
            memcmp(memory->bytes + lba * SECTOR, before + lba * SECTOR, SECTOR) != 0)
            fail_msg("sector %d changed", (int)lba);
}

static uint8_t *copy_of(const struct memory *memory)
{
    uint8_t *copy = malloc(memory->blk.size);

    assert_non_null(copy);
    memcpy(copy, memory->bytes, memory->blk.size);
    return copy;
}

/* Mend the disk of SPEC, check all of it, and that a second time changes nothing. */
static struct memory *mend_and_check(const struct disk_spec *spec, struct memory *memory)
{
    uint8_t *before = copy_of(memory);
    uint8_t *after;

    expect_gpt(mend(memory, false));
    check_result(memory, spec);
    check_untouched(before, memory, spec);
    after = copy_of(memory);
    expect_gpt(mend(memory, false));
    assert_memory_equal(memory->bytes, after, memory->blk.size);
    free(before);
    free(after);
    return memory;
}

static struct disk_spec overlapping_disk(void)
{
    struct disk_spec spec = stock_disk();

    spec.partitions[0].last = 2082;
    spec.partitions[0].mbr_last = 2081;
    spec.partitions[1].last = 6001;
    spec.partitions[1].mbr_last = 6000;
    return spec;
}

/* ---- what comes out ---- */

static void test_a_stock_disk(void **state)
{
    static const uint8_t protective[16] = {0, 0, 2, 0, 0xEE, 0, 34, 0, 1, 0, 0, 0, 33, 0, 0, 0};
    struct disk_spec spec = stock_disk();
    struct memory *memory = mend_and_check(&spec, make_disk(&spec));
    const uint8_t *entries = memory->bytes + 2 * SECTOR;

    (void)state;
    assert_memory_equal(memory->bytes + 446 + 32, protective, 16);
    assert_true(is_zero(memory->bytes + 446 + 48, 16));
    assert_int_equal(le64(entries + 32), 34);
    assert_int_equal(le64(entries + 40), 2081);
    assert_int_equal(entries[16], 0x10); /* GUID, attributes and name stay */
    assert_true(le64(entries + 48) == UINT64_C(0x8000000000000004));
    assert_memory_equal(entries + 56, "R\0o\0u\0t\0e\0r\0", 12);
    assert_memory_equal(entries + ENTRY_BYTES, gpt_type_linux, 16);
    assert_int_equal(memory->bytes[SECTOR + 56], 0xD0);
    assert_true(is_zero(memory->bytes + 6033 * SECTOR, SECTOR));
    memory_free(memory);
}

static void test_overlaps_end_where_they_are_meant_to(void **state)
{
    struct disk_spec spec = overlapping_disk();
    struct memory *memory = mend_and_check(&spec, make_disk(&spec));

    (void)state;
    assert_int_equal(le64(memory->bytes + 2 * SECTOR + 40), 2081);
    assert_int_equal(le64(memory->bytes + 2 * SECTOR + ENTRY_BYTES + 40), 6000);
    memory_free(memory);
}

static void test_damaged_copies_are_made_again(void **state)
{
    static const size_t damage[][2] = {{SECTOR + 60, 0}, {6033 * SECTOR + 60, 0},
                                       {2 * SECTOR + 5, 0}, {SECTOR + 60, 6033 * SECTOR + 60}};
    struct disk_spec spec = stock_disk();

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct memory *memory = make_disk(&spec);

        memory->bytes[damage[i][0]] ^= 1;
        if (damage[i][1] != 0)
            memory->bytes[damage[i][1]] ^= 1;
        (void)mend_and_check(&spec, memory);
        assert_int_equal(le64(memory->bytes + 2 * SECTOR + ENTRY_BYTES + 40), 6000);
        memory_free(memory);
    }
}

static void test_a_grown_disk_and_a_backup_nearly_at_the_end(void **state)
{
    static const uint64_t sizes[] = {6034 + 1, 6034 + 20, 6034 + 32, 6034 + 33, 6034 + 34, 60000};
    struct disk_spec spec = stock_disk();

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        spec.sectors = sizes[i];
        memory_free(mend_and_check(&spec, make_disk(&spec)));
    }
}

static void test_a_third_partition_stays(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    uint8_t mbr_entry[16];

    (void)state;
    spec.partitions[2] = (struct disk_partition){true, true, 6100, 7000, 0, "third"};
    spec.last_usable = 8158;
    memory = make_disk(&spec);
    memcpy(mbr_entry, memory->bytes + 446 + 32, 16);
    (void)mend_and_check(&spec, memory);
    assert_memory_equal(memory->bytes + 446 + 32, mbr_entry, 16);
    assert_int_equal(memory->bytes[446 + 48 + 4], 0xEE);
    assert_int_equal(le64(memory->bytes + 2 * SECTOR + 2 * ENTRY_BYTES + 32), 6100);
    assert_int_equal(le64(memory->bytes + 2 * SECTOR + 2 * ENTRY_BYTES + 40), 7000);
    memory_free(memory);
}

static void test_the_old_backup_stays_where_a_partition_has_grown_over_it(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    (void)state;
    spec.partitions[1].last = 7000; /* and the primary still says 6033 */
    spec.last_usable = 8158;
    memory = make_disk(&spec);
    expect_gpt(mend(memory, false));
    assert_memory_equal(memory->bytes + 6033 * SECTOR, "EFI PART", 8);
    check_result(memory, &spec);
    memory_free(memory);
}

static void test_the_mbr_is_left_alone_when_asked_or_full(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    uint8_t mbr[SECTOR];

    (void)state;
    memcpy(mbr, memory->bytes, SECTOR);
    expect_gpt(mend(memory, true));
    assert_memory_equal(memory->bytes, mbr, SECTOR);
    check_result(memory, &spec);
    memory_free(memory);
    spec.protective = true;
    memory = make_disk(&spec);
    memcpy(mbr, memory->bytes, SECTOR);
    expect_gpt(mend(memory, false));
    assert_memory_equal(memory->bytes, mbr, SECTOR);
    memory_free(memory);
    spec = stock_disk();
    spec.last_usable = 8158;
    spec.partitions[2] = (struct disk_partition){true, true, 6100, 6200, 0, "3"};
    spec.partitions[3] = (struct disk_partition){true, true, 6300, 6400, 0, "4"};
    memory = make_disk(&spec);
    memcpy(mbr, memory->bytes, SECTOR);
    expect_gpt(mend(memory, false));
    assert_memory_equal(memory->bytes, mbr, SECTOR);
    check_result(memory, &spec);
    memory_free(memory);
}

/* ---- a GPT from the MBR ---- */

static struct disk_spec mbr_disk(uint64_t first, uint64_t end)
{
    return (struct disk_spec){
        .sectors = 8192,
        .no_gpt = true,
        .partitions = {{true, false, first, 2081, 0, NULL}, {true, false, 2082, end, 0, NULL}},
    };
}

static void test_a_gpt_is_made_where_there_is_room(void **state)
{
    struct disk_spec spec = mbr_disk(34, 8158);
    struct memory *memory = mend_and_check(&spec, make_disk(&spec));
    struct memory *again = make_disk(&spec);
    const uint8_t *entries = memory->bytes + 2 * SECTOR;

    (void)state;
    assert_int_equal(le64(entries + ENTRY_BYTES + 40), 8158);
    /* Three GUIDs, all different, marked as RFC 9562 says; the same in every run. */
    assert_memory_not_equal(entries + 16, entries + ENTRY_BYTES + 16, 16);
    assert_memory_not_equal(entries + 16, memory->bytes + SECTOR + 56, 16);
    assert_int_equal(entries[16 + 7] >> 4, 8);
    assert_int_equal(entries[16 + 8] >> 6, 2);
    expect_gpt(mend(again, false));
    assert_memory_equal(again->bytes, memory->bytes, memory->blk.size);
    memory_free(again);
    memory_free(memory);
}

/* Nothing is written where a GPT would destroy something. */
static void test_without_room_the_mbr_stays_alone(void **state)
{
    struct disk_spec specs[] = {mbr_disk(1, 8158), mbr_disk(33, 8158), mbr_disk(34, 8159),
                                mbr_disk(34, 8158)};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct memory *memory = make_disk(&specs[i]);
        struct mended mended;

        if (i == 3)
            memory->bytes[20 * SECTOR + 3] = 1; /* a boot manager lives there */
        mended = mend(memory, false);
        assert_int_equal(mended.result, 0);
        assert_false(mended.has_gpt);
        assert_int_equal(memory->log_count, 0);
        memory_free(memory);
    }
}

/* ---- refusals, which write nothing ---- */

static void refuse(struct memory *memory, enum chr_code code, const char *text)
{
    struct mended mended = mend(memory, false);

    if (mended.result == 0 || mended.err.code != code || strstr(mended.err.message, text) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", text, mended.err.message);
    assert_int_equal(memory->log_count, 0);
    memory_free(memory);
}

static void test_refusals(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    (void)state;
    spec.last_usable = 8191;
    spec.partitions[1].last = 8180;
    spec.backup_lba = 8191;
    spec.partitions[1].in_mbr = true;
    memory = make_disk(&spec);
    memset(memory->bytes + 8159 * SECTOR, 0, 33 * SECTOR);
    refuse(memory, CHR_E_DAMAGED, "no room for the GPT");
    spec = stock_disk();
    spec.backup_lba = 8191;
    memory = make_disk(&spec);
    memcpy(memory->bytes + SECTOR, "boot manager", 12);
    refuse(memory, CHR_E_REFUSED, "LBA 1-33 hold something that is not the primary GPT");
    spec = mbr_disk(34, 5000);
    memory = make_disk(&spec);
    memory->bytes[446 + 16 + 4] = 0x05;
    refuse(memory, CHR_E_REFUSED, "extended partition");
    spec = stock_disk();
    memory = make_disk(&spec);
    put_le32(memory->bytes + 446 + 8, 40);
    refuse(memory, CHR_E_DAMAGED, "begin in different places");
}

/* RouterOS follows the MBR: what it has and the GPT has not would be written over. */
static void test_an_mbr_that_has_more_than_the_gpt(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    spec.partitions[1].mbr_last = 8191; /* the disk was grown by a tool that knows the MBR only */
    refuse(make_disk(&spec), CHR_E_REFUSED,
           "partition 2 is LBA 2082-8191 in the MBR, but ends at LBA 6000 in the GPT");
    spec.partitions[1].mbr_last = 6001;
    refuse(make_disk(&spec), CHR_E_REFUSED, "partition 2 is LBA 2082-6001 in the MBR");
    spec = stock_disk();
    spec.partitions[2] = (struct disk_partition){true, false, 7000, 7099, 0, NULL};
    refuse(make_disk(&spec), CHR_E_REFUSED, "entry 3 of the MBR (LBA 7000-7099) is not in the GPT");
    spec.partitions[2].in_mbr = false;
    spec.partitions[3] = (struct disk_partition){true, false, 8190, 8191, 0, NULL};
    refuse(make_disk(&spec), CHR_E_REFUSED, "entry 4 of the MBR (LBA 8190-8191) is not in the GPT");
}

static void test_an_mbr_that_begins_elsewhere(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);

    (void)state;
    put_le32(memory->bytes + 446 + 16 + 8, 2090);
    refuse(memory, CHR_E_DAMAGED,
           "number 2 is LBA 2090-6008 in the MBR, 2082-6000 in the GPT");
}

static void test_ends_that_nobody_knows(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    spec.partitions[0].last = 2500;
    refuse(make_disk(&spec), CHR_E_DAMAGED,
           "partition 1 (LBA 34-2500) ends inside the next partition at LBA 2082");
    spec = stock_disk();
    spec.partitions[1].last = 6100;
    spec.partitions[1].in_mbr = false;
    refuse(make_disk(&spec), CHR_E_DAMAGED,
           "partition 2 (LBA 2082-6100) ends inside the backup GPT's entries at LBA 6001");
    spec = mbr_disk(34, 5000);
    spec.partitions[0].last = 2500;
    refuse(make_disk(&spec), CHR_E_DAMAGED, "ends inside the next partition");
}

static void test_a_stale_usable_range_is_made_anew(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    (void)state;
    spec.backup_lba = 8191;
    spec.partitions[1].last = 8158;
    memory = mend_and_check(&spec, make_disk(&spec));
    assert_int_equal(le64(memory->bytes + 2 * SECTOR + ENTRY_BYTES + 40), 8158);
    memory_free(memory);
}

/* What lies in the last 33 sectors and is no GPT is not ours to write over. */
static void test_the_end_of_the_disk_is_in_use(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct mended mended;

    (void)state;
    for (uint64_t lba = 8159; lba < 8192; lba += 16) {
        memory = make_disk(&spec);
        memory->bytes[lba * SECTOR + 300] = 1;
        refuse(memory, CHR_E_REFUSED, "the last 33 sectors (LBA 8159-8191) hold something");
    }
    memory = make_disk(&spec);
    put_gpt_copy(memory->bytes, &spec, 8191, 1, 8159); /* an old copy may go */
    memory->bytes[8170 * SECTOR] = 1;
    expect_gpt(mend(memory, false));
    check_result(memory, &spec);
    memory_free(memory);
    spec = mbr_disk(34, 8100);
    memory = make_disk(&spec);
    memory->bytes[8180 * SECTOR] = 1;
    mended = mend(memory, false);
    assert_int_equal(mended.result, 0);
    assert_false(mended.has_gpt);
    assert_int_equal(memory->log_count, 0);
    memory_free(memory);
}

/* ---- repair ---- */

static void repair(struct memory *memory, const char *expected, const char *refusal)
{
    struct table *table = NULL;
    struct chr_error err;
    const char *done = NULL;

    assert_done(table_read(&memory->blk, &table, &err), &err);
    if (refusal != NULL) {
        assert_refused(table_repair_gpt(&memory->blk, table, &done, &err), &err, CHR_E_REFUSED,
                       refusal);
        assert_null(done);
        assert_int_equal(memory->log_count, 0);
    } else {
        assert_done(table_repair_gpt(&memory->blk, table, &done, &err), &err);
        assert_string_equal(done, expected);
        assert_true(copy_is_sound(memory->bytes, 8192, 1));
    }
    table_free(&table);
    memory_free(memory);
}

static void test_repair_of_either_copy(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);

    (void)state;
    memory->bytes[SECTOR + 60] ^= 1;
    repair(memory, "primary", NULL);
    memory = make_disk(&spec);
    memory->bytes[6033 * SECTOR + 60] ^= 1;
    repair(memory, "backup", NULL);
}

static void test_repair_refuses_where_no_copy_can_be(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    (void)state;
    spec.backup_lba = 8191;
    spec.last_usable = 8158;
    memory = make_disk(&spec);
    memory->bytes[SECTOR + 60] ^= 1;
    put_le64(memory->bytes + 8191 * SECTOR + 32, 20);
    seal_copy(memory->bytes, 8191);
    repair(memory, NULL, "the backup GPT at LBA 8191 says that the primary is at LBA 20, not 1");
    spec = stock_disk();
    spec.partitions[2] = (struct disk_partition){true, false, 6010, 6020, 0, NULL};
    memory = make_disk(&spec);
    memset(memory->bytes + 6033 * SECTOR, 0, SECTOR);
    repair(memory, NULL, "the backup GPT cannot be written at LBA 6033: it is not free");
}

/* ---- the order of the writes, and the power cut at each ---- */

static void test_the_order_of_the_writes(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    const uint64_t lbas[] = {8159, 8191, 2, 1, 0, 6033};

    (void)state;
    expect_gpt(mend(memory, false));
    assert_int_equal(memory->log_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(memory->log[i].off, lbas[i] * SECTOR);
        assert_int_equal(memory->log[i].len, i % 2 == 0 && i < 4 ? 32 * SECTOR : SECTOR);
    }
    memory_free(memory);
}

/*
 * Mend a disk whose power goes after N writes, with TORN bytes of the next one
 * on it, for every N: the partitions can be read from a GPT as they were meant.
 */
static void cut_everywhere(const struct disk_spec *spec, size_t damaged_byte, size_t torn)
{
    for (size_t cut = 0;; cut++) {
        struct memory *memory = make_disk(spec);
        struct table *table = NULL;
        struct chr_error err;
        int result;

        memory->bytes[damaged_byte] ^= damaged_byte != 0;
        memory->writes_left = cut;
        memory->torn = torn;
        result = mend(memory, false).result;
        memory_reset(memory);
        assert_true(copy_is_sound(memory->bytes, spec->sectors, 1) ||
                    copy_is_sound(memory->bytes, spec->sectors, LAST(spec)) ||
                    copy_is_sound(memory->bytes, spec->sectors, spec->backup_lba));
        assert_done(table_read(&memory->blk, &table, &err), &err);
        assert_non_null(table_gpt(table));
        assert_int_equal(table->partition_count, 2);
        assert_int_equal(table->partitions[0].last_lba, 2081);
        assert_int_equal(table->partitions[1].last_lba, 6000);
        table_free(&table);
        expect_gpt(mend(memory, false));
        check_result(memory, spec);
        memory_free(memory);
        if (result == 0)
            return;
        assert_true(cut < 20);
    }
}

static void test_a_cut_leaves_a_sound_copy(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    cut_everywhere(&spec, 0, 0);
    cut_everywhere(&spec, 0, 100);
    cut_everywhere(&spec, 0, SECTOR);
    spec.backup_lba = 8191;
    spec.last_usable = 8158;
    cut_everywhere(&spec, 0, 0);
    cut_everywhere(&spec, 0, 100);
}

/* Old and new backup overlap: the old header lies where new entries go. */
static void test_a_cut_where_the_backups_overlap(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    spec.sectors = 6034 + 10;
    cut_everywhere(&spec, 0, 0);
    cut_everywhere(&spec, 0, SECTOR);
}

static void test_a_cut_where_only_a_backup_elsewhere_is_sound(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    cut_everywhere(&spec, SECTOR + 60, 0);
    cut_everywhere(&spec, SECTOR + 60, SECTOR);
}

/* The only sound copy lies where the new backup goes: it must not be written over first. */
static void test_a_cut_where_only_the_backup_at_the_end_is_sound(void **state)
{
    struct disk_spec spec = stock_disk();

    (void)state;
    spec.backup_lba = 8191;
    spec.last_usable = 8158;
    cut_everywhere(&spec, SECTOR + 60, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stock_disk),
        cmocka_unit_test(test_overlaps_end_where_they_are_meant_to),
        cmocka_unit_test(test_damaged_copies_are_made_again),
        cmocka_unit_test(test_a_grown_disk_and_a_backup_nearly_at_the_end),
        cmocka_unit_test(test_a_third_partition_stays),
        cmocka_unit_test(test_the_old_backup_stays_where_a_partition_has_grown_over_it),
        cmocka_unit_test(test_the_mbr_is_left_alone_when_asked_or_full),
        cmocka_unit_test(test_a_gpt_is_made_where_there_is_room),
        cmocka_unit_test(test_without_room_the_mbr_stays_alone),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_an_mbr_that_has_more_than_the_gpt),
        cmocka_unit_test(test_an_mbr_that_begins_elsewhere),
        cmocka_unit_test(test_ends_that_nobody_knows),
        cmocka_unit_test(test_a_stale_usable_range_is_made_anew),
        cmocka_unit_test(test_the_end_of_the_disk_is_in_use),
        cmocka_unit_test(test_repair_of_either_copy),
        cmocka_unit_test(test_repair_refuses_where_no_copy_can_be),
        cmocka_unit_test(test_the_order_of_the_writes),
        cmocka_unit_test(test_a_cut_leaves_a_sound_copy),
        cmocka_unit_test(test_a_cut_where_the_backups_overlap),
        cmocka_unit_test(test_a_cut_where_only_a_backup_elsewhere_is_sound),
        cmocka_unit_test(test_a_cut_where_only_the_backup_at_the_end_is_sound),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
