/* The overlay against a model: a plain copy of the bytes and a mark for each sector. */
#include "block/overlay.h"

#include <stdio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "memory_blk.h"

#define SECTORS 640
#define SIZE (SECTORS * OVERLAY_SECTOR)

struct model {
    struct memory *memory;
    struct blk *overlay;
    uint8_t bytes[SIZE];
    bool written[SECTORS];
};

static struct model *model_new(struct dice *dice)
{
    struct model *model = calloc(1, sizeof *model);
    struct chr_error err;

    assert_non_null(model);
    model->memory = memory_new(SIZE);
    roll_bytes(dice, model->memory->bytes, SIZE);
    memcpy(model->bytes, model->memory->bytes, SIZE);
    assert_done(overlay_open(&model->memory->blk, &model->overlay, &err), &err);
    return model;
}

static void model_free(struct model *model)
{
    blk_cleanup(&model->overlay);
    memory_free(model->memory);
    free(model);
}

static void model_write(struct model *model, uint64_t off, const uint8_t *bytes, size_t len)
{
    struct chr_error err;

    assert_done(blk_write(model->overlay, off, bytes, len, &err), &err);
    memcpy(model->bytes + off, bytes, len);
    for (uint64_t at = off / OVERLAY_SECTOR; at <= (off + len - 1) / OVERLAY_SECTOR; at++)
        model->written[at] = true;
}

/* A stretch somewhere, of any alignment, mostly short. */
static void random_range(struct dice *dice, uint64_t *off, size_t *len)
{
    uint64_t longest = roll_below(dice, 8) == 0 ? 20000 : 1500;

    *off = roll_below(dice, SIZE);
    *len = (size_t)(1 + roll_below(dice, min_u64(longest, SIZE - *off)));
    if (roll_below(dice, 3) == 0) {
        *off = round_down(*off, OVERLAY_SECTOR);
        *len = (size_t)min_u64(round_up(*len, OVERLAY_SECTOR), SIZE - *off);
    }
}

static void check_reads(struct model *model, struct dice *dice, int count)
{
    static uint8_t buf[SIZE];
    struct chr_error err;

    for (int i = 0; i < count; i++) {
        uint64_t off;
        size_t len;

        random_range(dice, &off, &len);
        assert_done(blk_read(model->overlay, off, buf, len, &err), &err);
        assert_memory_equal(buf, model->bytes + off, len);
    }
    assert_done(blk_read(model->overlay, 0, buf, SIZE, &err), &err);
    assert_memory_equal(buf, model->bytes, SIZE);
}

/* overlay_next() from everywhere gives exactly the sectors that are marked, in order. */
static void check_runs(struct model *model)
{
    struct overlay_run run;
    uint8_t bytes[OVERLAY_RUN_MAX];
    struct chr_error err;
    uint64_t total = 0;
    uint64_t at = 0;
    bool seen[SECTORS] = {false};

    for (; overlay_next(model->overlay, at, &run); at = run.off + run.length) {
        assert_true(run.off >= at && run.length > 0 && run.off % OVERLAY_SECTOR == 0 &&
                    run.length % OVERLAY_SECTOR == 0);
        assert_true(run.length <= sizeof bytes);
        assert_done(blk_read(model->overlay, run.off, bytes, run.length, &err), &err);
        assert_memory_equal(bytes, model->bytes + run.off, run.length);
        for (uint64_t i = 0; i < run.length; i += OVERLAY_SECTOR)
            seen[(run.off + i) / OVERLAY_SECTOR] = true;
        total += run.length;
    }
    assert_memory_equal(seen, model->written, sizeof seen);
    assert_int_equal(overlay_changed(model->overlay), total);
    for (uint64_t sector = 0; sector < SECTORS; sector++)
        if (model->written[sector]) {
            assert_true(overlay_next(model->overlay, sector * OVERLAY_SECTOR, &run));
            assert_int_equal(run.off, sector * OVERLAY_SECTOR);
        }
}

static void test_random_writes_against_a_model(void **state)
{
    struct dice dice = {2024};

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct model *model = model_new(&dice);

        check_runs(model);
        for (int i = 0; i < 40; i++) {
            static uint8_t bytes[SIZE];
            uint64_t off;
            size_t len;

            random_range(&dice, &off, &len);
            roll_bytes(&dice, bytes, len);
            model_write(model, off, bytes, len);
            check_reads(model, &dice, 10);
        }
        check_runs(model);
        assert_int_equal(model->memory->log_count, 0);
        model_free(model);
    }
}

