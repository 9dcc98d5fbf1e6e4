/* The one door to every device, and the window. */
#include "block/blk.h"

#include "base/bytes.h"
#include "memory_blk.h"

#define SIZE 4096

/* ---- the door ---- */

static void test_requests_within_the_device_pass(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct blk *blk = &memory->blk;
    struct chr_error err;
    uint8_t buf[SIZE];

    (void)state;
    memset(buf, 7, sizeof buf);
    assert_done(blk_write(blk, 0, buf, SIZE, &err), &err);
    assert_done(blk_write(blk, SIZE - 1, "x", 1, &err), &err);
    assert_done(blk_read(blk, 0, buf, SIZE, &err), &err);
    assert_int_equal(buf[0], 7);
    assert_int_equal(buf[SIZE - 1], 'x');
    assert_done(blk_zero(blk, 1, SIZE - 2, &err), &err);
    assert_done(blk_read(blk, 0, buf, SIZE, &err), &err);
    assert_true(buf[0] == 7 && is_zero(buf + 1, SIZE - 2) && buf[SIZE - 1] == 'x');
    assert_done(blk_flush(blk, &err), &err);
    assert_int_equal(memory->flushes, 1);
    memory_free(memory);
}

static void refuse_range(struct blk *blk, uint64_t off, uint64_t len)
{
    static uint8_t buf[2 * SIZE];
    struct blk_extent extent;
    struct chr_error err;
    struct blk *window = NULL;

    assert_refused(blk_read(blk, off, buf, (size_t)len, &err), &err, CHR_E_DAMAGED, "read of");
    assert_refused(blk_write(blk, off, buf, (size_t)len, &err), &err, CHR_E_DAMAGED, "write of");
    assert_refused(blk_zero(blk, off, len, &err), &err, CHR_E_DAMAGED, "outside the device");
    assert_refused(blk_extent(blk, off, len, &extent, &err), &err, CHR_E_DAMAGED,
                   "outside the device");
    assert_refused(blk_window_open(blk, off, len, &window, &err), &err, CHR_E_DAMAGED,
                   "window of");
    assert_null(window);
}

static void test_requests_outside_never_reach_the_back_end(void **state)
{
    struct memory *memory = memory_new(SIZE);

    (void)state;
    refuse_range(&memory->blk, SIZE, 1);
    refuse_range(&memory->blk, 0, SIZE + 1);
    refuse_range(&memory->blk, SIZE - 1, 2);
    refuse_range(&memory->blk, SIZE + 1, 0);
    refuse_range(&memory->blk, UINT64_MAX, 1);
    refuse_range(&memory->blk, UINT64_MAX, UINT64_MAX);
    refuse_range(&memory->blk, 1, UINT64_MAX);
    refuse_range(&memory->blk, UINT64_MAX - 511, 512);
    assert_int_equal(memory->reads, 0);
    assert_int_equal(memory->log_count, 0);
    memory_free(memory);
}

/* The memory device asserts that it never sees an empty request. */
static void test_empty_requests_end_at_the_door(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct chr_error err;
    uint8_t byte = 0;

    (void)state;
    assert_done(blk_read(&memory->blk, SIZE, &byte, 0, &err), &err);
    assert_done(blk_write(&memory->blk, 5, &byte, 0, &err), &err);
    assert_done(blk_zero(&memory->blk, 5, 0, &err), &err);
    assert_int_equal(memory->reads, 0);
    assert_int_equal(memory->log_count, 0);
    memory_free(memory);
}

static void test_a_read_only_device_is_not_written(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct chr_error err;

    (void)state;
    memory->blk.writable = false;
    assert_refused(blk_write(&memory->blk, 0, "x", 1, &err), &err, CHR_E_REFUSED, "reading only");
    assert_refused(blk_zero(&memory->blk, 0, 1, &err), &err, CHR_E_REFUSED, "reading only");
    assert_done(blk_flush(&memory->blk, &err), &err);
    assert_int_equal(memory->log_count, 0);
    assert_int_equal(memory->flushes, 0);
    memory_free(memory);
}

