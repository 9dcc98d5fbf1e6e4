/* UTF-8 and UTF-16: every code point both ways, and what is not sound. */
#include "base/utf.h"

#include "base/bytes.h"
#include "unit.h"

/* The test's own encoders, straight from the tables of RFC 3629 and RFC 2781. */
static size_t encode_utf8(uint32_t c, char *out)
{
    static const uint8_t lead[5] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (size_t i = length; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(lead[length] | c);
    out[length] = '\0';
    return length;
}

static size_t encode_utf16le(uint32_t c, uint8_t *out)
{
    if (c < 0x10000) {
        put_le16(out, (uint16_t)c);
        return 1;
    }
    put_le16(out, (uint16_t)(0xD800 | (c - 0x10000) >> 10));
    put_le16(out + 2, (uint16_t)(0xDC00 | ((c - 0x10000) & 0x3FF)));
    return 2;
}

static void test_every_code_point_both_ways(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10FFFF; c++) {
        char text[8];
        char back[16];
        uint16_t units[2];
        uint8_t expected[4];
        int count;

        if (c == 0xD800)
            c = 0xE000;
        (void)encode_utf8(c, text);
        count = utf8_to_utf16(text, units, 2);
        if (count != (int)encode_utf16le(c, expected))
            fail_msg("U+%04X: %d units", (unsigned)c, count);
        for (int i = 0; i < count; i++)
            assert_int_equal(units[i], le16(expected + 2 * i));
        utf16le_to_utf8(expected, (size_t)count, back);
        assert_string_equal(back, text);
    }
}

static void refuse_utf8(const char *bytes)
{
    uint16_t units[16];

    if (utf8_to_utf16(bytes, units, 16) != -1)
        fail_msg("taken for UTF-8: %02x %02x...", (uint8_t)bytes[0], (uint8_t)bytes[1]);
}

static void test_unsound_utf8_is_refused(void **state)
{
    (void)state;
    refuse_utf8("\x80");             /* a continuation alone */
    refuse_utf8("a\xBF");
    refuse_utf8("\xC3");             /* cut off */
    refuse_utf8("\xC3(");
    refuse_utf8("\xE2\x82");
    refuse_utf8("\xE2\x82x");
    refuse_utf8("\xF0\x9F\x98");
    refuse_utf8("\xC0\x80");         /* overlong: NUL, '/', U+07FF, U+FFFF */
    refuse_utf8("\xC0\xAF");
    refuse_utf8("\xC1\xBF");
    refuse_utf8("\xE0\x9F\xBF");
    refuse_utf8("\xF0\x8F\xBF\xBF");
    refuse_utf8("\xED\xA0\x80");     /* surrogates */
    refuse_utf8("\xED\xBF\xBF");
    refuse_utf8("\xED\xA0\xBD\xED\xB8\x80");
    refuse_utf8("\xF4\x90\x80\x80"); /* past U+10FFFF */
    refuse_utf8("\xF8\x88\x80\x80\x80");
    refuse_utf8("\xFF");
}

static void test_utf8_that_does_not_fit_is_refused(void **state)
{
    uint16_t units[4] = {0, 0, 0, 0x5555};

    (void)state;
    assert_int_equal(utf8_to_utf16("abc", units, 3), 3);
    assert_int_equal(utf8_to_utf16("abcd", units, 3), -1);
    assert_int_equal(utf8_to_utf16("ab\xF0\x9F\x98\x80", units, 3), -1);
    assert_int_equal(utf8_to_utf16("a\xF0\x9F\x98\x80", units, 3), 3);
    assert_int_equal(utf8_to_utf16("", units, 0), 0);
    assert_int_equal(units[3], 0x5555);
}

static void expect_utf8(const uint16_t *in, size_t count, const char *expected)
{
    uint8_t bytes[32];
    char text[64];

    for (size_t i = 0; i < count; i++)
        put_le16(bytes + 2 * i, in[i]);
    memset(text, 0x55, sizeof text);
    utf16le_to_utf8(bytes, count, text);
    assert_string_equal(text, expected);
    assert_int_equal(text[3 * count + 1], 0x55);
}

static void test_unpaired_surrogates_become_a_replacement(void **state)
{
    (void)state;
    expect_utf8((const uint16_t[]){0xD83D}, 1, "\xEF\xBF\xBD");
    expect_utf8((const uint16_t[]){0xDE00, 'a'}, 2, "\xEF\xBF\xBD" "a");
    expect_utf8((const uint16_t[]){0xD83D, 'a'}, 2, "\xEF\xBF\xBD" "a");
    expect_utf8((const uint16_t[]){0xD83D, 0xD83D, 0xDE00}, 3,
                "\xEF\xBF\xBD\xF0\x9F\x98\x80");
    expect_utf8((const uint16_t[]){0xDE00, 0xD83D}, 2, "\xEF\xBF\xBD\xEF\xBF\xBD");
}

static void test_a_zero_unit_ends_the_text(void **state)
{
    (void)state;
    expect_utf8((const uint16_t[]){'a', 'b', 0, 'c'}, 4, "ab");
    expect_utf8((const uint16_t[]){0}, 1, "");
    expect_utf8((const uint16_t[]){'a', 'b', 'c'}, 3, "abc");
    expect_utf8(NULL, 0, "");
}

/* The second half of a pair that lies past the end is not looked at. */
static void test_the_end_cuts_a_pair(void **state)
{
    static const uint8_t in[] = {0x3D, 0xD8, 0x00, 0xDE};
    char text[8];

    (void)state;
    utf16le_to_utf8(in, 1, text);
    assert_string_equal(text, "\xEF\xBF\xBD");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point_both_ways),
        cmocka_unit_test(test_unsound_utf8_is_refused),
        cmocka_unit_test(test_utf8_that_does_not_fit_is_refused),
        cmocka_unit_test(test_unpaired_surrogates_become_a_replacement),
        cmocka_unit_test(test_a_zero_unit_ends_the_text),
        cmocka_unit_test(test_the_end_cuts_a_pair),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
