/* Errors, findings, and the allocations that report them. */
#include "base/error.h"

#include <errno.h>

#include "base/findings.h"
#include "unit.h"

/* AddressSanitizer stops at an impossible size by default; here it must be an error. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_an_error_is_a_code_and_a_sentence(void **state)
{
    struct chr_error err;

    (void)state;
    memset(&err, 0x7F, sizeof err);
    assert_int_equal(err_set(&err, CHR_E_DAMAGED, "entry %d of %s", 7, "the table"), -1);
    assert_int_equal(err.code, CHR_E_DAMAGED);
    assert_string_equal(err.message, "entry 7 of the table");
    assert_string_equal(err.hint, "");
}

static void test_a_hint_belongs_to_its_error(void **state)
{
    struct chr_error err;

    (void)state;
    (void)err_set(&err, CHR_E_EXISTS, "x is there already");
    assert_int_equal(err_hint(&err, "use %s", "--force"), -1);
    assert_string_equal(err.hint, "use --force");
    (void)err_context(&err, "copy");
    assert_string_equal(err.hint, "use --force");
    (void)err_set(&err, CHR_E_IO, "another");
    assert_string_equal(err.hint, "");
}

static void test_errno_becomes_a_code(void **state)
{
    static const struct {
        int number;
        enum chr_code code;
    } cases[] = {
        {ENOSPC, CHR_E_SPACE},   {EDQUOT, CHR_E_SPACE},  {EFBIG, CHR_E_SPACE},
        {EEXIST, CHR_E_EXISTS},  {ENOENT, CHR_E_MISSING}, {ENOTDIR, CHR_E_MISSING},
        {ENOMEM, CHR_E_MEMORY},  {EAGAIN, CHR_E_BUSY},   {EBUSY, CHR_E_BUSY},
        {EIO, CHR_E_IO},         {EACCES, CHR_E_IO},
    };
    struct chr_error err;
    char expected[128];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(err_errno(&err, cases[i].number, "cannot open %s", "a.img"), -1);
        assert_int_equal(err.code, cases[i].code);
        (void)snprintf(expected, sizeof expected, "cannot open a.img: %s",
                       strerror(cases[i].number));
        assert_string_equal(err.message, expected);
    }
}

static void test_context_comes_in_front_once(void **state)
{
    struct chr_error err;

    (void)state;
    (void)err_set(&err, CHR_E_DAMAGED, "FAT entry 812 points outside");
    assert_int_equal(err_context(&err, "partition %d", 1), -1);
    assert_string_equal(err.message, "partition 1: FAT entry 812 points outside");
    (void)err_context(&err, "a.img");
    (void)err_context(&err, "a.img");
    assert_string_equal(err.message, "a.img: partition 1: FAT entry 812 points outside");
    assert_int_equal(err.code, CHR_E_DAMAGED);
}

/* A context is only left out where it stands there as a whole: 1 is not 12. */
static void test_context_is_not_taken_for_a_longer_word(void **state)
{
    struct chr_error err;

    (void)state;
    (void)err_set(&err, CHR_E_DAMAGED, "partition 12 begins inside of what follows it");
    (void)err_context(&err, "partition 1");
    assert_string_equal(err.message,
                        "partition 1: partition 12 begins inside of what follows it");
}

/* What is too long is cut; what was cut still ends, and context keeps the reason. */
static void test_long_text_is_cut(void **state)
{
    char text[4 * CHR_MESSAGE_SIZE];
    struct chr_error err;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)err_set(&err, CHR_E_IO, "%s", text);
    assert_int_equal(strlen(err.message), CHR_MESSAGE_SIZE - 1);
    (void)err_hint(&err, "%s", text);
    assert_int_equal(strlen(err.hint), CHR_HINT_SIZE - 1);
    (void)err_errno(&err, EIO, "%s", text);
    assert_non_null(strstr(err.message, strerror(EIO)));
    (void)err_set(&err, CHR_E_IO, "the reason");
    memset(text, 'y', sizeof text - 1);
    (void)err_context(&err, "%s", text);
    assert_true(strlen(err.message) < CHR_MESSAGE_SIZE);
    assert_non_null(strstr(err.message, ": the reason"));
}

