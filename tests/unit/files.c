/* Outputs that appear whole or not at all. */
#include "op/files.h"

#include <dirent.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "unit.h"

#define FOLDER "out"
#define NAME FOLDER "/a.img"
#define HIDDEN FOLDER "/.a.img.chrimg-tmp"

/* Begin with an empty folder. */
static int empty_folder(void **state)
{
    (void)state;
    return system("rm -rf " FOLDER " && mkdir " FOLDER);
}

/* How many names there are in the folder, hidden ones included. */
static int names(void)
{
    DIR *folder = opendir(FOLDER);
    int count = 0;

    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(folder);
    return count;
}

static void expect_contents(const char *path, const char *text)
{
    size_t len;
    uint8_t *bytes = read_file(path, &len);

    assert_int_equal(len, strlen(text));
    assert_memory_equal(bytes, text, len);
    free(bytes);
}

static struct output begin(const char *path, uint64_t size, bool force)
{
    struct output output = {0};
    struct chr_error err;

    assert_done(output_begin(path, size, force, &output, &err), &err);
    return output;
}

static void test_an_output_appears_when_it_is_published(void **state)
{
    struct output output = begin(NAME, 5, false);
    struct chr_error err;
    uint8_t zeros[5];
    struct stat st;

    (void)state;
    assert_int_equal(output.blk->size, 5);
    assert_done(blk_read(output.blk, 0, zeros, 5, &err), &err);
    assert_true(is_zero(zeros, 5));
    assert_done(blk_write(output.blk, 0, "whole", 5, &err), &err);
    assert_int_equal(access(NAME, F_OK), -1);
    assert_done(output_publish(&output, &err), &err);
    assert_null(output.blk);
    assert_null(output.path);
    assert_int_equal(names(), 1);
    expect_contents(NAME, "whole");
    assert_int_equal(stat(NAME, &st), 0);
    assert_true((st.st_mode & 0600) == 0600);
}

static void test_a_discarded_output_leaves_nothing(void **state)
{
    struct output output = begin(NAME, 1 << 20, false);
    struct output never = {0};

    (void)state;
    output_discard(&output);
    output_discard(&output);
    output_discard(&never);
    assert_int_equal(names(), 0);
}

static void test_discarding_keeps_what_was_to_be_replaced(void **state)
{
    struct output output;

    (void)state;
    write_file(NAME, "old", 3);
    output = begin(NAME, 3, true);
    output_discard(&output);
    assert_int_equal(names(), 1);
    expect_contents(NAME, "old");
}

static void test_an_existing_name_is_refused(void **state)
{
    struct output output = {0};
    struct chr_error err;

    (void)state;
    write_file(NAME, "old", 3);
    assert_refused(output_begin(NAME, 3, false, &output, &err), &err, CHR_E_EXISTS,
                   NAME " is there already");
    assert_non_null(strstr(err.hint, "--force"));
    assert_null(output.blk);
    expect_contents(NAME, "old");
    /* A dangling link is a name too. */
    assert_int_equal(symlink("nowhere", FOLDER "/link"), 0);
    assert_refused(output_begin(FOLDER "/link", 3, false, &output, &err), &err, CHR_E_EXISTS,
                   "is there already");
    assert_int_equal(names(), 2);
}

/* The name was free at the beginning, and is not any more at the end. */
static void test_a_name_that_is_taken_meanwhile_is_not_replaced(void **state)
{
    struct output output = begin(NAME, 3, false);
    struct chr_error err;

    (void)state;
    write_file(NAME, "theirs", 6);
    assert_refused(output_publish(&output, &err), &err, CHR_E_EXISTS, "is there already");
    assert_int_equal(names(), 1);
    expect_contents(NAME, "theirs");
}

