/*
 * Where values come from, and where they do not go: programs get no secret in their
 * arguments, nothing is left in files, and no message shows one.
 */
#include "rsc/resolver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "rsc/child.h"
#include "unit.h"

#define SECRET "s3cr3t-hunter2"

static void write_program(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
    assert_int_equal(chmod(name, 0755), 0);
}

/* A resolver's value as text; NULL, with *ERR set, when it has none. */
static const char *resolve(struct rsc_resolver *resolver, const char *reference,
                           struct chr_error *err)
{
    static char text[256];
    const struct secret *value = NULL;

    *err = (struct chr_error){0};
    if (rsc_resolve(resolver, reference, &value, err) < 0)
        return NULL;
    assert_true(value->len < sizeof text);
    memcpy(text, value->data, value->len);
    text[value->len] = '\0';
    return text;
}

static void gives(const struct chr_template_options *options, const char *reference,
                  const char *wanted)
{
    struct rsc_resolver resolver = {.options = options};
    struct chr_error err;
    const char *got = resolve(&resolver, reference, &err);

    if (got == NULL)
        fail_msg("%s: %s", reference, err.message);
    assert_string_equal(got, wanted);
    rsc_resolver_release(&resolver);
}

static void fails(const struct chr_template_options *options, const char *reference,
                  enum chr_code code, const char *message)
{
    struct rsc_resolver resolver = {.options = options};
    struct chr_error err;

    if (resolve(&resolver, reference, &err) != NULL)
        fail_msg("%s has a value", reference);
    if (err.code != code || strstr(err.message, message) == NULL)
        fail_msg("%s: code %d, %s; wanted %d, %s", reference, (int)err.code, err.message,
                 (int)code, message);
    assert_null(strstr(err.message, SECRET));
    assert_null(strstr(err.hint, SECRET));
    assert_int_equal(resolver.count, 0);
    rsc_resolver_release(&resolver);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("CHRIMG_T1", SECRET "\n", 1), 0);
    assert_int_equal(setenv("CHRIMG_T2", "", 1), 0);
    gives(NULL, "env://CHRIMG_T1", SECRET "\n"); /* as it is */
    fails(NULL, "env://CHRIMG_T2", CHR_E_REFUSED, "{{ env://CHRIMG_T2 }} is empty");
    fails(NULL, "env://CHRIMG_T3", CHR_E_MISSING, "CHRIMG_T3 is not in the environment");
}

static void file_gives(const char *bytes, size_t len, const char *wanted)
{
    char reference[600];

    write_file("value", bytes, len);
    (void)snprintf(reference, sizeof reference, "file://%s/value", work_folder);
    if (wanted != NULL)
        gives(NULL, reference, wanted);
    else
        fails(NULL, reference, CHR_E_REFUSED, reference);
}

static void test_files(void **state)
{
    static char large[RSC_VALUE_MAX + 2];
    char reference[600];

    (void)state;
    file_gives(SECRET, strlen(SECRET), SECRET);
    file_gives(SECRET "\n", strlen(SECRET) + 1, SECRET);
    file_gives(SECRET "\r\n", strlen(SECRET) + 2, SECRET);
    file_gives(SECRET "\r", strlen(SECRET) + 1, SECRET "\r");
    file_gives(SECRET "\n\n", strlen(SECRET) + 2, SECRET "\n");
    file_gives("", 0, NULL);
    file_gives("\n", 1, NULL);
    file_gives(SECRET "\0x", strlen(SECRET) + 2, NULL);
    memset(large, 's', sizeof large);
    file_gives(large, sizeof large, NULL);
    fails(NULL, "file:///nonexistent/file", CHR_E_MISSING, "{{ file:///nonexistent/file }}");
    (void)snprintf(reference, sizeof reference, "file://%s", work_folder);
    fails(NULL, reference, CHR_E_REFUSED, "is not a file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    (void)snprintf(reference, sizeof reference, "file://%s/fifo", work_folder);
    fails(NULL, reference, CHR_E_REFUSED, "is not a file");
}

static void test_programs_must_be_allowed(void **state)
{
    const struct chr_pair allowed[] = {
        {"good", "./good"}, {"bad", "./bad"}, {"none", "./none"}, {"loud", "./loud"},
        {"silent", "./silent"}, {"killed", "./killed"}, {"server", "./server"}, {"late", "./late"}};
    const struct chr_template_options options = {.allow_cmds = allowed, .allow_cmd_count = 8};

    (void)state;
    write_program("good", "#!/bin/sh\n[ $# = 0 ] || exit 9\n[ -z \"$(cat)\" ] || exit 8\n"
                          "echo noise >&2\necho '" SECRET "'\n");
    write_program("bad", "#!/bin/sh\necho 'vault is locked' >&2\nexit 3\n");
    write_program("late", "#!/bin/sh\nset -x\necho '" SECRET "'\nexit 3\n");
    write_program("loud", "#!/bin/sh\nwhile :; do echo '" SECRET "'; done\n");
    write_program("silent", "#!/bin/sh\n");
    write_program("killed", "#!/bin/sh\nkill -9 $$\n");
    /* What stays in the background and holds the pipe does not hold us. */
    write_program("server", "#!/bin/sh\n(sleep 30) & echo $! >server.pid\necho '" SECRET "'\n");
    gives(&options, "cmd://good", SECRET);
    fails(&options, "cmd://bad", CHR_E_REFUSED, "./bad failed with exit status 3: vault is locked");
    fails(&options, "cmd://late", CHR_E_REFUSED, "may hold the value and are not shown");
    fails(&options, "cmd://none", CHR_E_MISSING, "cannot start ./none");
    fails(&options, "cmd://other", CHR_E_REFUSED, "no program is allowed");
    fails(NULL, "cmd://good", CHR_E_REFUSED, "no program is allowed");
    fails(&options, "cmd://loud", CHR_E_REFUSED, "prints more than");
    fails(&options, "cmd://silent", CHR_E_REFUSED, "is empty");
    fails(&options, "cmd://killed", CHR_E_REFUSED, "exit status 137");
    gives(&options, "cmd://server", SECRET);
    assert_int_equal(system("kill $(cat server.pid)"), 0);
}

static void test_a_long_complaint_blocks_nothing(void **state)
{
    const struct chr_pair allowed[] = {{"x", "./complains"}};
    const struct chr_template_options options = {.allow_cmds = allowed, .allow_cmd_count = 1};

    (void)state;
    write_program("complains", "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' 'e' >&2\n"
                               "echo '" SECRET "'\n");
    gives(&options, "cmd://x", SECRET);
}

/* Whether any process has SECRET in its arguments. */
static bool is_in_an_argv(void)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        char path[300];
        static char bytes[65536];
        FILE *file;
        size_t count;

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        file = fopen(path, "r");
        if (file == NULL)
            continue;
        count = fread(bytes, 1, sizeof bytes, file);
        found = found || memmem(bytes, count, SECRET, strlen(SECRET)) != NULL;
        (void)fclose(file);
    }
    (void)closedir(folder);
    return found;
}

