/* Both tables read as one: what is found on sound and on broken disks. */
#include "part/table.h"

#include "disk_maker.h"

static struct table *read_table(struct memory *memory)
{
    struct table *table = NULL;
    struct chr_error err;

    assert_done(table_read(&memory->blk, &table, &err), &err);
    return table;
}

static void done(struct memory *memory, struct table *table)
{
    table_free(&table);
    memory_free(memory);
}

/* The findings are exactly these IDs, in any order; ends with NULL. */
static void expect_findings(const struct table *table, ...)
{
    va_list args;
    size_t expected = 0;

    va_start(args, table);
    for (const char *id; (id = va_arg(args, const char *)) != NULL; expected++)
        if (!findings_has(&table->findings, id))
            fail_msg("no finding %s", id);
    va_end(args);
    for (size_t i = 0, seen = 0; i < table->findings.count; i++) {
        bool repeated = false;

        for (size_t k = 0; k < i; k++)
            repeated |= strcmp(table->findings.items[k].id, table->findings.items[i].id) == 0;
        seen += !repeated;
        if (seen > expected)
            fail_msg("more than expected: %s: %s", table->findings.items[i].id,
                     table->findings.items[i].text);
    }
}

static void expect_partition(const struct table *table, size_t index, unsigned number,
                             uint64_t first, uint64_t last, uint64_t stored)
{
    const struct partition *p = &table->partitions[index];

    assert_true(index < table->partition_count);
    assert_int_equal(p->number, number);
    assert_int_equal(p->first_lba, first);
    assert_int_equal(p->last_lba, last);
    assert_int_equal(p->stored_last_lba, stored);
}

/* ---- sound disks ---- */

static void test_a_stock_disk(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table = read_table(memory);

    (void)state;
    assert_int_equal(table->source, TABLE_GPT_PRIMARY);
    assert_ptr_equal(table_gpt(table), &table->primary.gpt);
    assert_true(table->has_mbr && table->primary.sound && table->backup.sound);
    assert_int_equal(table->backup.lba, 6033);
    assert_int_equal(table->backup_expected_lba, 8191);
    assert_int_equal(table->partition_count, 2);
    expect_partition(table, 0, 1, 34, 2081, 2081);
    expect_partition(table, 1, 2, 2082, 6000, 6000);
    assert_int_equal(table->partitions[1].mbr_slot, 1);
    assert_int_equal(table->partitions[1].gpt_slot, 1);
    assert_ptr_equal(table_boot_partition(table), &table->partitions[0]);
    expect_findings(table, "gpt-backup-not-at-end", "mbr-no-protective", NULL);
    assert_int_equal(memory->log_count, 0);
    done(memory, table);
}

static void test_a_disk_without_fault(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.backup_lba = 8191;
    spec.last_usable = 8158;
    spec.protective = true;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_findings(table, NULL);
    done(memory, table);
}

static void test_an_mbr_alone(void **state)
{
    struct disk_spec spec = {
        .sectors = 8192,
        .no_gpt = true,
        .partitions = {{true, false, 1, 2080, 0, NULL}, {true, false, 2081, 8191, 0, NULL}},
    };
    struct memory *memory = make_disk(&spec);
    struct table *table = read_table(memory);

    (void)state;
    assert_int_equal(table->source, TABLE_MBR);
    assert_null(table_gpt(table));
    expect_partition(table, 0, 1, 1, 2080, 2080);
    expect_partition(table, 1, 2, 2081, 8191, 8191);
    assert_int_equal(table->partitions[0].gpt_slot, -1);
    expect_findings(table, NULL);
    done(memory, table);
}

/* A third one that lies first on the disk and has no place in the MBR. */
static void test_partitions_come_in_the_order_of_the_disk(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[0].first = 1000;
    spec.partitions[2] = (struct disk_partition){false, true, 100, 199, 0, "third"};
    memory = make_disk(&spec);
    table = read_table(memory);
    assert_int_equal(table->partition_count, 3);
    expect_partition(table, 0, 3, 100, 199, 199);
    expect_partition(table, 1, 1, 1000, 2081, 2081);
    expect_partition(table, 2, 2, 2082, 6000, 6000);
    assert_int_equal(table->partitions[0].mbr_slot, -1);
    assert_ptr_equal(table_boot_partition(table), &table->partitions[1]);
    expect_findings(table, "gpt-backup-not-at-end", "mbr-no-protective", "mbr-gpt-differ", NULL);
    done(memory, table);
}

