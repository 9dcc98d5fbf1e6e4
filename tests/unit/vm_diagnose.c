/* What is said of a machine that did not get ready, from the logs that it left. */
#include "vm/ready.h"

#include "unit.h"

static void log_says(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static const struct vm_wait http = {.ready = CHR_READY_HTTP, .port = 9180, .timeout_ms = 30000};
static const struct vm_wait pattern = {.ready = CHR_READY_SERIAL, .pattern = "login:", .timeout_ms = 30000};

/* The error for a machine of which nothing was seen but what its logs hold. */
static struct chr_error diagnose(enum vm_outcome outcome, const struct vm_wait *wait)
{
    const struct vm_record record = {
        .name = "r",
        .arch = (char *)"x86_64",
        .accel = (char *)"tcg",
        .serial_log = (char *)"serial.log",
        .log_file = (char *)"qemu.log",
    };
    const struct vm_seen seen = {0};
    struct chr_error err = {0};

    assert_int_equal(vm_diagnose(&record, wait, outcome, &seen, &err), -1);
    return err;
}

/* As SeaBIOS and EDK2 write: screens are cleared, colours set, cursors moved. */
static void quotations_hold_no_controls(void **state)
{
    static const struct {
        const char *serial;
        const char *quoted;
    } cases[] = {
        {"\033[2J\033[01;01H\033[=3h\033[?7lBooting\r\n", ": Booting"},
        {"\033[0m\033[37m\033[40mone\r\n\r\ntwo\033[5C \033(Bthree\a\b\177", ": one; two three"},
        {"\033Mup\033", ": up"},
        {"cut\033[0;3", ": cut"},
        {"\033[2J\033[01;01H\r\n", "; nothing is on its serial line"},
        {"", "; nothing is on its serial line"},
        {"caf\xc3\xa9", ": caf\xc3\xa9"},
    };
    struct chr_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length = strlen(cases[i].quoted);

        log_says("serial.log", cases[i].serial);
        err = diagnose(VM_TIMEOUT, &http);
        assert_true(strlen(err.message) > length);
        assert_string_equal(err.message + strlen(err.message) - length, cases[i].quoted);
        log_says("qemu.log", cases[i].serial);
        err = diagnose(VM_DIED, &http);
        for (const char *p = err.message; *p != '\0'; p++)
            assert_true((unsigned char)*p >= ' ' && *p != '\177');
    }
}

/* A character of two bytes at each place of a quotation's beginning: it is there, or it is not. */
static void quotations_begin_with_a_character(void **state)
{
    char text[300];

    (void)state;
    for (size_t before = 0; before < 4; before++) {
        struct chr_error err;
        const char *words;

        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        for (size_t i = before; i + 2 < sizeof text - 100; i += 2)
            memcpy(text + i, "\xc3\xa9", 2);
        log_says("serial.log", text);
        err = diagnose(VM_TIMEOUT, &http);
        words = strstr(err.message, "ends with: ");
        assert_non_null(words);
        assert_int_not_equal((unsigned char)words[strlen("ends with: ")] & 0xC0, 0x80);
    }
}

/* Where the machine is, and whether it still is there, is for others to say. */
static void no_command_is_named(void **state)
{
    static const char *const serials[] = {"", "Kernel panic - not syncing: No root\r\n", "No bootable device",
                                          "root is on none"};

    (void)state;
    for (size_t i = 0; i < sizeof serials / sizeof serials[0]; i++) {
        log_says("serial.log", serials[i]);
        for (unsigned j = 0; j < 2; j++) {
            struct chr_error err = diagnose(VM_TIMEOUT, j == 0 ? &http : &pattern);

            assert_null(strstr(err.hint, "console"));
            assert_null(strstr(err.hint, "chrimg logs"));
        }
    }
}

static void a_panic_is_quoted(void **state)
{
    struct chr_error err;

    (void)state;
    log_says("serial.log", "Kernel panic - not syncing: No root\r\n");
    err = diagnose(VM_TIMEOUT, &http);
    assert_non_null(strstr(err.message, "r is not ready after 30 s: the kernel stopped in a panic; its serial line "
                                        "ends with: Kernel panic - not syncing: No root"));
    log_says("serial.log", "Login\r\n");
    err = diagnose(VM_TIMEOUT, &pattern);
    assert_non_null(strstr(err.message, "the guest never said login:; its serial line ends with: Login"));
}

/* A hint is for what QEMU has said, and not for a word that is in it. */
static void hints_of_qemu(void **state)
{
    static const struct {
        const char *log;
        const char *hint;
    } cases[] = {
        {"qemu-system-x86_64: -drive file=l.qcow2,if=none: Failed to get \"write\" lock\n"
         "Is another process using the image [l.qcow2]?\n", "uses the image"},
        {"qemu-system-x86_64: Failed to get shared \"write\" lock\n", "uses the image"},
        {"qemu-system-x86_64: system firmware block device pflash0 has invalid size 512\n"
         "qemu-system-x86_64: info: its size must be a non-zero multiple of 0x1000\n", "firmware is a file of whole 4 KiB"},
        {"qemu-system-x86_64: combined size of system firmware exceeds 8388608 bytes\n", "8 MiB for firmware"},
        {"qemu-system-x86_64: unable to find CPU model 'pizza'\n", "-cpu help lists"},
        {"qemu-system-x86_64: -device clock: 'clock' is not a valid device model name\n", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chr_error err;

        log_says("qemu.log", cases[i].log);
        err = diagnose(VM_DIED, &http);
        if (cases[i].hint[0] != '\0' ? strstr(err.hint, cases[i].hint) == NULL : err.hint[0] != '\0')
            fail_msg("%s: hint \"%s\", expected \"%s\"", cases[i].log, err.hint, cases[i].hint);
    }
}

/* Where no kernel runs yet, DHCP is not to blame. */
static void what_has_not_begun(void **state)
{
    static const struct {
        const char *serial;
        bool early;
    } cases[] = {
        {"", true},
        {"SeaBIOS (version 1.16.2-debian-1.16.2-1)\r\nBooting from Hard Disk..", true},
        {"\033[2J\033[01;01HBdsDxe: loading Boot0001 \"UEFI Misc Device\"\r\n", true},
        {"Booting from Hard Disk...\r\nLoading system with initrd\r\n", true},
        {"Booting from Hard Disk...\r\nLinux version 5.6.3\r\n", false},
        {"MikroTik Login: ", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chr_error err;

        log_says("serial.log", cases[i].serial);
        err = diagnose(VM_TIMEOUT, &http);
        assert_true((strstr(err.hint, "longer --timeout") != NULL) == cases[i].early);
        assert_true((strstr(err.hint, "DHCP") != NULL) == !cases[i].early);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotations_hold_no_controls),
        cmocka_unit_test(quotations_begin_with_a_character),
        cmocka_unit_test(no_command_is_named),
        cmocka_unit_test(a_panic_is_quoted),
        cmocka_unit_test(hints_of_qemu),
        cmocka_unit_test(what_has_not_begun),
    };

    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
