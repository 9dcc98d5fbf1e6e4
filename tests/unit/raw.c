/* Raw files: bytes, holes, and QEMU's image locks as others see them. */
#include "block/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "unit.h"

#define IMAGE "a.img"
#define MIB (UINT64_C(1) << 20)

/* QEMU, block/file-posix.c: RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE. */
#define HAS 100
#define DENIES 200

static void make_image(uint64_t size)
{
    int fd = open(IMAGE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    (void)close(fd);
}

/* ---- bytes ---- */

static void test_what_is_written_is_in_the_file(void **state)
{
    struct blk *blk;
    struct chr_error err;
    uint8_t buf[8];
    uint8_t *file;

    (void)state;
    make_image(MIB);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    assert_int_equal(blk->size, MIB);
    assert_true(blk->writable && blk->fd >= 0);
    assert_done(blk_write(blk, MIB - 5, "hello", 5, &err), &err);
    assert_done(blk_flush(blk, &err), &err);
    assert_done(blk_read(blk, MIB - 8, buf, 8, &err), &err);
    assert_memory_equal(buf, "\0\0\0hello", 8);
    assert_done(blk_close(blk, &err), &err);
    file = read_file(IMAGE, NULL);
    assert_memory_equal(file + MIB - 5, "hello", 5);
    free(file);
}

static void test_zeroing_frees_space_and_only_its_range(void **state)
{
    struct blk *blk;
    struct chr_error err;
    uint8_t *bytes = malloc(MIB);
    uint64_t before;

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 0xEE, MIB);
    write_file(IMAGE, bytes, MIB);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    before = raw_allocated(blk);
    assert_done(blk_zero(blk, 1000, 900000, &err), &err);
    assert_done(blk_read(blk, 0, bytes, MIB, &err), &err);
    assert_true(bytes[999] == 0xEE && is_zero(bytes + 1000, 900000) && bytes[901000] == 0xEE);
    assert_int_equal(blk->size, MIB);
    assert_true(raw_allocated(blk) <= before);
    assert_done(blk_close(blk, &err), &err);
    assert_int_equal(file_size(IMAGE), MIB);
    free(bytes);
}

static void test_a_file_that_shrinks_under_us_is_an_error(void **state)
{
    struct blk *blk;
    struct chr_error err;
    uint8_t byte;

    (void)state;
    make_image(MIB);
    assert_done(raw_open(IMAGE, RAW_READ, &blk, &err), &err);
    assert_int_equal(truncate(IMAGE, 1000), 0);
    assert_refused(blk_read(blk, 5000, &byte, 1, &err), &err, CHR_E_IO, "became shorter");
    blk_cleanup(&blk);
}

static void test_a_failing_write_names_file_and_place(void **state)
{
    struct rlimit old;
    struct rlimit limit;
    struct blk *blk;
    struct chr_error err;
    int result;

    (void)state;
    make_image(MIB);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    result = blk_write(blk, 8192, "x", 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, CHR_E_SPACE);
    assert_non_null(strstr(err.message, IMAGE ": cannot write at offset 8192"));
    blk_cleanup(&blk);
}

static void test_resizing_is_seen_by_the_door(void **state)
{
    struct blk *blk;
    struct chr_error err;
    uint8_t byte = 1;

    (void)state;
    make_image(1000);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    assert_done(raw_resize(blk, 5000, &err), &err);
    assert_done(blk_read(blk, 4999, &byte, 1, &err), &err);
    assert_int_equal(byte, 0);
    assert_done(raw_resize(blk, 10, &err), &err);
    assert_refused(blk_read(blk, 10, &byte, 1, &err), &err, CHR_E_DAMAGED, "outside");
    assert_int_equal(raw_resize(blk, UINT64_MAX, &err), -1);
    assert_int_equal(blk->size, 10);
    assert_done(blk_close(blk, &err), &err);
    assert_int_equal(file_size(IMAGE), 10);
}