static void test_boot_is_the_active_partition_else_the_first(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[446] = 0;
    table = read_table(memory);
    assert_ptr_equal(table_boot_partition(table), &table->partitions[0]);
    table_free(&table);
    memory->bytes[446 + 16] = 0x80;
    table = read_table(memory);
    assert_ptr_equal(table_boot_partition(table), &table->partitions[1]);
    done(memory, table);
}

/* ---- ends one too high: RouterOS 7.15 to 7.18 ---- */

static void test_overlaps_are_read_as_they_are_meant(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[0].last = 2082;
    spec.partitions[0].mbr_last = 2081;
    spec.partitions[1].last = 6001;
    spec.partitions[1].mbr_last = 6000;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 0, 1, 34, 2081, 2082);
    expect_partition(table, 1, 2, 2082, 6000, 6001);
    expect_findings(table, "gpt-overlap", "gpt-overlaps-backup", "gpt-backup-not-at-end",
                    "mbr-gpt-differ", "mbr-no-protective", NULL);
    done(memory, table);
}

/* The MBR's end counts where it is the shorter one; without the MBR, the neighbour's start. */
static void test_an_overlap_ends_where_the_mbr_says(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[0].last = 2082;
    spec.partitions[0].mbr_last = 2000;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 0, 1, 34, 2000, 2082);
    done(memory, table);
    spec.partitions[0].mbr_last = 3000;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 0, 1, 34, 2081, 2082);
    done(memory, table);
}

static void test_partitions_that_begin_at_one_place_are_refused(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table = NULL;
    struct chr_error err;

    (void)state;
    spec.partitions[1].first = 34;
    memory = make_disk(&spec);
    assert_refused(table_read(&memory->blk, &table, &err), &err, CHR_E_DAMAGED,
                   "begins at LBA 34, inside of what follows it");
    assert_null(table);
    memory_free(memory);
}

/* More than one too high, and nothing says where the end is: it stays, and is marked. */
static void test_an_end_that_nobody_knows_stays(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[0].last = 2500;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 0, 1, 34, 2500, 2500);
    assert_int_equal(table->partitions[0].runs_into, 2082);
    expect_findings(table, "gpt-overlap", "gpt-backup-not-at-end", "mbr-no-protective", NULL);
    done(memory, table);
    spec = stock_disk();
    spec.partitions[1].last = 6100;
    spec.partitions[1].in_mbr = false;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 1, 2, 2082, 6100, 6100);
    assert_int_equal(table->partitions[1].runs_into, 6001);
    expect_findings(table, "gpt-overlaps-backup", "gpt-usable-range", "mbr-gpt-differ",
                    "gpt-backup-not-at-end", "mbr-no-protective", NULL);
    done(memory, table);
}

/* Disk, partition and backup have grown, and the usable range was left behind. */
static void test_a_stale_usable_range_cuts_nothing(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.backup_lba = 8191;
    spec.partitions[1].last = 8158;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 1, 2, 2082, 8158, 8158);
    assert_int_equal(table->partitions[1].runs_into, 0);
    expect_findings(table, "gpt-usable-range", "mbr-no-protective", NULL);
    done(memory, table);
}

/* Where both tables agree, the backup inside is an old one. */
static void test_what_both_tables_say_is_not_cut(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[1].last = 7000;
    spec.last_usable = 8158;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_partition(table, 1, 2, 2082, 7000, 7000);
    assert_int_equal(table->partitions[1].runs_into, 0);
    expect_findings(table, "gpt-overlaps-backup", "gpt-backup-not-at-end", "mbr-no-protective",
                    NULL);
    done(memory, table);
}

/* The backup is not sound, so where the primary says that it is must do. */
static void test_an_overlap_of_a_damaged_backup(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[1].last = 6001;
    spec.partitions[1].mbr_last = 6000;
    memory = make_disk(&spec);
    memory->bytes[6033 * SECTOR + 60] ^= 1;
    table = read_table(memory);
    expect_partition(table, 1, 2, 2082, 6000, 6001);
    done(memory, table);
}

/* ---- damaged copies ---- */

