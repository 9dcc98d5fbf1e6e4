/*
 * Check and repair: what is found, what is mended, what is left alone; marks and
 * bits of the header; the writer when its file fails.
 */
#include "qcow2/refcount.h"
#include "qcow2_test.h"

enum { CLUSTER = 4096, DISK = 1 << 20 };

static struct rig_state rig;

static void make_image(void)
{
    struct qcow2_create_options options = {.cluster_size = CLUSTER, .resize = rig_resize};
    struct blk *file;
    struct blk *image;

    rig.size = rig.stable_size = 0;
    rig.fail_at = 0;
    memset(rig.bytes, 0, RIG_ROOM);
    file = rig_open(&rig);
    assert_ok(qcow2_create(file, DISK, &options, &test_error));
    assert_ok(blk_close(file, &test_error));
    image = rig_open_image(&rig, true, NULL);
    assert_non_null(image);
    assert_ok(blk_write(image, 5000, "first", 5, &test_error));
    assert_ok(qcow2_snapshot_create(image, "s", 1, 0, &test_error));
    assert_ok(blk_write(image, 50000, "second", 6, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
}

static int make_rig(void **state)
{
    rig_new(&rig);
    return make_folder(state);
}

static int drop_rig(void **state)
{
    rig_release(&rig);
    return remove_folder(state);
}

static uint8_t *refcount_at(uint64_t cluster)
{
    uint64_t block = be64(rig.bytes + be64(rig.bytes + 48));

    return rig.bytes + block + cluster * 2;
}

static struct blk *open_for_repair(void)
{
    struct qcow2_open_options options = {
        .writable = true, .for_repair = true, .resize = rig_resize};
    struct blk *image;

    assert_ok(qcow2_open(rig_open(&rig), &options, &image, &test_error));
    return image;
}

/* The counts of a check, by our check and by qemu-img's exit status. */
static void assert_counts(uint64_t leaks, uint64_t corruptions)
{
    struct blk *image = rig_open_image(&rig, false, NULL);
    struct qcow2_check_report report;

    assert_non_null(image);
    assert_ok(qcow2_check(image, &report, &test_error));
    assert_ok(blk_close(image, &test_error));
    assert_int_equal(report.leaks, leaks);
    assert_int_equal(report.corruptions, corruptions);
    if (!have_qemu())
        return;
    rig_save(&rig, "check.qcow2");
    assert_int_equal(status_of("qemu-img check check.qcow2"),
                     corruptions != 0 ? 2 : leaks != 0 ? 3 : 0);
}

static void repair(enum qcow2_repair_what what, int expected)
{
    struct blk *image = open_for_repair();
    struct qcow2_check_report report;

    if (qcow2_repair(image, what, &report, &test_error) != expected)
        fail_msg("repair: %s", test_error.message);
    assert_ok(blk_close(image, &test_error));
}

static void assert_contents(void)
{
    struct blk *image = rig_open_image(&rig, true, NULL);
    char text[7] = "";

    assert_non_null(image);
    assert_ok(blk_read(image, 50000, text, 6, &test_error));
    assert_string_equal(text, "second");
    assert_ok(blk_close(image, &test_error));
    image = rig_open_image(&rig, false, "s");
    memset(text, 0, sizeof text);
    assert_ok(blk_read(image, 5000, text, 5, &test_error));
    assert_string_equal(text, "first");
    assert_ok(blk_read(image, 50000, text, 6, &test_error));
    assert_memory_equal(text, "\0\0\0\0\0\0", 6);
    assert_ok(blk_close(image, &test_error));
}

/* ---- refcounts ---- */

static void refcount_entries_of_every_width(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        uint8_t block[512] = {0};
        uint64_t entries = refcount_block_entries(9, order);

        assert_int_equal(entries, 4096u >> order);
        for (uint64_t i = 0; i < entries; i++)
            refcount_set_entry(block, i, order, (i * 5 + 1) & refcount_max(order));
        for (uint64_t i = 0; i < entries; i++)
            assert_int_equal(refcount_entry(block, i, order), (i * 5 + 1) & refcount_max(order));
    }
    /* "bit 0 means the least significant bit": entry 0 of a byte is its lowest bits */
    assert_int_equal(refcount_entry((const uint8_t[]){0x01}, 0, 0), 1);
    assert_int_equal(refcount_entry((const uint8_t[]){0x10}, 1, 2), 1);
}

/* ---- check and repair ---- */

static void leaks_are_found_and_freed(void **state)
{
    (void)state;
    make_image();
    assert_counts(0, 0);
    rig.size += CLUSTER; /* a cluster that nothing uses */
    put_be16(refcount_at(rig.size / CLUSTER - 1), 1);
    assert_counts(1, 0);
    repair(QCOW2_REPAIR_LEAKS, 0);
    assert_counts(0, 0);
    assert_contents();
}

static void wrong_refcounts_are_rebuilt(void **state)
{
    (void)state;
    make_image();
    for (uint64_t cluster = 0; cluster < 12; cluster++)
        put_be16(refcount_at(cluster), (uint16_t)(be16(refcount_at(cluster)) ^ cluster % 3));
    assert_null(rig_open_image(&rig, true, NULL)); /* not for writing before it is repaired */
    repair(QCOW2_REPAIR_LEAKS, -1);
    repair(QCOW2_REPAIR_ALL, 0);
    assert_counts(0, 0);
    assert_contents();
}

static void lost_refcount_blocks_are_rebuilt(void **state)
{
    struct qcow2_check_report report;
    struct blk *image;

    (void)state;
    make_image();
    put_be64(rig.bytes + be64(rig.bytes + 48), UINT64_C(1) << 40);
    image = open_for_repair();
    assert_ok(qcow2_repair(image, QCOW2_REPAIR_ALL, &report, &test_error));
    assert_true(report.corruptions != 0);
    assert_ok(qcow2_check(image, &report, &test_error));
    assert_int_equal(report.corruptions + report.leaks, 0);
    assert_ok(blk_close(image, &test_error));
    assert_counts(0, 0);
    assert_contents();
}

static void unsound_references_are_left_alone(void **state)
{
    static uint8_t before[RIG_ROOM];
    uint64_t l1;

    (void)state;
    make_image();
    l1 = be64(rig.bytes + 40);
    put_be64(rig.bytes + l1, be64(rig.bytes + l1) | 1 << 9 | 2);
    memcpy(before, rig.bytes, RIG_ROOM);
    repair(QCOW2_REPAIR_ALL, -1);
    assert_int_equal(test_error.code, CHR_E_DAMAGED);
    assert_memory_equal(rig.bytes, before, RIG_ROOM);
}

static void an_image_opened_for_repair_is_only_repaired(void **state)
{
    struct qcow2_check_report report;
    struct blk *image;

    (void)state;
    make_image();
    image = open_for_repair();
    assert_int_equal(blk_write(image, 0, "x", 1, &test_error), -1);
    assert_int_equal(qcow2_snapshot_delete(image, "s", &test_error), -1);
    assert_ok(qcow2_repair(image, QCOW2_REPAIR_ALL, &report, &test_error));
    assert_ok(blk_write(image, 0, "x", 1, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
    assert_counts(0, 0);
}

/* ---- marks ---- */

static void the_corrupt_mark_is_honoured(void **state)
{
    struct blk *image;

    (void)state;
    make_image();
    rig.bytes[79] |= 2;
    image = rig_open_image(&rig, false, NULL);
    assert_non_null(image);
    assert_ok(blk_close(image, &test_error));
    assert_null(rig_open_image(&rig, true, NULL));
    assert_non_null(strstr(test_error.message, "marked as corrupt"));
    repair(QCOW2_REPAIR_ALL, 0);
    assert_int_equal(rig.bytes[79], 0);
    assert_contents();
}

static void autoclear_bits_go_with_the_first_write(void **state)
{
    struct blk *image;

    (void)state;
    make_image();
    rig.bytes[95] = 0x40;
    image = rig_open_image(&rig, true, NULL);
    assert_non_null(image);
    assert_ok(blk_flush(image, &test_error));
    assert_int_equal(rig.bytes[95], 0x40); /* nothing has changed yet */
    assert_ok(blk_write(image, 50000, "x", 1, &test_error));
    assert_int_equal(rig.bytes[95], 0);
    assert_ok(blk_close(image, &test_error));
}

static void unknown_extensions_stay(void **state)
{
    static const uint8_t extension[] = {0x11, 0x22, 0x33, 0x44, 0, 0, 0, 3, 'a', 'b', 'c', 0};
    struct blk *image;

    (void)state;
    make_image();
    memcpy(rig.bytes + 112, extension, sizeof extension);
    image = rig_open_image(&rig, true, NULL);
    assert_non_null(image);
    assert_ok(qcow2_snapshot_apply(image, "s", &test_error));
    assert_ok(blk_close(image, &test_error));
    assert_memory_equal(rig.bytes + 112, extension, sizeof extension);
}

/* ---- failures ---- */

static void after_a_failure_nothing_is_written(void **state)
{
    static uint8_t before[RIG_ROOM];
    struct blk *image;

    (void)state;
    make_image();
    image = rig_open_image(&rig, true, NULL);
    assert_non_null(image);
    rig.fault = RIG_NO_SPACE;
    rig.fail_at = 1;
    while (blk_write(image, below(&(struct dice){rig.operations}, DISK - 1), "x", 1,
                     &test_error) == 0)
        ;
    assert_int_equal(test_error.code, CHR_E_SPACE);
    rig.fault = RIG_SOUND;
    memcpy(before, rig.bytes, RIG_ROOM);
    assert_int_equal(blk_flush(image, &test_error), -1);
    assert_int_equal(blk_write(image, 0, "x", 1, &test_error), -1);
    assert_ok(blk_close(image, &test_error));
    assert_memory_equal(rig.bytes, before, RIG_ROOM);
    assert_counts(0, 0);
}

static void a_failed_snapshot_leaves_a_usable_image(void **state)
{
    struct blk *image;

    (void)state;
    make_image();
    image = rig_open_image(&rig, true, NULL);
    assert_non_null(image);
    for (uint64_t point = 1; point < 20; point++) {
        rig.operations = 0;
        rig.fault = RIG_NO_SPACE;
        rig.fail_at = point;
        if (qcow2_snapshot_create(image, "t", 1, 0, &test_error) == 0)
            break;
        rig.fault = RIG_SOUND;
    }
    rig.fault = RIG_SOUND;
    assert_ok(qcow2_snapshot_create(image, "u", 1, 0, &test_error));
    assert_ok(blk_write(image, 70000, "x", 1, &test_error));
    assert_ok(blk_flush(image, &test_error));
    assert_ok(blk_close(image, &test_error));
    assert_counts(0, 0);
    assert_contents();
}

/* A source of data with holes, so that the writer has tables of all kinds to write. */
static void a_broken_off_image_is_none(void **state)
{
    static uint8_t data[DISK];
    struct dice dice = {2};
    struct blk *source;
    uint64_t point = 0;
    int result = -1;

    (void)state;
    fill_random(&dice, data, DISK / 2, false);
    {
        FILE *file = fopen("source.raw", "w");

        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, DISK, file), DISK);
        assert_int_equal(fclose(file), 0);
    }
    assert_ok(raw_open("source.raw", RAW_READ, &source, &test_error));
    while (result < 0) {
        struct qcow2_create_options options = {
            .cluster_size = CLUSTER, .compress = point % 2 != 0, .resize = rig_resize};
        struct blk *file;

        rig.size = rig.operations = 0;
        memset(rig.bytes, 0, CLUSTER);
        rig.fault = RIG_IO_ERROR;
        rig.fail_at = ++point;
        file = rig_open(&rig);
        result = qcow2_convert(source, file, &options, &test_error);
        assert_ok(blk_close(file, &test_error));
        assert_int_equal(qcow2_probe(rig.bytes, 512), result == 0);
    }
    assert_true(point > 5);
    assert_ok(blk_close(source, &test_error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refcount_entries_of_every_width),
        cmocka_unit_test(leaks_are_found_and_freed),
        cmocka_unit_test(wrong_refcounts_are_rebuilt),
        cmocka_unit_test(lost_refcount_blocks_are_rebuilt),
        cmocka_unit_test(unsound_references_are_left_alone),
        cmocka_unit_test(an_image_opened_for_repair_is_only_repaired),
        cmocka_unit_test(the_corrupt_mark_is_honoured),
        cmocka_unit_test(autoclear_bits_go_with_the_first_write),
        cmocka_unit_test(unknown_extensions_stay),
        cmocka_unit_test(after_a_failure_nothing_is_written),
        cmocka_unit_test(a_failed_snapshot_leaves_a_usable_image),
        cmocka_unit_test(a_broken_off_image_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("qcow2 check and repair", tests, make_rig, drop_rig);
}