static void test_what_is_no_image_is_refused(void **state)
{
    struct blk *blk = NULL;
    struct chr_error err;

    (void)state;
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_int_equal(mkfifo("fifo", 0644), 0);
    assert_refused(raw_open("folder", RAW_READ, &blk, &err), &err, CHR_E_USAGE, "is a folder");
    assert_refused(raw_open("fifo", RAW_READ, &blk, &err), &err, CHR_E_USAGE,
                   "neither a file nor a block device");
    assert_refused(raw_open("/dev/null", RAW_READ, &blk, &err), &err, CHR_E_USAGE, "neither");
    assert_refused(raw_open("none", RAW_READ, &blk, &err), &err, CHR_E_MISSING,
                   "cannot open none");
    assert_refused(raw_open("none/a", RAW_WRITE, &blk, &err), &err, CHR_E_MISSING, "cannot open");
    assert_null(blk);
}

/* ---- holes ---- */

/* Extents cover the request without gaps; where they say zero there are zeros. */
static void check_extents(struct blk *blk, uint64_t from, uint64_t to, uint64_t *zeros)
{
    static uint8_t buf[8 * MIB];
    struct chr_error err;

    *zeros = 0;
    while (from < to) {
        struct blk_extent extent;

        assert_done(blk_extent(blk, from, to - from, &extent, &err), &err);
        assert_true(extent.length > 0 && extent.length <= to - from);
        if (extent.kind == BLK_ZERO) {
            assert_done(blk_read(blk, from, buf, extent.length, &err), &err);
            assert_true(is_zero(buf, extent.length));
            *zeros += extent.length;
        }
        from += extent.length;
    }
}

static void test_holes_are_told_from_data(void **state)
{
    struct blk *blk;
    struct chr_error err;
    uint64_t zeros;

    (void)state;
    make_image(8 * MIB);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    check_extents(blk, 0, 8 * MIB, &zeros);
    assert_int_equal(zeros, 8 * MIB);
    assert_true(raw_allocated(blk) < MIB);
    assert_done(blk_write(blk, 3 * MIB + 100, "data", 4, &err), &err);
    assert_done(blk_write(blk, 8 * MIB - 1, "x", 1, &err), &err);
    check_extents(blk, 0, 8 * MIB, &zeros);
    assert_true(zeros > 7 * MIB && zeros < 8 * MIB);
    check_extents(blk, 3 * MIB + 50, 3 * MIB + 200, &zeros);
    assert_int_equal(zeros, 0);
    check_extents(blk, 5 * MIB + 1, 5 * MIB + 2, &zeros);
    assert_int_equal(zeros, 1);
    assert_done(blk_close(blk, &err), &err);
}

/* ---- locks ---- */

