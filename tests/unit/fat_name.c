/* Names in FAT: aliases, long names, what is forbidden, what is the same. */
#include "fs/fat_name.h"

#include "unit.h"

/* The alias of NAME as text; "-" where this attempt is not allowed. */
static const char *alias_of(const char *name, unsigned attempt)
{
    static char text[FAT_ALIAS_TEXT_SIZE];
    uint8_t alias[FAT_ALIAS_SIZE];

    if (!fat_name_alias(name, attempt, alias))
        return "-";
    fat_name_alias_text(alias, text);
    return text;
}

static void test_names_that_an_alias_can_spell(void **state)
{
    (void)state;
    assert_string_equal(alias_of("BOOTX64.EFI", 0), "BOOTX64.EFI");
    assert_string_equal(alias_of("bootx64.efi", 0), "BOOTX64.EFI");
    assert_string_equal(alias_of("map", 0), "MAP");
    assert_string_equal(alias_of("EFI", 0), "EFI");
    assert_string_equal(alias_of("ABCDEFGH.IJK", 0), "ABCDEFGH.IJK");
    assert_string_equal(alias_of("a.b", 0), "A.B");
    assert_string_equal(alias_of("$%'-_@~`.!()", 0), "$%'-_@~`.!()");
    assert_string_equal(alias_of("{}^#&.x", 0), "{}^#&.X");
}

static void test_names_that_need_a_number(void **state)
{
    static const char *const names[] = {
        "lost+found", "ABCDEFGHI", "a.html", "a b",     "a.b.c",   ".profile",
        "a,b",        "[x]",       "a=b",    "a;b",     "\xC3\xA9", "x\xE2\x82\xAC.y",
        "..x",        "a. b",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(alias_of(names[i], 0), "-");
    assert_string_equal(alias_of("lost+found", 1), "LOST_F~1");
    assert_string_equal(alias_of("ABCDEFGHI", 1), "ABCDEF~1");
    assert_string_equal(alias_of("a.html", 1), "A~1.HTM");
    assert_string_equal(alias_of("a b c.d", 1), "ABC~1.D");
    assert_string_equal(alias_of("a.b.tar", 2), "AB~2.TAR");
    assert_string_equal(alias_of(".profile", 1), "PROFIL~1");
    assert_string_equal(alias_of("\xC3\xA9t\xC3\xA9.txt", 1), "_T_~1.TXT");
    assert_string_equal(alias_of("\xF0\x9F\x98\x80", 1), "_~1");
    assert_string_equal(alias_of("..x", 1), "_~1.X");
}

/* The number takes the room it needs; no two attempts give one alias. */
static void test_numbers_shorten_the_base(void **state)
{
    (void)state;
    assert_string_equal(alias_of("longfilename.ext", 9), "LONGFI~9.EXT");
    assert_string_equal(alias_of("longfilename.ext", 10), "LONGF~10.EXT");
    assert_string_equal(alias_of("longfilename.ext", 123), "LONG~123.EXT");
    assert_string_equal(alias_of("longfilename.ext", 4096), "LON~4096.EXT");
    assert_string_equal(alias_of("longfilename.ext", 999999), "L~999999.EXT");
    assert_string_equal(alias_of("ab", 4096), "AB~4096");
}

/* An alias is 11 bytes of what FATGEN103 allows, whatever the name. */
static void test_every_alias_is_sound(void **state)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$%'-_@~`!(){}^#&";
    static const char letters[] = "aZ09 ._-~$+,;=[]\x7F";
    struct dice dice = {44};

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char name[24];
        uint8_t alias[FAT_ALIAS_SIZE];
        size_t length = 1 + (size_t)roll_below(&dice, 20);
        unsigned attempt = (unsigned)roll_below(&dice, 3000);

        for (size_t i = 0; i < length; i++)
            name[i] = letters[roll_below(&dice, sizeof letters - 1)];
        name[length] = '\0';
        if (!fat_name_alias(name, attempt, alias)) {
            assert_int_equal(attempt, 0);
            continue;
        }
        assert_int_not_equal(alias[0], ' ');
        for (int i = 0; i < FAT_ALIAS_SIZE; i++) {
            bool padding = alias[i] == ' ';

            assert_true(padding || strchr(allowed, alias[i]) != NULL);
            assert_true(i % 8 == 0 || padding || alias[i - 1] != ' ');
        }
    }
}

static bool needs_long(const char *name)
{
    uint8_t alias[FAT_ALIAS_SIZE];

    if (!fat_name_alias(name, 0, alias))
        (void)fat_name_alias(name, 1, alias);
    return fat_name_needs_long(name, alias);
}

