/* Bytes to values and back, and the arithmetic that guards untrusted numbers. */
#include "base/bytes.h"

#include "unit.h"

static void test_little_endian_is_the_order_on_the_disk(void **state)
{
    static const uint8_t p[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF};

    (void)state;
    assert_int_equal(le16(p), 0x2301);
    assert_int_equal(le32(p), 0x67452301);
    assert_true(le64(p) == UINT64_C(0xEFCDAB8967452301));
    assert_int_equal(le16(p + 6), 0xEFCD);
    assert_true(le32(p + 4) == UINT32_C(0xEFCDAB89));
}

static void test_big_endian_is_the_order_on_the_disk(void **state)
{
    static const uint8_t p[8] = {0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10};

    (void)state;
    assert_int_equal(be16(p), 0xFEDC);
    assert_true(be32(p) == UINT32_C(0xFEDCBA98));
    assert_true(be64(p) == UINT64_C(0xFEDCBA9876543210));
}

/* Every value comes back, and the bytes around it stay. */
static void test_round_trips(void **state)
{
    struct dice dice = {1};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = roll(&dice);
        uint8_t p[10];

        memset(p, 0xA5, sizeof p);
        put_le16(p + 1, (uint16_t)v);
        assert_true(le16(p + 1) == (uint16_t)v && p[0] == 0xA5 && p[3] == 0xA5);
        put_le32(p + 1, (uint32_t)v);
        assert_true(le32(p + 1) == (uint32_t)v && p[0] == 0xA5 && p[5] == 0xA5);
        put_le64(p + 1, v);
        assert_true(le64(p + 1) == v && p[0] == 0xA5 && p[9] == 0xA5);
        assert_int_equal(p[1], v & 0xFF);
        put_be64(p + 1, v);
        assert_true(be64(p + 1) == v && p[0] == 0xA5 && p[9] == 0xA5);
        assert_int_equal(p[8], v & 0xFF);
        put_be32(p + 1, (uint32_t)v);
        assert_true(be32(p + 1) == (uint32_t)v);
        put_be16(p + 1, (uint16_t)v);
        assert_true(be16(p + 1) == (uint16_t)v);
    }
}

static void test_range_within_survives_every_number(void **state)
{
    (void)state;
    assert_true(range_within(0, 0, 0));
    assert_true(range_within(0, 10, 10));
    assert_true(range_within(10, 0, 10));
    assert_true(range_within(9, 1, 10));
    assert_false(range_within(9, 2, 10));
    assert_false(range_within(11, 0, 10));
    assert_false(range_within(1, UINT64_MAX, 10));
    assert_false(range_within(UINT64_MAX, 1, 10));
    assert_false(range_within(UINT64_MAX, 1, UINT64_MAX));
    assert_false(range_within(UINT64_MAX - 1, 2, UINT64_MAX));
    assert_true(range_within(UINT64_MAX - 1, 1, UINT64_MAX));
}

static void test_powers_of_two(void **state)
{
    (void)state;
    assert_false(is_power_of_two(0));
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_true(is_power_of_two(UINT64_C(1) << bit));
        if (bit > 1) {
            assert_false(is_power_of_two((UINT64_C(1) << bit) - 1));
            assert_false(is_power_of_two((UINT64_C(1) << bit) + 1));
        }
    }
}

static void test_rounding(void **state)
{
    (void)state;
    for (uint64_t step = 1; step < 70; step++)
        for (uint64_t v = 0; v < 300; v++) {
            uint64_t up = round_up(v, step);
            uint64_t down = round_down(v, step);

            assert_true(up % step == 0 && up >= v && up - v < step);
            assert_true(down % step == 0 && down <= v && v - down < step);
        }
    assert_true(min_u64(1, UINT64_MAX) == 1 && max_u64(1, UINT64_MAX) == UINT64_MAX);
    assert_true(min_u64(UINT64_MAX, 1) == 1 && max_u64(UINT64_MAX, 1) == UINT64_MAX);
}

/* One byte that is not zero is seen wherever it is, and none outside is. */
static void test_is_zero_sees_every_byte(void **state)
{
    uint8_t buf[130];

    (void)state;
    for (size_t len = 0; len <= 128; len++) {
        memset(buf, 0xFF, sizeof buf);
        memset(buf + 1, 0, len);
        assert_true(is_zero(buf + 1, len));
        for (size_t at = 0; at < len; at++) {
            buf[1 + at] = (uint8_t)(1 + at);
            assert_false(is_zero(buf + 1, len));
            buf[1 + at] = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_endian_is_the_order_on_the_disk),
        cmocka_unit_test(test_big_endian_is_the_order_on_the_disk),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_range_within_survives_every_number),
        cmocka_unit_test(test_powers_of_two),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_is_zero_sees_every_byte),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