/* Found behind the partitions, but it is the backup of another primary. */
static void test_a_found_backup_of_another_primary_is_not_believed(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[SECTOR + 60] ^= 1;
    put_le64(memory->bytes + 6033 * SECTOR + 32, 77);
    seal_copy(memory->bytes, 6033);
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_MBR);
    assert_string_equal(table->backup.problem, "it says that the primary is at LBA 77, not 1");
    expect_findings(table, "gpt-primary-damaged", "gpt-backup-damaged", NULL);
    done(memory, table);
}

/* The primary names itself as its backup. */
static void test_a_primary_is_not_its_own_backup(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    put_le64(memory->bytes + SECTOR + 32, 1);
    seal_copy(memory->bytes, 1);
    table = read_table(memory);
    assert_int_equal(table->backup.lba, 6033);
    done(memory, table);
}

static void test_a_damaged_primary(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[SECTOR + 60] ^= 1;
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_GPT_BACKUP);
    assert_ptr_equal(table_gpt(table), &table->backup.gpt);
    assert_true(table->primary.present && !table->primary.sound);
    assert_string_equal(table->primary.problem, "header CRC is wrong");
    assert_int_equal(table->backup.lba, 6033); /* found behind the MBR's last partition */
    expect_partition(table, 1, 2, 2082, 6000, 6000);
    expect_findings(table, "gpt-primary-damaged", "gpt-backup-not-at-end", "mbr-no-protective",
                    NULL);
    done(memory, table);
}

static void test_a_missing_primary(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.backup_lba = 8191;
    spec.last_usable = 8158;
    memory = make_disk(&spec);
    memset(memory->bytes + SECTOR, 0, 33 * SECTOR);
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_GPT_BACKUP);
    expect_findings(table, "gpt-primary-missing", "mbr-no-protective", NULL);
    done(memory, table);
}

static void test_a_damaged_backup(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[6001 * SECTOR] ^= 1;
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_GPT_PRIMARY);
    assert_false(table->backup.sound);
    assert_string_equal(table->backup.problem, "CRC of the entries is wrong");
    expect_findings(table, "gpt-backup-damaged", "mbr-no-protective", NULL);
    table_free(&table);
    memset(memory->bytes + 6033 * SECTOR, 0, SECTOR);
    table = read_table(memory);
    expect_findings(table, "gpt-backup-missing", "mbr-no-protective", NULL);
    done(memory, table);
}

/* The backup that the primary names is gone, but there is one in the last sector. */
static void test_a_backup_at_the_end_that_is_not_stated(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memset(memory->bytes + 6033 * SECTOR, 0, SECTOR);
    put_gpt_copy(memory->bytes, &spec, 8191, 1, 8159);
    table = read_table(memory);
    assert_true(table->backup.sound);
    assert_int_equal(table->backup.lba, 8191);
    expect_findings(table, "mbr-no-protective", NULL);
    done(memory, table);
}

static void test_both_copies_damaged(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[SECTOR + 60] ^= 1;
    memory->bytes[6033 * SECTOR + 60] ^= 1;
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_MBR);
    expect_partition(table, 0, 1, 34, 2081, 2081);
    expect_partition(table, 1, 2, 2082, 6000, 6000);
    expect_findings(table, "gpt-primary-damaged", "gpt-backup-damaged", NULL);
    done(memory, table);
}

static void test_copies_that_differ(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[6001 * SECTOR + ENTRY_BYTES + 56] = 'X';
    seal_copy(memory->bytes, 6033);
    table = read_table(memory);
    assert_int_equal(table->source, TABLE_GPT_PRIMARY);
    expect_findings(table, "gpt-copies-differ", "gpt-backup-not-at-end", "mbr-no-protective",
                    NULL);
    done(memory, table);
}

/* A disk that was made larger: the backup was at its end once. */
static void test_a_grown_disk(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.sectors = 65536;
    memory = make_disk(&spec);
    table = read_table(memory);
    assert_int_equal(table->disk_sectors, 65536);
    assert_int_equal(table->backup_expected_lba, 65535);
    assert_true(table->backup.sound);
    expect_findings(table, "gpt-backup-not-at-end", "mbr-no-protective", NULL);
    done(memory, table);
}

/* ---- disagreements ---- */