static void test_long_names(void **state)
{
    char name[300];

    (void)state;
    assert_false(needs_long("BOOTX64.EFI"));
    assert_false(needs_long("EFI"));
    assert_true(needs_long("map"));
    assert_true(needs_long("Boot.EFI"));
    assert_true(needs_long("lost+found"));
    memset(name, 'x', sizeof name);
    for (size_t length = 1; length <= 255; length++) {
        name[length] = '\0';
        assert_int_equal(fat_name_long_entries(name), (length + 12) / 13);
        name[length] = 'x';
    }
    assert_int_equal(fat_name_long_entries("\xF0\x9F\x98\x80" "12345678901"), 1);
    assert_int_equal(fat_name_long_entries("\xF0\x9F\x98\x80" "123456789012"), 2);
}

static void refuse(const char *name, const char *text)
{
    struct chr_error err;

    assert_refused(fat_name_check(name, &err), &err, CHR_E_REFUSED, text);
}

static void test_forbidden_names(void **state)
{
    static const char forbidden[] = "\"*/:<>?\\|";
    char name[300];
    char text[8];

    (void)state;
    for (unsigned c = 1; c < 0x20; c++) {
        (void)snprintf(name, sizeof name, "a%cb", (int)c);
        (void)snprintf(text, sizeof text, "0x%02x", c);
        refuse(name, text);
    }
    for (size_t i = 0; i < sizeof forbidden - 1; i++) {
        (void)snprintf(name, sizeof name, "%cab", forbidden[i]);
        refuse(name, "FAT cannot hold a name with the character 0x");
    }
    refuse("", "not UTF-8 of 1 to 255 characters");
    refuse("\xFF", "not UTF-8");
    refuse("\xED\xA0\x80", "not UTF-8");
    refuse(".", "ends in a dot or a space");
    refuse("..", "ends in a dot or a space");
    refuse("name.", "ends in a dot or a space");
    refuse("name ", "ends in a dot or a space");
    memset(name, 'x', 256);
    name[256] = '\0';
    refuse(name, "1 to 255 characters");
}

static void test_allowed_names(void **state)
{
    struct chr_error err;
    char name[300];

    (void)state;
    memset(name, 'x', 255);
    name[255] = '\0';
    assert_done(fat_name_check(name, &err), &err);
    assert_done(fat_name_check("BOOTX64.EFI", &err), &err);
    assert_done(fat_name_check(" leading and inner", &err), &err);
    assert_done(fat_name_check(".hidden", &err), &err);
    assert_done(fat_name_check("lost+found", &err), &err);
    assert_done(fat_name_check("[a],b;c=d", &err), &err);
    assert_done(fat_name_check("\xE2\x82\xAC", &err), &err);
}

static void test_case_does_not_tell_names_apart(void **state)
{
    (void)state;
    assert_true(fat_name_same("BootX64.efi", "BOOTX64.EFI"));
    assert_true(fat_name_same("\xC3\xA9", "\xC3\x89"));         /* e acute */
    assert_true(fat_name_same("\xD0\xB6", "\xD0\x96"));         /* zhe */
    assert_true(fat_name_same("\xD1\x91", "\xD0\x81"));         /* io */
    assert_true(fat_name_same("\xCF\x89", "\xCE\xA9"));         /* omega */
    assert_true(fat_name_same("\xC4\x81", "\xC4\x80"));         /* a macron */
    assert_false(fat_name_same("a", "b"));
    assert_false(fat_name_same("a", "ab"));
    assert_false(fat_name_same("", "a"));
    assert_false(fat_name_same("@", "`"));
    assert_false(fat_name_same("[", "{"));
    assert_false(fat_name_same("\xC3\xB7", "\xC3\x97"));        /* division is not times */
    assert_false(fat_name_same("\xFF", "\xFF"));                /* not UTF-8: not a name */
}

/* The rest of Latin Extended-A, where upper case is the odd one of a pair, or the even. */
static void test_case_of_latin_extended_a(void **state)
{
    (void)state;
    assert_true(fat_name_same("\xC5\x9D", "\xC5\x9C"));         /* s circumflex, U+015D */
    assert_true(fat_name_same("\xC4\xBE", "\xC4\xBD"));         /* l caron, U+013E */
    assert_true(fat_name_same("\xC5\xBE", "\xC5\xBD"));         /* z caron, U+017E */
    assert_true(fat_name_same("\xC3\xBF", "\xC5\xB8"));         /* y diaeresis, U+00FF */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_an_alias_can_spell),
        cmocka_unit_test(test_names_that_need_a_number),
        cmocka_unit_test(test_numbers_shorten_the_base),
        cmocka_unit_test(test_every_alias_is_sound),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_forbidden_names),
        cmocka_unit_test(test_allowed_names),
        cmocka_unit_test(test_case_does_not_tell_names_apart),
        cmocka_unit_test(test_case_of_latin_extended_a),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