static int open_beside(void)
{
    int fd = open(IMAGE, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* Whether somebody else's lock on BYTE is seen from FD. */
static bool is_locked(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
    return lock.l_type != F_UNLCK;
}

/* The locked bytes of a group of four as bits. */
static unsigned locked_bits(int fd, int base)
{
    unsigned bits = 0;

    for (int bit = 0; bit < 4; bit++)
        bits |= is_locked(fd, base + bit) ? 1u << bit : 0;
    return bits;
}

static int lock_byte(int fd, int byte)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* Bits: 0 consistent read, 1 write, 2 write unchanged, 3 resize. */
static void test_locks_are_the_bytes_that_qemu_looks_at(void **state)
{
    struct blk *blk;
    struct chr_error err;
    int other;

    (void)state;
    make_image(MIB);
    other = open_beside();
    assert_done(raw_open(IMAGE, RAW_READ, &blk, &err), &err);
    assert_int_equal(locked_bits(other, HAS), 1 << 0);
    assert_int_equal(locked_bits(other, DENIES), 1 << 1 | 1 << 3);
    blk_cleanup(&blk);
    assert_int_equal(locked_bits(other, HAS) | locked_bits(other, DENIES), 0);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    assert_int_equal(locked_bits(other, HAS), 1 << 0 | 1 << 1 | 1 << 3);
    assert_int_equal(locked_bits(other, DENIES), 0xF);
    assert_false(is_locked(other, HAS + 4) || is_locked(other, DENIES + 4));
    blk_cleanup(&blk);
    assert_done(raw_open(IMAGE, RAW_READ_UNLOCKED, &blk, &err), &err);
    assert_int_equal(locked_bits(other, HAS) | locked_bits(other, DENIES), 0);
    blk_cleanup(&blk);
    (void)close(other);
}

static void test_two_openers(void **state)
{
    static const struct {
        enum raw_mode first;
        enum raw_mode second;
        bool together;
    } cases[] = {
        {RAW_READ, RAW_READ, true},
        {RAW_READ, RAW_WRITE, false},
        {RAW_WRITE, RAW_READ, false},
        {RAW_WRITE, RAW_WRITE, false},
        {RAW_WRITE, RAW_READ_UNLOCKED, true},
        {RAW_READ_UNLOCKED, RAW_WRITE, true},
    };

    (void)state;
    make_image(MIB);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct blk *first;
        struct blk *second = NULL;
        struct chr_error err;

        assert_done(raw_open(IMAGE, cases[i].first, &first, &err), &err);
        if (cases[i].together) {
            assert_done(raw_open(IMAGE, cases[i].second, &second, &err), &err);
        } else {
            assert_refused(raw_open(IMAGE, cases[i].second, &second, &err), &err, CHR_E_BUSY,
                           "in use by another process");
            assert_true(err.hint[0] != '\0');
        }
        blk_cleanup(&second);
        blk_cleanup(&first);
        /* A refused opener has left no lock. */
        assert_done(raw_open(IMAGE, RAW_WRITE, &first, &err), &err);
        blk_cleanup(&first);
    }
}

/* What QEMU holds while a VM runs: CONSISTENT_READ, WRITE and RESIZE had, WRITE and RESIZE
 * denied; with share-rw=on it denies only RESIZE. */
static void test_a_running_vm_is_left_alone(void **state)
{
    struct blk *blk = NULL;
    struct chr_error err;
    int vm;

    (void)state;
    make_image(MIB);
    vm = open_beside();
    assert_int_equal(lock_byte(vm, HAS + 1), 0);
    assert_refused(raw_open(IMAGE, RAW_READ, &blk, &err), &err, CHR_E_BUSY, "in use");
    assert_non_null(strstr(err.hint, "--force-share"));
    assert_refused(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err, CHR_E_BUSY, "in use");
    assert_done(raw_open(IMAGE, RAW_READ_UNLOCKED, &blk, &err), &err);
    blk_cleanup(&blk);
    (void)close(vm);
    vm = open_beside();
    assert_int_equal(lock_byte(vm, DENIES + 1), 0);
    assert_done(raw_open(IMAGE, RAW_READ, &blk, &err), &err);
    blk_cleanup(&blk);
    assert_refused(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err, CHR_E_BUSY, "in use");
    (void)close(vm);
    assert_done(raw_open(IMAGE, RAW_WRITE, &blk, &err), &err);
    blk_cleanup(&blk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_in_the_file),
        cmocka_unit_test(test_zeroing_frees_space_and_only_its_range),
        cmocka_unit_test(test_a_file_that_shrinks_under_us_is_an_error),
        cmocka_unit_test(test_a_failing_write_names_file_and_place),
        cmocka_unit_test(test_resizing_is_seen_by_the_door),
        cmocka_unit_test(test_what_is_no_image_is_refused),
        cmocka_unit_test(test_holes_are_told_from_data),
        cmocka_unit_test(test_locks_are_the_bytes_that_qemu_looks_at),
        cmocka_unit_test(test_two_openers),
        cmocka_unit_test(test_a_running_vm_is_left_alone),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
