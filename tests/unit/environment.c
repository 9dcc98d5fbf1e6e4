/* Programs by PATH, and the folder for temporary files. */
#include "base/environment.h"

#include <sys/stat.h>

#include "unit.h"

static void make_program(const char *path)
{
    write_file(path, "#!/bin/sh\n", 10);
    assert_int_equal(chmod(path, 0755), 0);
}

/* With PATH as FORMAT, whose %s is the work folder. */
static bool finds(const char *format, const char *name, char out[1024])
{
    char path[2048];

    (void)snprintf(path, sizeof path, format, work_folder, work_folder);
    assert_int_equal(setenv("PATH", path, 1), 0);
    return find_program(name, out, 1024);
}

static void test_search(void **state)
{
    char found[1024];
    char wanted[1024];

    (void)state;
    assert_int_equal(mkdir("a", 0755) | mkdir("b", 0755) | mkdir("b/folder", 0755), 0);
    make_program("b/tool");
    make_program("here");
    write_file("a/tool", "", 0); /* not executable: the search goes on */
    (void)snprintf(wanted, sizeof wanted, "%s/b/tool", work_folder);
    assert_true(finds("/no/such:%s/a:%s/b", "tool", found));
    assert_string_equal(found, wanted);
    assert_false(finds("%s/a", "tool", found));
    assert_string_equal(found, "");
    assert_false(finds("%s/b", "folder", found));
    /* The current folder, and folders below it, are none to look in. */
    assert_false(finds(":%s/a:", "here", found));
    assert_false(finds(".:b:./b", "tool", found));
    /* Without PATH, or with one that lacks them, where systems keep programs. */
    assert_true(finds("", "env", found));
    assert_int_equal(found[0], '/');
    assert_int_equal(unsetenv("PATH"), 0);
    assert_true(find_program("env", found, sizeof found));
    /* What does not fit is not cut. */
    assert_false(find_program("env", found, 4));
    assert_string_equal(found, "");
}

static void test_temporary_folder(void **state)
{
    (void)state;
    assert_int_equal(setenv("TMPDIR", "/some/where", 1), 0);
    assert_string_equal(temporary_folder(), "/some/where");
    assert_int_equal(setenv("TMPDIR", "", 1), 0);
    assert_string_equal(temporary_folder(), "/tmp");
    assert_int_equal(unsetenv("TMPDIR"), 0);
    assert_string_equal(temporary_folder(), "/tmp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_temporary_folder),
    };

    /* TMPDIR is changed last: the folder that is removed is an absolute path. */
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
