/*
 * The undo file: changes cut off at every write and flush come back to the old
 * image or stay the new one, and a file that does not fit is not believed.
 */
#include "op/undo.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "memory_blk.h"

#define IMAGE "chr.img"
#define UNDO ".chr.img.chrimg-undo"
#define SIZE 65536
#define HEADER 512
#define RECORD (8 + 4 + 512)

/* The image: its name is on the disk for the undo file's sake, its bytes are in memory. */
struct fixture {
    struct memory *file;
    struct blk *overlay;
    uint8_t before[SIZE];
    uint8_t after[SIZE];
};

/* Sectors here and there, the first and the last among them. */
static struct fixture *fixture_new(void)
{
    static const size_t changed[] = {0, 1, 2, 17, 64, 65, 127};
    struct fixture *f = calloc(1, sizeof *f);
    struct dice dice = {21};
    struct chr_error err;

    assert_non_null(f);
    (void)unlink(UNDO);
    write_file(IMAGE, "", 0);
    f->file = memory_new(SIZE);
    f->file->blk.fd = open(IMAGE, O_RDWR | O_CLOEXEC);
    assert_true(f->file->blk.fd >= 0);
    roll_bytes(&dice, f->file->bytes, SIZE);
    memcpy(f->before, f->file->bytes, SIZE);
    memcpy(f->after, f->file->bytes, SIZE);
    assert_done(overlay_open(&f->file->blk, &f->overlay, &err), &err);
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        uint8_t *sector = f->after + changed[i] * 512;

        roll_bytes(&dice, sector, 512);
        assert_done(blk_write(f->overlay, changed[i] * 512, sector, 512, &err), &err);
    }
    return f;
}

static void fixture_free(struct fixture *f)
{
    (void)close(f->file->blk.fd);
    blk_cleanup(&f->overlay);
    memory_free(f->file);
    free(f);
}

static bool undo_exists(void)
{
    return access(UNDO, F_OK) == 0;
}

static int commit(struct fixture *f, struct chr_error *err)
{
    return undo_commit(IMAGE, &f->file->blk, f->overlay, err);
}

/* Cut the commit off before its write number N, as a power cut would. */
static void interrupt(struct fixture *f, size_t n)
{
    struct chr_error err;

    f->file->writes_left = n;
    assert_int_equal(commit(f, &err), -1);
    memory_reset(f->file);
}

static bool roll_back(struct fixture *f)
{
    struct chr_error err;
    bool done;

    assert_done(undo_roll_back(IMAGE, &f->file->blk, &done, &err), &err);
    return done;
}

static void expect_bytes(const struct fixture *f, const uint8_t *expected)
{
    assert_memory_equal(f->file->bytes, expected, SIZE);
}

/* ---- without a fault ---- */

static void test_a_commit_writes_and_leaves_nothing(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    assert_done(commit(f, &err), &err);
    expect_bytes(f, f->after);
    assert_int_equal(f->file->flushes, 1);
    assert_false(undo_exists());
    assert_false(roll_back(f));
    expect_bytes(f, f->after);
    fixture_free(f);
}

/* A change of many sectors, whose records are read part by part. */
static void test_many_sectors(void **state)
{
    enum { LARGE = 600 * 512 };
    struct memory *memory = memory_new(LARGE);
    struct dice dice = {33};
    struct blk *overlay;
    struct blk *view;
    struct chr_error err;
    uint8_t *before = malloc(LARGE);
    uint8_t *seen = malloc(LARGE);
    bool done;

    (void)state;
    assert_true(before != NULL && seen != NULL);
    (void)unlink(UNDO);
    write_file(IMAGE, "", 0);
    memory->blk.fd = open(IMAGE, O_RDWR | O_CLOEXEC);
    roll_bytes(&dice, memory->bytes, LARGE);
    memcpy(before, memory->bytes, LARGE);
    assert_done(overlay_open(&memory->blk, &overlay, &err), &err);
    roll_bytes(&dice, seen, LARGE);
    for (size_t off = 0; off < LARGE; off += 512)
        if (off / 512 % 7 != 3)
            assert_done(blk_write(overlay, off, seen + off, 512, &err), &err);
    for (size_t writes = 0; writes < 60; writes += 13) {
        memory->writes_left = writes;
        assert_int_equal(undo_commit(IMAGE, &memory->blk, overlay, &err), -1);
        memory_reset(memory);
        assert_done(undo_view(IMAGE, &memory->blk, &view, &err), &err);
        assert_non_null(view);
        assert_done(blk_read(view, 0, seen, LARGE, &err), &err);
        assert_memory_equal(seen, before, LARGE);
        blk_cleanup(&view);
        assert_done(undo_roll_back(IMAGE, &memory->blk, &done, &err), &err);
        assert_true(done);
        assert_memory_equal(memory->bytes, before, LARGE);
    }
    assert_done(undo_commit(IMAGE, &memory->blk, overlay, &err), &err);
    assert_memory_not_equal(memory->bytes, before, LARGE);
    assert_false(undo_exists());
    blk_cleanup(&overlay);
    (void)close(memory->blk.fd);
    memory_free(memory);
    free(before);
    free(seen);
}

