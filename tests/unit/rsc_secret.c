/* Secret buffers: what is in them, and that nothing of it stays behind. */
#include "rsc/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "unit.h"

/* The library's munmap() calls come here: the pages must be wiped by then. */
static size_t unmapped;
static bool all_wiped = true;

int munmap(void *address, size_t length)
{
    const char *bytes = address;

    for (size_t i = 0; i < length; i++)
        all_wiped = all_wiped && bytes[i] == 0;
    unmapped++;
    /* Taken out of use, so that a late access would crash as it does after munmap(). */
    return mprotect(address, length, PROT_NONE);
}

static void test_growth_and_release_wipe(void **state)
{
    struct secret secret = {0};
    struct chr_error err;

    (void)state;
    unmapped = 0;
    for (int i = 0; i < 5000; i++)
        assert_done(secret_append_text(&secret, "correct horse ", &err), &err);
    assert_true(unmapped >= 2); /* it moved */
    assert_int_equal(secret.len, 5000 * 14);
    for (size_t i = 0; i < 5000; i++)
        assert_memory_equal(secret.data + i * 14, "correct horse ", 14);
    secret_release(&secret);
    assert_true(unmapped >= 3);
    assert_true(all_wiped);
    assert_null(secret.data);
    assert_int_equal(secret.len + secret.capacity, 0);
    secret_release(&secret);
}

static void test_insert_moves_what_is_behind(void **state)
{
    struct secret secret = {0};
    struct chr_error err;

    (void)state;
    assert_done(secret_append_text(&secret, "ad", &err), &err);
    assert_done(secret_insert(&secret, 1, "bc", 2, &err), &err);
    assert_done(secret_insert(&secret, 0, "<", 1, &err), &err);
    assert_done(secret_insert(&secret, 5, ">", 1, &err), &err);
    assert_int_equal(secret.len, 6);
    assert_memory_equal(secret.data, "<abcd>", 6);
    secret_release(&secret);
}

static void test_reading_has_a_limit(void **state)
{
    struct secret secret = {0};
    struct chr_error err;
    static char bytes[10000];
    int fd;

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    write_file("input", bytes, sizeof bytes);
    fd = open("input", O_RDONLY);
    assert_done(secret_append_text(&secret, "before", &err), &err);
    assert_done(secret_read(&secret, fd, sizeof bytes, "input", &err), &err);
    assert_int_equal(secret.len, 6 + sizeof bytes);
    assert_memory_equal(secret.data + 6, bytes, sizeof bytes);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_refused(secret_read(&secret, fd, sizeof bytes - 1, "input", &err), &err, CHR_E_REFUSED,
                   "larger than");
    (void)close(fd);
    secret_release(&secret);
    assert_true(all_wiped);
}

static void test_impossible_sizes_are_refused(void **state)
{
    struct secret secret = {0};
    struct chr_error err;

    (void)state;
    assert_refused(secret_reserve(&secret, SIZE_MAX, &err), &err, CHR_E_REFUSED, "MiB");
    assert_refused(secret_append(&secret, "x", SIZE_MAX, &err), &err, CHR_E_REFUSED, "MiB");
    secret_release(&secret);
}

/* VmFlags of /proc/self/smaps: "dd" is not dumped, "lo" is locked. */
static void test_pages_are_not_dumped(void **state)
{
    struct secret secret = {0};
    struct chr_error err;
    FILE *maps;
    char line[512];
    bool inside = false;
    bool found = false;

    (void)state;
    assert_done(secret_append_text(&secret, "x", &err), &err);
    maps = fopen("/proc/self/smaps", "r");
    if (maps == NULL) {
        secret_release(&secret);
        skip();
    }
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;

        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            inside = (unsigned long)(uintptr_t)secret.data >= begin &&
                     (unsigned long)(uintptr_t)secret.data < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    (void)fclose(maps);
    assert_true(found);
    secret_release(&secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth_and_release_wipe),
        cmocka_unit_test(test_insert_moves_what_is_behind),
        cmocka_unit_test(test_reading_has_a_limit),
        cmocka_unit_test(test_impossible_sizes_are_refused),
        cmocka_unit_test(test_pages_are_not_dumped),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
