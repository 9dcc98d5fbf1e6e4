/* Outputs that appear whole or not at all. */
#include "op/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "block/lock.h"
#include "block/raw.h"
#include "op/ext_tools.h"
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

/* A VM, or this very process, reads what would be replaced. */
static void test_an_image_in_use_is_not_replaced(void **state)
{
    struct output output = {0};
    struct blk *user;
    struct chr_error err;

    (void)state;
    write_file(NAME, "old", 3);
    assert_done(raw_open(NAME, RAW_READ, &user, &err), &err);
    assert_refused(output_check(NAME, true, &err), &err, CHR_E_BUSY, "in use");
    assert_refused(output_begin(NAME, 3, true, &output, &err), &err, CHR_E_BUSY, "in use");
    assert_null(output.blk);
    blk_cleanup(&user);
    output = begin(NAME, 3, true);
    assert_refused(raw_open(NAME, RAW_READ, &user, &err), &err, CHR_E_BUSY, "in use");
    assert_refused(output_check(NAME, true, &err), &err, CHR_E_BUSY, "in use");
    output_discard(&output);
    assert_done(raw_open(NAME, RAW_READ, &user, &err), &err);
    blk_cleanup(&user);
    expect_contents(NAME, "old");
}

/* It came after the beginning, and a VM has it already. */
static void test_what_came_meanwhile_and_is_in_use_is_not_replaced(void **state)
{
    struct output output = begin(NAME, 3, true);
    struct blk *user;
    struct chr_error err;

    (void)state;
    write_file(NAME, "theirs", 6);
    assert_done(raw_open(NAME, RAW_WRITE, &user, &err), &err);
    assert_refused(output_publish(&output, &err), &err, CHR_E_BUSY, "in use");
    blk_cleanup(&user);
    assert_int_equal(names(), 1);
    expect_contents(NAME, "theirs");
}

/* The temporary name is another run's that is alive: it stays. */
static void test_a_temporary_name_in_use(void **state)
{
    struct output output;
    struct chr_error err;
    int fd;

    (void)state;
    write_file(NAME, "old", 3);
    write_file(HIDDEN, "another run's", 13);
    fd = open(HIDDEN, O_RDWR | O_CLOEXEC);
    assert_done(lock_image(fd, true, HIDDEN, &err), &err);
    output = begin(NAME, 3, true);
    assert_refused(output_publish(&output, &err), &err, CHR_E_BUSY, HIDDEN);
    (void)close(fd);
    expect_contents(NAME, "old");
    expect_contents(HIDDEN, "another run's");
}

static void test_the_undo_file_of_the_old_image_goes(void **state)
{
    struct output output;
    struct chr_error err;

    (void)state;
    write_file(NAME, "old", 3);
    write_file(FOLDER "/.a.img.chrimg-undo", "undo", 4);
    output = begin(NAME, 3, true);
    output_discard(&output);
    assert_int_equal(names(), 2);
    output = begin(NAME, 3, true);
    assert_done(output_publish(&output, &err), &err);
    assert_int_equal(names(), 1);
}

static void test_an_output_takes_the_mode_of_its_input(void **state)
{
    static const mode_t modes[][2] = {{0600, 0600}, {0644, 0644}, {0666, 0644},
                                      {0440, 0640}, {0755, 0644}, {04777, 0644}};
    mode_t mask = umask(022);

    (void)state;
    write_file(FOLDER "/input", "in", 2);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct output output = begin(NAME, 3, true);
        struct chr_error err;
        struct stat st;

        assert_int_equal(chmod(FOLDER "/input", modes[i][0]), 0);
        assert_done(output_take_mode(&output, FOLDER "/input", &err), &err);
        assert_done(output_publish(&output, &err), &err);
        assert_int_equal(stat(NAME, &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i][1]);
    }
    (void)umask(mask);
}

/* A file that another program has made beside. */
static void test_an_adopted_output(void **state)
{
    struct output output = {0};
    struct chr_error err;
    char *folder = private_folder_new(NAME, &err);
    char made[64];
    struct stat st;

    (void)state;
    assert_non_null(folder);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    (void)snprintf(made, sizeof made, "%s/made", folder);
    write_file(made, "made", 4);
    assert_done(output_adopt(made, NAME, false, &output, &err), &err);
    assert_int_equal(output.blk->size, 4);
    assert_done(output_publish(&output, &err), &err);
    expect_contents(NAME, "made");
    write_file(made, "again", 5);
    assert_refused(output_adopt(made, NAME, false, &output, &err), &err, CHR_E_EXISTS, NAME);
    assert_done(output_adopt(made, NAME, true, &output, &err), &err);
    assert_done(output_publish(&output, &err), &err);
    expect_contents(NAME, "again");
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

static void test_renaming_replaces_nothing(void **state)
{
    (void)state;
    write_file(NAME, "old", 3);
    write_file(FOLDER "/b", "new", 3);
    assert_int_equal(rename_to_free_name(AT_FDCWD, FOLDER "/b", AT_FDCWD, NAME), -1);
    assert_int_equal(errno, EEXIST);
    expect_contents(NAME, "old");
    assert_int_equal(rename_to_free_name(AT_FDCWD, FOLDER "/b", AT_FDCWD, FOLDER "/c"), 0);
    assert_int_equal(names(), 2);
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

/* Root could write to "/", which an empty word is no name of. */
static void test_an_empty_tmpdir_is_none(void **state)
{
    const char *before = getenv("TMPDIR");
    AUTO_FREE char *saved = before != NULL ? strdup(before) : NULL;
    AUTO_BLK struct blk *window = NULL;
    AUTO_BLK struct blk *copy = NULL;
    char link[64];
    char name[256] = "";
    struct chr_error err;

    (void)state;
    write_file(NAME, "text", 4);
    assert_done(raw_open(NAME, RAW_READ, &window, &err), &err);
    assert_int_equal(setenv("TMPDIR", "", 1), 0);
    assert_done(ext_tools_copy(window, &copy, &err), &err);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", copy->fd);
    if (readlink(link, name, sizeof name - 1) < 0)
        skip();
    assert_int_equal(strncmp(name, "/tmp/chrimg-", strlen("/tmp/chrimg-")), 0);
    assert_int_equal(saved != NULL ? setenv("TMPDIR", saved, 1) : unsetenv("TMPDIR"), 0);
}

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
        with_empty_folder(test_an_image_in_use_is_not_replaced),
        with_empty_folder(test_what_came_meanwhile_and_is_in_use_is_not_replaced),
        with_empty_folder(test_a_temporary_name_in_use),
        with_empty_folder(test_the_undo_file_of_the_old_image_goes),
        with_empty_folder(test_an_output_takes_the_mode_of_its_input),
        with_empty_folder(test_an_adopted_output),
        with_empty_folder(test_renaming_replaces_nothing),
        with_empty_folder(test_places_where_no_file_can_be),
        with_empty_folder(test_a_size_that_no_file_can_have),
        with_empty_folder(test_the_folder_disappears),
        with_empty_folder(test_names_beside),
        with_empty_folder(test_an_empty_tmpdir_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