static void test_the_mbr_and_the_gpt_differ(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;
    struct table *table;

    (void)state;
    spec.partitions[1].mbr_last = 5000;
    memory = make_disk(&spec);
    table = read_table(memory);
    expect_findings(table, "gpt-backup-not-at-end", "mbr-gpt-differ", "mbr-no-protective", NULL);
    done(memory, table);
    spec = stock_disk();
    spec.partitions[3] = (struct disk_partition){true, false, 7000, 7999, 0, NULL};
    memory = make_disk(&spec);
    table = read_table(memory);
    assert_int_equal(table->partition_count, 2);
    expect_findings(table, "gpt-backup-not-at-end", "mbr-gpt-differ", "mbr-no-protective", NULL);
    done(memory, table);
}

static void test_an_extended_partition_is_noted_and_not_read(void **state)
{
    struct disk_spec spec = {
        .sectors = 8192,
        .no_gpt = true,
        .partitions = {{true, false, 34, 2080, 0, NULL}, {true, false, 2081, 8191, 0, NULL}},
    };
    struct memory *memory = make_disk(&spec);
    struct table *table;

    (void)state;
    memory->bytes[446 + 16 + 4] = 0x0F;
    table = read_table(memory);
    assert_int_equal(table->partition_count, 1);
    expect_findings(table, "mbr-extended", NULL);
    done(memory, table);
}

/* ---- refusals ---- */

static void refuse(struct memory *memory, enum chr_code code, const char *text)
{
    struct table *table = NULL;
    struct chr_error err;

    assert_refused(table_read(&memory->blk, &table, &err), &err, code, text);
    assert_null(table);
    memory_free(memory);
}

static void test_what_leaves_nothing_to_work_on(void **state)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    (void)state;
    refuse(memory_new(8192 * SECTOR), CHR_E_DAMAGED, "neither MBR nor GPT");
    refuse(memory_new(2047 * SECTOR), CHR_E_DAMAGED, "is no size for a CHR disk");
    refuse(memory_new(0), CHR_E_DAMAGED, "is no size for a CHR disk");
    memory = memory_new(8192 * SECTOR);
    memory->bytes[510] = 0x55;
    memory->bytes[511] = 0xAA;
    refuse(memory, CHR_E_DAMAGED, "the partition table has no partitions");
    memory = make_disk(&spec);
    memset(memory->bytes + SECTOR, 0, SECTOR);
    memcpy(memory->bytes + 4096, "EFI PART", 8);
    refuse(memory, CHR_E_UNSUPPORTED, "sectors of 4096 bytes");
    memory = make_disk(&spec);
    memory->read_fault = true;
    refuse(memory, CHR_E_IO, "read fault");
}

/* A GPT that may be sound, of a kind that we do not know, is neither used nor passed over. */
static void test_a_gpt_of_an_unknown_kind(void **state)
{
    static const struct {
        uint64_t lba;
        size_t field;
        uint32_t value;
        const char *text;
    } cases[] = {
        {1, 84, 256, "GPT at LBA 1: entries of 256 bytes"},
        {1, 80, 256, "GPT at LBA 1: 256 entries"},
        {6033, 84, 256, "GPT at LBA 6033: entries of 256 bytes"},
    };
    struct disk_spec spec = stock_disk();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct memory *memory = make_disk(&spec);

        put_le32(memory->bytes + cases[i].lba * SECTOR + cases[i].field, cases[i].value);
        seal_copy(memory->bytes, cases[i].lba);
        refuse(memory, CHR_E_UNSUPPORTED, cases[i].text);
    }
}

static void refuse_gpt_entry(uint64_t first, uint64_t last)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory = make_disk(&spec);

    put_le64(memory->bytes + 2 * SECTOR + ENTRY_BYTES + 32, first);
    put_le64(memory->bytes + 2 * SECTOR + ENTRY_BYTES + 40, last);
    seal_copy(memory->bytes, 1);
    refuse(memory, CHR_E_DAMAGED, "GPT: partition 2 (LBA ");
}

static void refuse_mbr_entry(uint32_t first, uint32_t sectors)
{
    struct disk_spec spec = stock_disk();
    struct memory *memory;

    spec.no_gpt = true;
    memory = make_disk(&spec);
    put_le32(memory->bytes + 446 + 16 + 8, first);
    put_le32(memory->bytes + 446 + 16 + 12, sectors);
    refuse(memory, CHR_E_DAMAGED, "MBR: partition 2 (LBA ");
}