static void test_zeros_are_written_where_there_is_no_cheaper_way(void **state)
{
    struct memory *memory = memory_new(300000);
    struct chr_error err;

    (void)state;
    memset(memory->bytes, 0xFF, 300000);
    assert_done(blk_zero(&memory->blk, 3, 299990, &err), &err);
    assert_int_equal(memory->bytes[2], 0xFF);
    assert_true(is_zero(memory->bytes + 3, 299990));
    assert_int_equal(memory->bytes[299993], 0xFF);
    memory_reset(memory);
    memory->writes_left = 1;
    assert_refused(blk_zero(&memory->blk, 0, 200000, &err), &err, CHR_E_IO, "no power");
    memory_free(memory);
}

static void test_without_an_answer_all_is_data(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct blk_extent extent = {BLK_ZERO, 0};
    struct chr_error err;

    (void)state;
    assert_done(blk_extent(&memory->blk, 10, 100, &extent, &err), &err);
    assert_int_equal(extent.kind, BLK_DATA);
    assert_int_equal(extent.length, 100);
    memory_free(memory);
}

static void test_closing_nothing_is_fine(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct blk *blk = NULL;
    struct chr_error err;

    (void)state;
    assert_done(blk_close(NULL, &err), &err);
    blk_cleanup(&blk);
    blk = &memory->blk;
    blk_cleanup(&blk);
    assert_true(memory->closed);
    memory_free(memory);
}

/* ---- the window ---- */

static void test_a_window_is_a_part_of_its_parent(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct blk *window;
    struct chr_error err;
    uint8_t buf[1000];

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        memory->bytes[i] = (uint8_t)(i % 251);
    assert_done(blk_window_open(&memory->blk, 100, 1000, &window, &err), &err);
    assert_int_equal(window->size, 1000);
    assert_int_equal(window->fd, -1);
    assert_done(blk_read(window, 0, buf, 1000, &err), &err);
    assert_memory_equal(buf, memory->bytes + 100, 1000);
    assert_done(blk_write(window, 999, "x", 1, &err), &err);
    assert_int_equal(memory->bytes[1099], 'x');
    assert_done(blk_zero(window, 0, 2, &err), &err);
    assert_true(memory->bytes[99] == 99 && memory->bytes[100] == 0 && memory->bytes[101] == 0 &&
                memory->bytes[102] == 102);
    assert_done(blk_flush(window, &err), &err);
    assert_int_equal(memory->flushes, 1);
    refuse_range(window, 1000, 1);
    refuse_range(window, 999, 2);
    assert_done(blk_close(window, &err), &err);
    assert_false(memory->closed);
    memory_free(memory);
}

static void test_windows_nest_and_inherit_the_mode(void **state)
{
    struct memory *memory = memory_new(SIZE);
    struct blk *outer;
    struct blk *inner;
    struct blk *empty;
    struct chr_error err;
    uint8_t byte = 0;

    (void)state;
    memory->bytes[1234] = 42;
    memory->blk.writable = false;
    assert_done(blk_window_open(&memory->blk, 1000, 2000, &outer, &err), &err);
    assert_done(blk_window_open(outer, 200, 100, &inner, &err), &err);
    assert_done(blk_read(inner, 34, &byte, 1, &err), &err);
    assert_int_equal(byte, 42);
    assert_refused(blk_write(inner, 0, "x", 1, &err), &err, CHR_E_REFUSED, "reading only");
    assert_done(blk_window_open(&memory->blk, SIZE, 0, &empty, &err), &err);
    assert_refused(blk_read(empty, 0, &byte, 1, &err), &err, CHR_E_DAMAGED, "outside");
    blk_cleanup(&empty);
    blk_cleanup(&inner);
    blk_cleanup(&outer);
    memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_within_the_device_pass),
        cmocka_unit_test(test_requests_outside_never_reach_the_back_end),
        cmocka_unit_test(test_empty_requests_end_at_the_door),
        cmocka_unit_test(test_a_read_only_device_is_not_written),
        cmocka_unit_test(test_zeros_are_written_where_there_is_no_cheaper_way),
        cmocka_unit_test(test_without_an_answer_all_is_data),
        cmocka_unit_test(test_closing_nothing_is_fine),
        cmocka_unit_test(test_a_window_is_a_part_of_its_parent),
        cmocka_unit_test(test_windows_nest_and_inherit_the_mode),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