/* What makes the rest count lies at the start: it is written last. */
static void test_the_start_of_the_disk_is_written_last(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    assert_done(commit(f, &err), &err);
    assert_true(f->file->log_count > 1);
    for (size_t i = 1; i < f->file->log_count; i++)
        assert_true(f->file->log[i].off < f->file->log[i - 1].off);
    fixture_free(f);
}

static void test_a_commit_of_nothing(void **state)
{
    struct fixture *f = fixture_new();
    struct blk *overlay;
    struct chr_error err;

    (void)state;
    assert_done(overlay_open(&f->file->blk, &overlay, &err), &err);
    assert_done(undo_commit(IMAGE, &f->file->blk, overlay, &err), &err);
    expect_bytes(f, f->before);
    assert_false(undo_exists());
    blk_cleanup(&overlay);
    fixture_free(f);
}

/* ---- cut off ---- */

/* With the power gone at any write, and parts of it landed, the next run has the old image. */
static void test_a_power_cut_at_every_write(void **state)
{
    static const size_t torn[] = {0, 512, 1024};

    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (size_t cut = 0;; cut++) {
            struct fixture *f = fixture_new();
            struct chr_error err;
            int result;

            f->file->writes_left = cut;
            f->file->torn = torn[t];
            result = commit(f, &err);
            memory_reset(f->file);
            if (result == 0) {
                assert_true(cut > 3);
                fixture_free(f);
                break;
            }
            assert_int_equal(err.code, CHR_E_IO);
            assert_non_null(strstr(err.hint, UNDO));
            assert_true(undo_exists());
            assert_true(roll_back(f));
            expect_bytes(f, f->before);
            assert_int_equal(f->file->flushes, 1);
            assert_false(undo_exists());
            fixture_free(f);
        }
}

/* The power goes again while the old bytes are put back, at every write: the run after that
 * finishes it. */
static void test_a_power_cut_during_the_way_back(void **state)
{
    (void)state;
    for (size_t cut = 0;; cut++) {
        struct fixture *f = fixture_new();
        struct chr_error err;
        bool done = true;
        int result;

        interrupt(f, 3);
        f->file->writes_left = cut;
        result = undo_roll_back(IMAGE, &f->file->blk, &done, &err);
        memory_reset(f->file);
        if (result == 0) {
            assert_true(cut > 3);
            fixture_free(f);
            return;
        }
        assert_false(done);
        assert_true(undo_exists());
        assert_true(roll_back(f));
        expect_bytes(f, f->before);
        assert_false(undo_exists());
        fixture_free(f);
    }
}

/* Looking at an interrupted image shows the old one and writes nothing. */
static void test_a_view_is_the_old_image(void **state)
{
    struct fixture *f = fixture_new();
    uint8_t interrupted[SIZE];
    uint8_t seen[SIZE];
    struct blk *view;
    struct chr_error err;

    (void)state;
    assert_done(undo_view(IMAGE, &f->file->blk, &view, &err), &err);
    assert_null(view);
    interrupt(f, 3);
    memcpy(interrupted, f->file->bytes, SIZE);
    assert_memory_not_equal(interrupted, f->before, SIZE);
    f->file->blk.writable = false;
    assert_done(undo_view(IMAGE, &f->file->blk, &view, &err), &err);
    assert_non_null(view);
    assert_done(blk_read(view, 0, seen, SIZE, &err), &err);
    assert_memory_equal(seen, f->before, SIZE);
    assert_memory_equal(f->file->bytes, interrupted, SIZE);
    assert_int_equal(f->file->log_count, 0);
    assert_true(undo_exists());
    blk_cleanup(&view);
    fixture_free(f);
}

