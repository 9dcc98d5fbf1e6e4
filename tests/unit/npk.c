/* Package heads: names, versions, refusals. */
#include "fs/npk.h"

#include "base/bytes.h"
#include "unit.h"

static void make_head(uint8_t *head, unsigned major, unsigned minor, unsigned build,
                      unsigned revision)
{
    memset(head, 0, NPK_HEAD_SIZE);
    memcpy(head, "\x1E\xF1\xD0\xBA", 4);
    put_le32(head + 4, 20000000);
    put_le16(head + 8, 1);
    put_le32(head + 10, 32);
    memcpy(head + 14, "routeros", 8);
    head[14 + 16] = (uint8_t)revision;
    head[14 + 17] = (uint8_t)build;
    head[14 + 18] = (uint8_t)minor;
    head[14 + 19] = (uint8_t)major;
    put_le32(head + 14 + 20, 1700000000);
}

static void test_versions(void **state)
{
    static const struct {
        unsigned major, minor, build, revision;
        const char *text;
    } cases[] = {
        {7, 20, 99, 2, "7.20rc2"},   {7, 19, 102, 4, "7.19.4"},    {7, 19, 102, 0, "7.19"},
        {7, 21, 98, 3, "7.21beta3"}, {7, 22, 97, 11, "7.22alpha11"}, {6, 49, 102, 18, "6.49.18"},
        {7, 1, 99, 0, "7.1rc0"},     {255, 255, 97, 255, "255.255alpha255"},
    };
    uint8_t head[NPK_HEAD_SIZE];
    struct npk npk;
    struct chr_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_head(head, cases[i].major, cases[i].minor, cases[i].build, cases[i].revision);
        assert_done(npk_decode(head, sizeof head, &npk, &err), &err);
        assert_string_equal(npk.version, cases[i].text);
        assert_string_equal(npk.name, "routeros");
        assert_int_equal(npk.major, cases[i].major);
        assert_int_equal(npk.minor, cases[i].minor);
        assert_int_equal(npk.build_time, 1700000000);
    }
}

static void test_names(void **state)
{
    uint8_t head[NPK_HEAD_SIZE];
    struct npk npk;
    struct chr_error err;

    (void)state;
    make_head(head, 7, 20, 102, 1);
    memcpy(head + 14, "wifi-qcom_ac.+16", 16); /* all 16 bytes, without an end */
    assert_done(npk_decode(head, sizeof head, &npk, &err), &err);
    assert_string_equal(npk.name, "wifi-qcom_ac.+16");
}

static void refuse(const uint8_t *head, size_t len, const char *text)
{
    struct npk npk = {.major = 42};
    struct chr_error err;

    assert_refused(npk_decode(head, len, &npk, &err), &err, CHR_E_DAMAGED, text);
    assert_int_equal(npk.major, 42);
}

static void test_refusals(void **state)
{
    uint8_t head[NPK_HEAD_SIZE];

    (void)state;
    for (size_t at = 0; at < 4; at++) {
        make_head(head, 7, 20, 102, 0);
        head[at] ^= 1;
        refuse(head, sizeof head, "no NPK magic");
    }
    make_head(head, 7, 20, 102, 0);
    refuse(head, NPK_HEAD_SIZE - 1, "no NPK magic");
    put_le16(head + 8, 3);
    refuse(head, sizeof head, "its first part has type 3 and 32 bytes, not 1 and 32");
    make_head(head, 7, 20, 102, 0);
    put_le32(head + 10, UINT32_MAX);
    refuse(head, sizeof head, "its first part has type 1 and 4294967295 bytes");
    make_head(head, 7, 20, 102, 0);
    head[14 + 3] = 0x1B; /* no escape sequence gets to a terminal */
    refuse(head, sizeof head, "its name holds the byte 1b");
    head[14 + 3] = 0xC3;
    refuse(head, sizeof head, "its name holds the byte c3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refusals),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
