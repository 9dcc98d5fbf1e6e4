/*
 * Quoting: whatever a value is, a reader of RouterOS strings that was written for this
 * test alone, from the manual, gets it back, and finds nothing else.
 */
#include "rsc/quote.h"

#include "unit.h"

/* ---- a small reader of one string ---- */

struct reader {
    const char *text;
    size_t len;
    size_t off;
};

static int hex_digit(char c)
{
    const char *digits = "0123456789ABCDEF";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;

    return found != NULL ? (int)(found - digits) : -1;
}

/*
 * Read a string that begins at reader->off into OUT.  Returns its length; -1 when it
 * does not end, holds an unknown escape, a variable or expression, or a raw newline.
 */
static long read_string(struct reader *reader, char *out)
{
    static const char from[] = "\"\\nrt$?_abfv";
    static const char to[] = "\"\\\n\r\t$? \a\b\f\v";
    long count = 0;

    if (reader->off >= reader->len || reader->text[reader->off++] != '"')
        return -1;
    while (reader->off < reader->len) {
        char c = reader->text[reader->off++];

        if (c == '"')
            return count;
        if (c == '$' || c == '\n' || c == '\r' || c == '\0')
            return -1;
        if (c == '\\') {
            char first = reader->off < reader->len ? reader->text[reader->off++] : '\0';
            char second = reader->off < reader->len ? reader->text[reader->off] : '\0';
            const char *letter = first != '\0' ? strchr(from, first) : NULL;

            if (hex_digit(first) >= 0 && hex_digit(second) >= 0) {
                c = (char)(hex_digit(first) << 4 | hex_digit(second));
                reader->off++;
            } else if (letter != NULL) {
                c = to[letter - from];
            } else {
                return -1;
            }
        }
        out[count++] = c;
    }
    return -1;
}

static void both_ways(const char *bytes, size_t len)
{
    struct secret quoted = {0};
    struct chr_error err;
    char back[4096];
    struct reader reader;

    assert_done(rsc_quote(&quoted, bytes, len, &err), &err);
    reader = (struct reader){quoted.data, quoted.len, 0};
    assert_int_equal(read_string(&reader, back), (long)len);
    assert_memory_equal(back, bytes, len);
    assert_int_equal(reader.off, quoted.len); /* nothing is behind the string */
    for (size_t i = 0; i < quoted.len; i++)
        assert_in_range(quoted.data[i], 0x20, 0x7E);
    secret_release(&quoted);
}

static void test_every_byte_and_every_pair(void **state)
{
    (void)state;
    for (unsigned a = 1; a < 256; a++) {
        char one = (char)a;

        both_ways(&one, 1);
        for (unsigned b = 1; b < 256; b++) {
            char two[2] = {(char)a, (char)b};

            both_ways(two, 2);
        }
    }
}

static void test_random_values(void **state)
{
    static const char nasty[] = "\"\\$[](){};=#\n\r\t?_/: AF09af\x7f\xc3\xa9";
    struct dice dice = {20261121};

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char bytes[300];
        size_t len = roll_below(&dice, sizeof bytes);

        for (size_t i = 0; i < len; i++)
            bytes[i] = round % 2 == 0 ? nasty[roll_below(&dice, sizeof nasty - 1)]
                                      : (char)(1 + roll_below(&dice, 255));
        both_ways(bytes, len);
    }
}

/* The inside of a string stays inside between any text that is a string's, too. */
static void test_inside_other_text(void **state)
{
    static const char *const around[] = {"", "ab", "09AF", "\\\\", "\\\"", "\\$", "\\41", "[", "?"};
    static const char nasty[] = "\"\\$[]{}\nAF09_n";
    struct dice dice = {42};

    (void)state;
    for (int round = 0; round < 20000; round++) {
        const char *before = around[roll_below(&dice, 9)];
        const char *after = around[roll_below(&dice, 9)];
        struct secret text = {0};
        struct chr_error err;
        char value[16];
        char wanted[64];
        char got[256];
        struct reader reader;
        size_t len = roll_below(&dice, sizeof value);
        long count;
        char plain[256];

        for (size_t i = 0; i < len; i++)
            value[i] = nasty[roll_below(&dice, sizeof nasty - 1)];
        assert_done(secret_append_text(&text, "\"", &err), &err);
        assert_done(secret_append_text(&text, before, &err), &err);
        assert_done(rsc_quote_inside(&text, value, len, &err), &err);
        assert_done(secret_append_text(&text, after, &err), &err);
        assert_done(secret_append_text(&text, "\"", &err), &err);
        /* What the text around it means, from a string without the value. */
        (void)snprintf(wanted, sizeof wanted, "\"%s\"", before);
        reader = (struct reader){wanted, strlen(wanted), 0};
        count = read_string(&reader, plain);
        assert_true(count >= 0);
        memcpy(plain + count, value, len);
        count += (long)len;
        (void)snprintf(wanted, sizeof wanted, "\"%s\"", after);
        reader = (struct reader){wanted, strlen(wanted), 0};
        count += read_string(&reader, plain + count);
        reader = (struct reader){text.data, text.len, 0};
        assert_int_equal(read_string(&reader, got), count);
        assert_memory_equal(got, plain, (size_t)count);
        assert_int_equal(reader.off, text.len);
        secret_release(&text);
    }
}

static void test_known_forms(void **state)
{
    struct secret quoted = {0};
    struct chr_error err;

    (void)state;
    assert_done(rsc_quote(&quoted, "a\"$\\\n\r\t?\x01\xc3\xa9", 11, &err), &err);
    assert_done(secret_append(&quoted, "", 1, &err), &err);
    assert_string_equal(quoted.data, "\"a\\\"\\$\\\\\\n\\r\\t?\\01\\C3\\A9\"");
    secret_release(&quoted);
}

static void test_nul_is_refused(void **state)
{
    struct secret quoted = {0};
    struct chr_error err;

    (void)state;
    assert_refused(rsc_quote(&quoted, "a\0b", 3, &err), &err, CHR_E_REFUSED, "NUL");
    secret_release(&quoted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_and_every_pair),
        cmocka_unit_test(test_random_values),
        cmocka_unit_test(test_inside_other_text),
        cmocka_unit_test(test_known_forms),
        cmocka_unit_test(test_nul_is_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