/* One write fails and the disk is well again: the commit itself puts back what was. */
static int fail_once(struct blk *blk, uint64_t off, const void *buf, size_t len,
                     struct chr_error *err)
{
    struct memory *memory = memory_of(blk);

    if (memory->writes_left-- == 0) {
        memory->writes_left = MEMORY_NO_FAULT;
        return err_set(err, CHR_E_SPACE, "memory: full for once");
    }
    memcpy(memory->bytes + off, buf, len);
    return 0;
}

static void test_a_write_that_fails_once_is_taken_back_at_once(void **state)
{
    struct blk_ops ops = memory_ops;

    (void)state;
    ops.write = fail_once;
    for (size_t at = 0; at < 4; at++) {
        struct fixture *f = fixture_new();
        struct chr_error err;

        f->file->blk.ops = &ops;
        f->file->writes_left = at;
        assert_refused(commit(f, &err), &err, CHR_E_SPACE, "full for once");
        expect_bytes(f, f->before);
        assert_false(undo_exists());
        assert_string_equal(err.hint, "");
        fixture_free(f);
    }
}

static int fail_flush(struct blk *blk, struct chr_error *err)
{
    return memory_of(blk)->flushes++ == 0 ? err_set(err, CHR_E_IO, "memory: cannot flush") : 0;
}

static void test_a_flush_that_fails_is_taken_back(void **state)
{
    struct blk_ops ops = memory_ops;
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    ops.flush = fail_flush;
    f->file->blk.ops = &ops;
    assert_refused(commit(f, &err), &err, CHR_E_IO, "cannot flush");
    expect_bytes(f, f->before);
    assert_int_equal(f->file->flushes, 2);
    assert_false(undo_exists());
    fixture_free(f);
}

/* No room for the undo file: the image is not touched, and no part of the file stays. */
static void test_an_undo_file_that_cannot_be_written(void **state)
{
    struct fixture *f = fixture_new();
    struct rlimit old;
    struct rlimit limit;
    struct chr_error err;
    int result;

    (void)state;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    result = commit(f, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, CHR_E_SPACE);
    assert_int_equal(f->file->log_count, 0);
    assert_false(undo_exists());
    fixture_free(f);
}

/* Beside a device no undo file would last, so it is not changed at all. */
static void test_a_device_is_refused(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    (void)close(f->file->blk.fd);
    f->file->blk.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_refused(commit(f, &err), &err, CHR_E_REFUSED, "is a device");
    assert_int_equal(f->file->log_count, 0);
    assert_false(undo_exists());
    fixture_free(f);
}

/* ---- undo files that do not fit ---- */

static void expect_dropped(struct fixture *f, const uint8_t *bytes, size_t len)
{
    struct blk *view;
    struct chr_error err;

    write_file(UNDO, bytes, len);
    assert_int_equal(chmod(UNDO, 0600), 0);
    assert_done(undo_view(IMAGE, &f->file->blk, &view, &err), &err);
    assert_null(view);
    assert_false(roll_back(f));
    assert_false(undo_exists());
    expect_bytes(f, f->before);
}

/* Without its header an undo file was cut off while it was written: the image is the old one. */
static void test_an_undo_file_that_is_not_whole_is_dropped(void **state)
{
    size_t whole;
    uint8_t *bytes;
    struct fixture *f = fixture_new();

    (void)state;
    interrupt(f, 0);
    bytes = read_file(UNDO, &whole);
    assert_int_equal(whole, HEADER + 7 * RECORD);
    for (size_t len = 0; len < HEADER; len += 73)
        expect_dropped(f, bytes, len);
    memset(bytes, 0, HEADER);
    for (size_t len = HEADER; len <= whole; len += 211)
        expect_dropped(f, bytes, len);
    expect_dropped(f, bytes, whole);
    assert_int_equal(f->file->log_count, 0);
    free(bytes);
    fixture_free(f);
}

