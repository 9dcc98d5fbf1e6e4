/* The loader's headers: what it is for, how long it is, and what is no loader. */
#include "fs/kernel.h"

#include "base/bytes.h"
#include "unit.h"

#define PE 0x80
#define OPTIONAL (PE + 24)
#define OPTIONAL_SIZE_64 160
#define OPTIONAL_SIZE_32 144

/* A PE32+ for UEFI on x86_64 with two sections; the file ends at 0x5600. */
static void make_pe(uint8_t *head)
{
    uint8_t *section = head + OPTIONAL + OPTIONAL_SIZE_64;

    memset(head, 0, KERNEL_HEAD_SIZE);
    memcpy(head, "MZ", 2);
    put_le32(head + 0x3C, PE);
    memcpy(head + PE, "PE\0\0", 4);
    put_le16(head + PE + 4, KERNEL_MACHINE_X86_64);
    put_le16(head + PE + 6, 2);
    put_le16(head + PE + 20, OPTIONAL_SIZE_64);
    put_le16(head + OPTIONAL, 0x20B);
    put_le16(head + OPTIONAL + 68, 10);
    put_le32(head + OPTIONAL + 108, 6);
    put_le32(section + 16, 0x1000);
    put_le32(section + 20, 0x200);
    put_le32(section + 40 + 16, 0x4400);
    put_le32(section + 40 + 20, 0x1200);
}

static struct kernel decode(const uint8_t *head)
{
    struct kernel kernel = {0};
    struct chr_error err;

    assert_done(kernel_decode(head, KERNEL_HEAD_SIZE, &kernel, &err), &err);
    return kernel;
}

static void test_the_sections_make_the_size(void **state)
{
    uint8_t head[KERNEL_HEAD_SIZE];

    (void)state;
    make_pe(head);
    assert_int_equal(decode(head).machine, KERNEL_MACHINE_X86_64);
    assert_false(decode(head).is_bzimage);
    assert_int_equal(decode(head).file_size, 0x5600);
    /* A section without bytes in the file (.bss) says nothing. */
    put_le32(head + OPTIONAL + OPTIONAL_SIZE_64 + 40 + 16, 0);
    assert_int_equal(decode(head).file_size, 0x1200);
    /* Numbers that leave 32 bits are still added up right. */
    put_le32(head + OPTIONAL + OPTIONAL_SIZE_64 + 16, UINT32_MAX);
    assert_true(decode(head).file_size == UINT64_C(0x1000001FF));
}

static void test_certificates_lie_behind_the_sections(void **state)
{
    uint8_t head[KERNEL_HEAD_SIZE];

    (void)state;
    make_pe(head);
    put_le32(head + OPTIONAL + 112 + 32, 0x5600);
    put_le32(head + OPTIONAL + 112 + 36, 0x600);
    assert_int_equal(decode(head).file_size, 0x5C00);
    put_le32(head + OPTIONAL + 108, 4); /* directory 4 is not one of them */
    assert_int_equal(decode(head).file_size, 0x5600);
}

static void test_pe32(void **state)
{
    uint8_t head[KERNEL_HEAD_SIZE];
    uint8_t *section = head + OPTIONAL + OPTIONAL_SIZE_32;

    (void)state;
    make_pe(head);
    memset(head + OPTIONAL, 0, KERNEL_HEAD_SIZE - OPTIONAL);
    put_le16(head + PE + 4, KERNEL_MACHINE_I386);
    put_le16(head + PE + 6, 1);
    put_le16(head + PE + 20, OPTIONAL_SIZE_32);
    put_le16(head + OPTIONAL, 0x10B);
    put_le16(head + OPTIONAL + 68, 10);
    put_le32(head + OPTIONAL + 92, 6);
    put_le32(head + OPTIONAL + 96 + 32, 0x3000);
    put_le32(head + OPTIONAL + 96 + 36, 8);
    put_le32(section + 16, 0x100);
    put_le32(section + 20, 0x200);
    assert_int_equal(decode(head).machine, KERNEL_MACHINE_I386);
    assert_int_equal(decode(head).file_size, 0x3008);
}