static void test_force_replaces_the_old_one_at_the_end_only(void **state)
{
    struct output output;
    struct chr_error err;

    (void)state;
    write_file(NAME, "old", 3);
    output = begin(NAME, 3, true);
    assert_done(blk_write(output.blk, 0, "new", 3, &err), &err);
    expect_contents(NAME, "old");
    assert_done(output_publish(&output, &err), &err);
    expect_contents(NAME, "new");
    assert_int_equal(names(), 1);
    output = begin(FOLDER "/b.img", 3, true); /* force with nothing to replace */
    assert_done(output_publish(&output, &err), &err);
    assert_int_equal(file_size(FOLDER "/b.img"), 3);
    assert_int_equal(names(), 2);
}

/* What a run that was killed while it replaced a file has left is used up. */
static void test_a_leftover_is_no_obstacle(void **state)
{
    struct output output;
    struct chr_error err;

    (void)state;
    write_file(NAME, "old", 3);
    write_file(HIDDEN, "leftover of a killed run", 24);
    output = begin(NAME, 3, true);
    assert_done(blk_write(output.blk, 0, "new", 3, &err), &err);
    assert_done(output_publish(&output, &err), &err);
    expect_contents(NAME, "new");
    assert_int_equal(names(), 1);
}

static void test_places_where_no_file_can_be(void **state)
{
    struct output output = {0};
    struct chr_error err;

    (void)state;
    write_file(NAME, "file", 4);
    assert_refused(output_begin("missing/a.img", 3, false, &output, &err), &err, CHR_E_MISSING,
                   "missing/a.img");
    assert_refused(output_begin(NAME "/b", 3, false, &output, &err), &err, CHR_E_MISSING, NAME);
    assert_refused(output_begin(FOLDER, 3, false, &output, &err), &err, CHR_E_USAGE, "is a folder");
    assert_refused(output_begin(FOLDER, 3, true, &output, &err), &err, CHR_E_USAGE, "is a folder");
    assert_null(output.blk);
    assert_int_equal(names(), 1);
}

static void test_a_size_that_no_file_can_have(void **state)
{
    struct output output = {0};
    struct chr_error err;

    (void)state;
    assert_int_equal(output_begin(NAME, UINT64_MAX, false, &output, &err), -1);
    assert_null(output.blk);
    assert_int_equal(names(), 0);
}

/* The folder goes while the output is made: an error, and nothing appears elsewhere. */
static void test_the_folder_disappears(void **state)
{
    struct output output = begin(NAME, 3, false);
    struct chr_error err;

    (void)state;
    assert_int_equal(rename(FOLDER, "moved"), 0);
    assert_refused(output_publish(&output, &err), &err, CHR_E_MISSING, NAME);
    assert_int_equal(system("rmdir moved"), 0);
}

static void test_names_beside(void **state)
{
    static const char *const cases[][2] = {{"a.img", ".a.img.x"},
                                           {"dir/a.img", "dir/.a.img.x"},
                                           {"/a", "/.a.x"},
                                           {"./d/e/a", "./d/e/.a.x"}};
    struct chr_error err;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char *hidden = hidden_path_beside(cases[i][0], ".x", &err);

        assert_string_equal(hidden, cases[i][1]);
        free(hidden);
    }
    assert_done(sync_folder_of(NAME, &err), &err);
    assert_done(sync_folder_of("no-folder-in-it", &err), &err);
    assert_refused(sync_folder_of("missing/a", &err), &err, CHR_E_MISSING, "missing/");
}

#define with_empty_folder(test) cmocka_unit_test_setup(test, empty_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_empty_folder(test_an_output_appears_when_it_is_published),
        with_empty_folder(test_a_discarded_output_leaves_nothing),
        with_empty_folder(test_discarding_keeps_what_was_to_be_replaced),
        with_empty_folder(test_an_existing_name_is_refused),
        with_empty_folder(test_a_name_that_is_taken_meanwhile_is_not_replaced),
        with_empty_folder(test_force_replaces_the_old_one_at_the_end_only),
        with_empty_folder(test_a_leftover_is_no_obstacle),
        with_empty_folder(test_places_where_no_file_can_be),
        with_empty_folder(test_a_size_that_no_file_can_have),
        with_empty_folder(test_the_folder_disappears),
        with_empty_folder(test_names_beside),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