/* Neither way of reading an interrupted change goes on; the file stays, the image too. */
static void refuse_as(struct fixture *f, enum chr_code code, const char *text)
{
    uint8_t bytes[SIZE];
    struct blk *view = NULL;
    struct chr_error err;
    bool done = true;

    memcpy(bytes, f->file->bytes, SIZE);
    memory_reset(f->file);
    assert_refused(undo_roll_back(IMAGE, &f->file->blk, &done, &err), &err, code, text);
    assert_non_null(strstr(err.message, IMAGE ": a change of it was interrupted"));
    assert_non_null(strstr(err.hint, UNDO));
    assert_false(done);
    assert_refused(undo_view(IMAGE, &f->file->blk, &view, &err), &err, code, text);
    assert_null(view);
    assert_true(undo_exists());
    assert_memory_equal(f->file->bytes, bytes, SIZE);
    assert_int_equal(f->file->log_count, 0);
}

static void refuse(struct fixture *f, const char *text)
{
    refuse_as(f, CHR_E_REFUSED, text);
}

/* A header says that all was there, so the image may be torn: it is not taken as it is. */
static void test_a_damaged_undo_file_is_kept(void **state)
{
    static const char text[] = "are not what was written";
    size_t whole;
    uint8_t *bytes;
    struct fixture *f = fixture_new();

    (void)state;
    interrupt(f, 3);
    bytes = read_file(UNDO, &whole);
    for (size_t at = 0; at < whole; at += at < 48 ? 1 : 499) {
        if (at >= 48 && at < HEADER)
            at = HEADER;
        bytes[at] ^= 1;
        write_file(UNDO, bytes, whole);
        refuse_as(f, CHR_E_DAMAGED, text);
        bytes[at] ^= 1;
    }
    for (size_t len = HEADER; len < whole; len += 211) {
        (void)unlink(UNDO);
        write_file(UNDO, bytes, len);
        assert_int_equal(chmod(UNDO, 0600), 0);
        refuse_as(f, CHR_E_DAMAGED, text);
    }
    write_file(UNDO, bytes, whole);
    assert_true(roll_back(f));
    expect_bytes(f, f->before);
    free(bytes);
    fixture_free(f);
}

/* What is not ours is not written into the image, nor waited for. */
static void test_an_undo_file_of_a_stranger(void **state)
{
    struct fixture *f = fixture_new();

    (void)state;
    interrupt(f, 3);
    assert_int_equal(chmod(UNDO, 0620), 0);
    refuse(f, "can be written by others");
    assert_int_equal(chmod(UNDO, 0602), 0);
    refuse(f, "can be written by others");
    assert_int_equal(chmod(UNDO, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(UNDO, 12345, 0), 0);
        refuse(f, "belongs to neither you nor the image's owner");
        assert_int_equal(chown(IMAGE, 12345, 0), 0);
    }
    assert_true(roll_back(f));
    assert_int_equal(symlink(IMAGE, UNDO), 0);
    refuse(f, "is not a regular file");
    assert_int_equal(unlink(UNDO), 0);
    assert_int_equal(mkfifo(UNDO, 0600), 0);
    refuse(f, "is not a regular file");
    assert_int_equal(unlink(UNDO), 0);
    fixture_free(f);
}

/* By its other name the undo file would not be found. */
static void test_a_hard_link_is_refused(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    (void)unlink("second.img");
    assert_int_equal(link(IMAGE, "second.img"), 0);
    assert_refused(commit(f, &err), &err, CHR_E_REFUSED, "has 2 hard links");
    assert_int_equal(f->file->log_count, 0);
    assert_false(undo_exists());
    assert_int_equal(unlink("second.img"), 0);
    assert_done(commit(f, &err), &err);
    fixture_free(f);
}

/* There is none beside a name so long, and none can be made. */
static void test_a_long_name(void **state)
{
    struct fixture *f = fixture_new();
    char name[251] = "";
    struct blk *view;
    struct chr_error err;
    bool done = true;

    (void)state;
    memset(name, 'n', sizeof name - 1);
    assert_int_equal(rename(IMAGE, name), 0);
    assert_done(undo_view(name, &f->file->blk, &view, &err), &err);
    assert_null(view);
    assert_done(undo_roll_back(name, &f->file->blk, &done, &err), &err);
    assert_false(done);
    assert_done(undo_forget(name, &err), &err);
    assert_refused(undo_commit(name, &f->file->blk, f->overlay, &err), &err, CHR_E_REFUSED,
                   "its name is too long");
    assert_int_equal(f->file->log_count, 0);
    assert_int_equal(unlink(name), 0);
    fixture_free(f);
}