/* boot.rst: (setup_sects + 1) x 512 + syssize x 16; setup_sects 0 means 4. */
static void test_bzimage(void **state)
{
    uint8_t head[KERNEL_HEAD_SIZE];

    (void)state;
    make_pe(head);
    memcpy(head + 0x202, "HdrS", 4);
    put_le16(head + 0x1FE, 0xAA55);
    head[0x1F1] = 27;
    put_le32(head + 0x1F4, 0x1000);
    assert_true(decode(head).is_bzimage);
    assert_int_equal(decode(head).file_size, 28 * 512 + 0x10000);
    head[0x1F1] = 0;
    assert_int_equal(decode(head).file_size, 5 * 512 + 0x10000);
    put_le32(head + 0x1F4, 1); /* less than the sections: they count */
    assert_int_equal(decode(head).file_size, 0x5600);
    put_le16(head + 0x1FE, 0);
    assert_false(decode(head).is_bzimage);
    put_le16(head + 0x1FE, 0xAA55);
    head[0x202] = 'h';
    assert_false(decode(head).is_bzimage);
}

static void refuse(const uint8_t *head, size_t len, const char *text)
{
    struct kernel kernel = {.machine = 0x1234};
    struct chr_error err;

    assert_refused(kernel_decode(head, len, &kernel, &err), &err, CHR_E_DAMAGED, text);
    assert_int_equal(kernel.machine, 0x1234);
}

static void test_refusals(void **state)
{
    uint8_t head[KERNEL_HEAD_SIZE];

    (void)state;
    make_pe(head);
    head[0] = 'Z';
    refuse(head, sizeof head, "no MZ header");
    make_pe(head);
    refuse(head, 511, "no MZ header");
    head[PE + 2] = 1;
    refuse(head, sizeof head, "no PE header at offset 128");
    make_pe(head);
    put_le32(head + 0x3C, KERNEL_HEAD_SIZE - 23);
    refuse(head, sizeof head, "no PE header at offset 8169");
    put_le32(head + 0x3C, UINT32_MAX);
    refuse(head, sizeof head, "no PE header at offset 4294967295");
    make_pe(head);
    put_le16(head + PE + 6, 0);
    refuse(head, sizeof head, "PE header: 0 sections");
    put_le16(head + PE + 6, 97);
    refuse(head, sizeof head, "PE header: 97 sections");
    make_pe(head);
    put_le16(head + PE + 20, 69);
    refuse(head, sizeof head, "its tables leave the first 8192 bytes");
    put_le16(head + PE + 20, UINT16_MAX);
    refuse(head, sizeof head, "its tables leave the first 8192 bytes");
    make_pe(head);
    put_le32(head + 0x3C, KERNEL_HEAD_SIZE - 200);
    memcpy(head + KERNEL_HEAD_SIZE - 200, head + PE, 200);
    refuse(head, sizeof head, "its tables leave the first 8192 bytes");
    make_pe(head);
    put_le16(head + OPTIONAL + 68, 3);
    refuse(head, sizeof head, "subsystem 3 is not an EFI application");
}

static void test_names(void **state)
{
    (void)state;
    assert_true(kernel_probe((const uint8_t *)"MZ"));
    assert_false(kernel_probe((const uint8_t *)"ZM"));
    assert_string_equal(kernel_machine_name(0x8664), "x86_64");
    assert_string_equal(kernel_machine_name(0xAA64), "aarch64");
    assert_string_equal(kernel_machine_name(0x014C), "i386");
    assert_string_equal(kernel_machine_name(0), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sections_make_the_size),
        cmocka_unit_test(test_certificates_lie_behind_the_sections),
        cmocka_unit_test(test_pe32),
        cmocka_unit_test(test_bzimage),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