static void test_partitions_outside_the_disk(void **state)
{
    (void)state;
    refuse_gpt_entry(2082, 8192);
    refuse_gpt_entry(2082, UINT64_MAX);
    refuse_gpt_entry(UINT64_MAX, 1);
    refuse_gpt_entry(3000, 2999);
    refuse_mbr_entry(0, 100);
    refuse_mbr_entry(100, 0);
    refuse_mbr_entry(8000, 193);
    refuse_mbr_entry(UINT32_MAX, UINT32_MAX);
}

/* Any byte of the tables, any value: no crash, and what is given is within the disk, in order. */
static void test_random_damage(void **state)
{
    struct dice dice = {55};

    (void)state;
    for (int round = 0; round < 800; round++) {
        struct disk_spec spec = stock_disk();
        struct memory *memory;
        struct table *table = NULL;
        struct chr_error err;

        spec.no_gpt = round % 4 == 0;
        memory = make_disk(&spec);
        for (uint64_t i = 1 + roll_below(&dice, 3); i > 0; i--)
            memory->bytes[roll_below(&dice, 2) == 0 ? 446 + roll_below(&dice, 64)
                                                    : SECTOR + roll_below(&dice, 1300)] =
                (uint8_t)roll(&dice);
        if (round % 4 != 0 && roll_below(&dice, 2) == 0 &&
            le32(memory->bytes + SECTOR + 80) <= 128 && le32(memory->bytes + SECTOR + 84) <= 128 &&
            le32(memory->bytes + SECTOR + 12) <= 512 && le64(memory->bytes + SECTOR + 72) < 8000)
            seal_copy(memory->bytes, 1);
        if (table_read(&memory->blk, &table, &err) == 0)
            for (size_t i = 0; i < table->partition_count; i++) {
                const struct partition *p = &table->partitions[i];

                assert_true(p->first_lba <= p->last_lba && p->last_lba < 8192);
                assert_true(p->last_lba <= p->stored_last_lba);
                assert_true(i + 1 == table->partition_count || p->last_lba < p[1].first_lba ||
                            p->runs_into == p[1].first_lba);
            }
        else
            assert_true(err.code == CHR_E_DAMAGED || err.code == CHR_E_UNSUPPORTED);
        done(memory, table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stock_disk),
        cmocka_unit_test(test_a_disk_without_fault),
        cmocka_unit_test(test_an_mbr_alone),
        cmocka_unit_test(test_partitions_come_in_the_order_of_the_disk),
        cmocka_unit_test(test_boot_is_the_active_partition_else_the_first),
        cmocka_unit_test(test_overlaps_are_read_as_they_are_meant),
        cmocka_unit_test(test_an_overlap_ends_where_the_mbr_says),
        cmocka_unit_test(test_partitions_that_begin_at_one_place_are_refused),
        cmocka_unit_test(test_an_end_that_nobody_knows_stays),
        cmocka_unit_test(test_a_stale_usable_range_cuts_nothing),
        cmocka_unit_test(test_what_both_tables_say_is_not_cut),
        cmocka_unit_test(test_an_overlap_of_a_damaged_backup),
        cmocka_unit_test(test_a_found_backup_of_another_primary_is_not_believed),
        cmocka_unit_test(test_a_primary_is_not_its_own_backup),
        cmocka_unit_test(test_a_gpt_of_an_unknown_kind),
        cmocka_unit_test(test_a_damaged_primary),
        cmocka_unit_test(test_a_missing_primary),
        cmocka_unit_test(test_a_damaged_backup),
        cmocka_unit_test(test_a_backup_at_the_end_that_is_not_stated),
        cmocka_unit_test(test_both_copies_damaged),
        cmocka_unit_test(test_copies_that_differ),
        cmocka_unit_test(test_a_grown_disk),
        cmocka_unit_test(test_the_mbr_and_the_gpt_differ),
        cmocka_unit_test(test_an_extended_partition_is_noted_and_not_read),
        cmocka_unit_test(test_what_leaves_nothing_to_work_on),
        cmocka_unit_test(test_partitions_outside_the_disk),
        cmocka_unit_test(test_random_damage),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