/* Sectors that are as before are not written: on a full disk that could fail. */
static void test_the_way_back_writes_only_what_differs(void **state)
{
    struct fixture *f = fixture_new();

    (void)state;
    interrupt(f, 1); /* the last sector only */
    assert_true(roll_back(f));
    assert_int_equal(f->file->log_count, 1);
    assert_int_equal(f->file->log[0].off, 127 * 512);
    fixture_free(f);
}

static void test_forgetting(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    assert_done(undo_forget(IMAGE, &err), &err);
    interrupt(f, 3);
    assert_done(undo_forget(IMAGE, &err), &err);
    assert_false(undo_exists());
    assert_false(roll_back(f));
    fixture_free(f);
}

static void test_an_image_of_another_size(void **state)
{
    struct fixture *f = fixture_new();

    (void)state;
    interrupt(f, 3);
    f->file->blk.size = SIZE - 512;
    refuse(f, "was left for an image of 65536 bytes");
    fixture_free(f);
}

/* Somebody used the image, or put another one in its place. */
static void test_a_sector_that_changed_since(void **state)
{
    static const size_t sectors[] = {0, 17, 127};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fixture *f = fixture_new();

        interrupt(f, 3);
        f->file->bytes[sectors[i] * 512 + 99] ^= 1;
        refuse(f, "was written by somebody else since");
        f->file->bytes[sectors[i] * 512 + 99] ^= 1;
        assert_true(roll_back(f));
        expect_bytes(f, f->before);
        fixture_free(f);
    }
}

/*
 * An undo file is there already: it is the only way back for an image, so a
 * commit that did not make it must not remove it.
 */
static void test_a_commit_does_not_remove_an_undo_file_it_did_not_make(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;

    (void)state;
    interrupt(f, 3);
    assert_refused(commit(f, &err), &err, CHR_E_EXISTS, "cannot create the undo file");
    assert_int_equal(f->file->log_count, 0);
    assert_true(undo_exists());
    assert_true(roll_back(f));
    expect_bytes(f, f->before);
    fixture_free(f);
}

/* The image is reached through a symbolic link elsewhere: the same undo file. */
static void test_a_symbolic_link_leads_to_the_same_undo_file(void **state)
{
    struct fixture *f = fixture_new();
    struct chr_error err;
    bool done = false;

    (void)state;
    (void)unlink("link.img");
    assert_int_equal(symlink(IMAGE, "link.img"), 0);
    interrupt(f, 3);
    assert_done(undo_roll_back("link.img", &f->file->blk, &done, &err), &err);
    assert_true(done);
    expect_bytes(f, f->before);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_commit_writes_and_leaves_nothing),
        cmocka_unit_test(test_many_sectors),
        cmocka_unit_test(test_the_start_of_the_disk_is_written_last),
        cmocka_unit_test(test_a_commit_of_nothing),
        cmocka_unit_test(test_a_power_cut_at_every_write),
        cmocka_unit_test(test_a_power_cut_during_the_way_back),
        cmocka_unit_test(test_a_view_is_the_old_image),
        cmocka_unit_test(test_a_write_that_fails_once_is_taken_back_at_once),
        cmocka_unit_test(test_a_flush_that_fails_is_taken_back),
        cmocka_unit_test(test_an_undo_file_that_cannot_be_written),
        cmocka_unit_test(test_a_device_is_refused),
        cmocka_unit_test(test_an_undo_file_that_is_not_whole_is_dropped),
        cmocka_unit_test(test_a_damaged_undo_file_is_kept),
        cmocka_unit_test(test_an_undo_file_of_a_stranger),
        cmocka_unit_test(test_a_hard_link_is_refused),
        cmocka_unit_test(test_a_long_name),
        cmocka_unit_test(test_the_way_back_writes_only_what_differs),
        cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_an_image_of_another_size),
        cmocka_unit_test(test_a_sector_that_changed_since),
        cmocka_unit_test(test_a_commit_does_not_remove_an_undo_file_it_did_not_make),
        cmocka_unit_test(test_a_symbolic_link_leads_to_the_same_undo_file),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