/* Zeroing counts as writing, and reads back as zeros. */
static void test_zeroing(void **state)
{
    struct dice dice = {5};
    struct model *model = model_new(&dice);
    struct chr_error err;

    (void)state;
    assert_done(blk_zero(model->overlay, 700, 70000, &err), &err);
    memset(model->bytes + 700, 0, 70000);
    for (uint64_t at = 700 / OVERLAY_SECTOR; at <= (700 + 70000 - 1) / OVERLAY_SECTOR; at++)
        model->written[at] = true;
    check_reads(model, &dice, 50);
    check_runs(model);
    model_free(model);
}

static void test_sectors_that_are_as_below_are_dropped(void **state)
{
    struct dice dice = {77};
    struct chr_error err;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct model *model = model_new(&dice);

        for (int i = 0; i < 60; i++) {
            static uint8_t bytes[SIZE];
            uint64_t off;
            size_t len;

            random_range(&dice, &off, &len);
            memcpy(bytes, model->memory->bytes + off, len);
            if (roll_below(&dice, 2) == 0)
                bytes[roll_below(&dice, len)] ^= 1;
            model_write(model, off, bytes, len);
        }
        assert_done(overlay_drop_unchanged(model->overlay, &err), &err);
        for (uint64_t i = 0; i < SECTORS; i++)
            model->written[i] = memcmp(model->bytes + i * OVERLAY_SECTOR,
                                       model->memory->bytes + i * OVERLAY_SECTOR,
                                       OVERLAY_SECTOR) != 0;
        check_runs(model);
        check_reads(model, &dice, 20);
        model_free(model);
    }
}

/* What extents call zero reads as zeros, and they cover a request from any place. */
static void test_extents_see_through_to_below(void **state)
{
    struct dice dice = {11};
    struct model *model = model_new(&dice);
    uint8_t bytes[3000];
    uint64_t at = 0;

    (void)state;
    memset(bytes, 1, sizeof bytes);
    model_write(model, 5000, bytes, sizeof bytes);
    while (at < SIZE) {
        struct blk_extent extent;
        struct chr_error err;

        assert_done(blk_extent(model->overlay, at, SIZE - at, &extent, &err), &err);
        assert_true(extent.length > 0 && extent.length <= SIZE - at);
        assert_int_equal(extent.kind, BLK_DATA);
        at += extent.length;
    }
    model_free(model);
}

static int all_zero_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                           struct chr_error *err)
{
    (void)blk;
    (void)off;
    (void)len;
    (void)err;
    extent->kind = BLK_ZERO;
    return 0;
}

/* Below all is a hole: what was written must be data all the same. */
static void test_what_was_written_is_never_a_hole(void **state)
{
    struct blk_ops sparse_ops = memory_ops;
    struct memory *memory = memory_new(SIZE);
    struct blk *overlay;
    struct blk_extent extent;
    struct chr_error err;

    (void)state;
    sparse_ops.extent = all_zero_extent;
    memory->blk.ops = &sparse_ops;
    assert_done(overlay_open(&memory->blk, &overlay, &err), &err);
    assert_done(blk_write(overlay, 100000, "data", 4, &err), &err);
    assert_done(blk_extent(overlay, 0, SIZE, &extent, &err), &err);
    assert_int_equal(extent.kind, BLK_ZERO);
    assert_true(extent.length <= 100000);
    assert_done(blk_extent(overlay, 100002, SIZE - 100002, &extent, &err), &err);
    assert_int_equal(extent.kind, BLK_DATA);
    blk_cleanup(&overlay);
    memory_free(memory);
}

static void test_a_fault_below_is_reported_and_changes_nothing(void **state)
{
    struct dice dice = {3};
    struct model *model = model_new(&dice);
    uint8_t bytes[2048] = {0};
    struct chr_error err;

    (void)state;
    model->memory->read_fault = true;
    assert_refused(blk_read(model->overlay, 0, bytes, 10, &err), &err, CHR_E_IO, "read fault");
    /* A part of a sector needs what is below, whole sectors do not. */
    assert_refused(blk_write(model->overlay, 100, bytes, 10, &err), &err, CHR_E_IO, "read fault");
    assert_int_equal(overlay_changed(model->overlay), 0);
    model_write(model, 1024, bytes, 1024);
    assert_refused(overlay_drop_unchanged(model->overlay, &err), &err, CHR_E_IO, "read fault");
    model->memory->read_fault = false;
    check_reads(model, &dice, 10);
    check_runs(model);
    model_free(model);
}