/* A stand-in for op(1): says how it was called, and gives what is in the file "vault". */
static void test_one_password_is_asked_once(void **state)
{
    struct rsc_resolver resolver = {0};
    struct chr_error err;
    const char *old_path = getenv("PATH");
    char path[4096];
    char *calls;
    size_t len;

    (void)state;
    write_file("vault", SECRET, strlen(SECRET));
    write_program("op", "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" >>calls\nexec cat vault\n");
    (void)snprintf(path, sizeof path, "%s:%s", work_folder, old_path);
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_string_equal(resolve(&resolver, "op://Lab/my router/password", &err), SECRET);
    assert_string_equal(resolve(&resolver, "op://Lab/my router/password", &err), SECRET);
    calls = (char *)read_file("calls", &len);
    calls[len] = '\0'; /* read_file() has room for it */
    assert_string_equal(calls, "3\nread\n--no-newline\nop://Lab/my router/password\n");
    free(calls);
    assert_false(is_in_an_argv());
    rsc_resolver_release(&resolver);

    write_program("op", "#!/bin/sh\necho '[ERROR] item not found' >&2\nexit 1\n");
    fails(NULL, "op://Lab/x/y", CHR_E_REFUSED,
          "{{ op://Lab/x/y }}: op failed with exit status 1: [ERROR] item not found");
    assert_int_equal(unlink("op"), 0);
    assert_int_equal(setenv("PATH", work_folder, 1), 0);
    fails(NULL, "op://Lab/x/y", CHR_E_MISSING, "cannot start op");
    assert_int_equal(setenv("PATH", old_path, 1), 0);
}

/* While a program runs, and after, the secret is in no file of ours and no argument. */
static void test_nothing_is_left_behind(void **state)
{
    const struct chr_pair allowed[] = {{"look", "./look"}, {"pw", "./pw"}};
    const struct chr_template_options options = {.allow_cmds = allowed, .allow_cmd_count = 2};
    struct rsc_resolver resolver = {.options = &options};
    struct chr_error err;

    (void)state;
    write_file("vault", SECRET, strlen(SECRET));
    write_program("pw", "#!/bin/sh\nexec cat vault\n");
    /* Runs after the resolver has the secret; says where it can see it but in the vault. */
    write_program("look", "#!/bin/sh\n"
                          "for f in /proc/[0-9]*/cmdline; do\n"
                          "grep -qs -F -f vault $f && echo $f; done\n"
                          "grep -rls -F -f vault . | grep -vx ./vault\n"
                          "tr '\\0' '\\n' </proc/self/environ | grep -F -f vault\n"
                          "echo end\n");
    (void)unsetenv("CHRIMG_T1");
    /* The earlier tests' programs have it in their text. */
    assert_int_equal(system("rm -f good bad late loud server complains value"), 0);
    assert_string_equal(resolve(&resolver, "cmd://pw", &err), SECRET);
    assert_string_equal(resolve(&resolver, "cmd://look", &err), "end");
    rsc_resolver_release(&resolver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_programs_must_be_allowed),
        cmocka_unit_test(test_a_long_complaint_blocks_nothing),
        cmocka_unit_test(test_one_password_is_asked_once),
        cmocka_unit_test(test_nothing_is_left_behind),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