static void test_memory_is_zero_and_failure_is_an_error(void **state)
{
    struct chr_error err = {.code = CHR_OK};
    uint8_t *bytes = mem_new(100, 3, &err);
    void *nothing = mem_new(0, 16, &err);
    /* Through a variable: a compiler that sees the size warns of it. */
    volatile size_t too_much = SIZE_MAX;
    char *copy = mem_strdup("name", &err);

    (void)state;
    assert_non_null(bytes);
    assert_non_null(nothing);
    for (int i = 0; i < 300; i++)
        assert_int_equal(bytes[i], 0);
    assert_string_equal(copy, "name");
    assert_null(mem_new(too_much, 2, &err));
    assert_int_equal(err.code, CHR_E_MEMORY);
    free(bytes);
    free(nothing);
    free(copy);
}

static void test_an_array_grows_and_keeps_what_it_held(void **state)
{
    uint32_t *array = NULL;
    size_t capacity = 0;
    struct chr_error err;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        assert_done(mem_grow(&array, &capacity, i, sizeof *array, &err), &err);
        assert_true(capacity > i);
        array[i] = i * 7;
    }
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(array[i], i * 7);
    free(array);
}

static void test_an_array_that_cannot_grow_stays(void **state)
{
    uint32_t *array = malloc(16);
    uint32_t *before = array;
    size_t capacity = SIZE_MAX / 4;
    struct chr_error err;

    (void)state;
    assert_refused(mem_grow(&array, &capacity, SIZE_MAX / 4, sizeof *array, &err), &err,
                   CHR_E_MEMORY, "out of memory");
    assert_ptr_equal(array, before);
    assert_true(capacity == SIZE_MAX / 4);
    free(array);
}

static void test_findings_are_kept_in_order(void **state)
{
    struct findings findings = {0};
    struct chr_error err;
    char text[2 * CHR_FINDING_SIZE];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_false(findings_has(&findings, "gpt-overlap"));
    for (int i = 0; i < 40; i++)
        assert_done(findings_add(&findings, CHR_NOTE, "gpt-note", &err, "number %d", i), &err);
    assert_done(findings_add(&findings, CHR_DAMAGE, "gpt-overlap", &err, "%s", text), &err);
    assert_int_equal(findings.count, 41);
    assert_string_equal(findings.items[39].text, "number 39");
    assert_int_equal(findings.items[40].severity, CHR_DAMAGE);
    assert_int_equal(strlen(findings.items[40].text), CHR_FINDING_SIZE - 1);
    assert_true(findings_has(&findings, "gpt-overlap"));
    assert_false(findings_has(&findings, "gpt"));
    findings_release(&findings);
    assert_int_equal(findings.count, 0);
    assert_null(findings.items);
}

static void test_a_word_of_a_shell_is_quoted_and_cut(void **state)
{
    char word[16];

    (void)state;
    assert_string_equal(chr_shell_word("a-b_c./d", word, sizeof word), "a-b_c./d");
    assert_string_equal(chr_shell_word("", word, sizeof word), "''");
    assert_string_equal(chr_shell_word("a b", word, sizeof word), "'a b'");
    assert_string_equal(chr_shell_word("it's", word, sizeof word), "'it'\\''s'");
    assert_string_equal(chr_shell_word("0123456789abcdefgh", word, sizeof word), "0123456789abcde");
    assert_string_equal(chr_shell_word("a", word, 1), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_is_a_code_and_a_sentence),
        cmocka_unit_test(test_a_hint_belongs_to_its_error),
        cmocka_unit_test(test_errno_becomes_a_code),
        cmocka_unit_test(test_context_comes_in_front_once),
        cmocka_unit_test(test_context_is_not_taken_for_a_longer_word),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_a_word_of_a_shell_is_quoted_and_cut),
        cmocka_unit_test(test_memory_is_zero_and_failure_is_an_error),
        cmocka_unit_test(test_an_array_grows_and_keeps_what_it_held),
        cmocka_unit_test(test_an_array_that_cannot_grow_stays),
        cmocka_unit_test(test_findings_are_kept_in_order),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