static void test_the_base_may_be_read_only_and_not_whole_sectors(void **state)
{
    struct memory *memory = memory_new(1000);
    struct blk *overlay;
    struct chr_error err;
    uint8_t buf[512];

    (void)state;
    memory->blk.writable = false;
    memory->bytes[511] = 9;
    assert_done(overlay_open(&memory->blk, &overlay, &err), &err);
    assert_int_equal(overlay->size, 512);
    assert_done(blk_write(overlay, 0, "x", 1, &err), &err);
    assert_done(blk_read(overlay, 0, buf, 512, &err), &err);
    assert_true(buf[0] == 'x' && buf[511] == 9 && memory->bytes[0] == 0);
    blk_cleanup(&overlay);
    memory_free(memory);
}

/* ---- more than is kept in memory ---- */

#define LARGE (24u << 20)

/* What the overlay's file, if there is one, holds where the first page would be. */
static void check_first_page_is_not_in_a_file(void)
{
    uint8_t page[4096];
    char link[64];
    char name[4096];

    for (int fd = 3; fd < 64; fd++) {
        ssize_t length;

        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, name, sizeof name - 1);
        if (length <= 0)
            continue;
        name[length] = '\0';
        if (strstr(name, "(deleted)") != NULL && pread(fd, page, sizeof page, 0) > 0)
            assert_true(is_zero(page, sizeof page));
    }
}

/* An overlay on zeros, and what it should hold; FOLDER is for what is too much. */
static void check_large(const char *folder)
{
    struct dice dice = {7};
    struct memory *memory = memory_new(LARGE);
    uint8_t *wanted = calloc(1, LARGE);
    uint8_t *got = malloc(LARGE);
    struct blk *overlay;
    struct chr_error err;

    assert_true(wanted != NULL && got != NULL);
    assert_done(overlay_open(&memory->blk, &overlay, &err), &err);
    assert_done(blk_write(overlay, 0, "a secret", 8, &err), &err);
    assert_done(overlay_spill(overlay, folder, &err), &err);
    for (size_t off = 0; off < LARGE; off += 1u << 20)
        roll_bytes(&dice, wanted + off, 1u << 20);
    assert_done(blk_write(overlay, 0, wanted, LARGE, &err), &err);
    /* Sectors of pages in memory and of others, in parts and whole. */
    for (int i = 0; i < 20000; i++) {
        uint64_t off = roll_below(&dice, LARGE - 1500);
        size_t len = (size_t)(1 + roll_below(&dice, 1500));

        roll_bytes(&dice, wanted + off, len);
        assert_done(blk_write(overlay, off, wanted + off, len, &err), &err);
        off = roll_below(&dice, LARGE - 9000);
        assert_done(blk_read(overlay, off, got, 9000, &err), &err);
        assert_memory_equal(got, wanted + off, 9000);
    }
    check_first_page_is_not_in_a_file();
    memcpy(memory->bytes, wanted, LARGE / 2);
    assert_done(overlay_drop_unchanged(overlay, &err), &err);
    assert_int_equal(overlay_changed(overlay), LARGE / 2);
    memset(memory->bytes, 0, LARGE / 2);
    assert_done(blk_read(overlay, 0, got, LARGE, &err), &err);
    assert_true(is_zero(got, LARGE / 2));
    assert_memory_equal(got + LARGE / 2, wanted + LARGE / 2, LARGE / 2);
    blk_cleanup(&overlay);
    memory_free(memory);
    free(wanted);
    free(got);
}

static void test_spill(void **state)
{
    (void)state;
    check_large(".");
    check_large("no/such/folder"); /* all stays in memory */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_writes_against_a_model),
        cmocka_unit_test(test_zeroing),
        cmocka_unit_test(test_sectors_that_are_as_below_are_dropped),
        cmocka_unit_test(test_extents_see_through_to_below),
        cmocka_unit_test(test_what_was_written_is_never_a_hole),
        cmocka_unit_test(test_a_fault_below_is_reported_and_changes_nothing),
        cmocka_unit_test(test_the_base_may_be_read_only_and_not_whole_sectors),
        cmocka_unit_test(test_spill),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
