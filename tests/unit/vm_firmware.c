/* Firmware descriptors: what they say, in which order they count, and hostile ones. */
#include "unit.h"

#include <sys/stat.h>

#include "vm/firmware.h"

#define FLASH(code, vars)                                                                          \
    "\"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"" code "\","                \
    " \"format\": \"raw\"}, \"nvram-template\": {\"filename\": \"" vars "\", \"format\": \"raw\"}}"
#define X86 "\"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}]"
#define UEFI "\"interface-types\": [\"uefi\"]"
#define PLAIN "\"features\": [\"acpi-s3\"]"
#define DESCRIPTOR(code, vars) "{" UEFI ", " FLASH(code, vars) ", " X86 ", " PLAIN "}"

static int parse(const char *text, struct vm_firmwares *list, struct chr_error *err)
{
    return vm_firmware_parse(text, strlen(text), "test.json", list, err);
}

static void test_flash(void **state)
{
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    assert_done(parse("{" UEFI ", " FLASH("/c.fd", "/v.fd") ", \"targets\": ["
                      "{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\", \"pc-i440fx-*\"]},"
                      "{\"architecture\": \"riscv64\", \"machines\": [\"virt-*\"]},"
                      "{\"architecture\": \"aarch64\", \"machines\": [\"virt-*\"]}],"
                      "\"features\": [\"secure-boot\", \"requires-smm\", \"enrolled-keys\"]}",
                      &list, &err), &err);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0].arch, "x86_64");
    assert_int_equal(list.items[0].machine_count, 2);
    assert_string_equal(list.items[0].machines[1], "pc-i440fx-*");
    assert_int_equal(list.items[0].mode, VM_FIRMWARE_SPLIT);
    assert_string_equal(list.items[0].code, "/c.fd");
    assert_string_equal(list.items[0].vars, "/v.fd");
    assert_false(list.items[0].code_is_qcow2);
    assert_true(list.items[0].secure_boot && list.items[0].requires_smm && list.items[0].enrolled_keys);
    assert_string_equal(list.items[1].arch, "aarch64");
    assert_int_equal(list.items[1].machine_count, 1);
    assert_string_equal(list.items[1].source, "test.json");
    free(list.items);
}

static void test_modes(void **state)
{
    static const struct {
        const char *mapping;
        enum vm_firmware_mode mode;
        bool qcow2;
    } cases[] = {
        {"{\"device\": \"flash\", \"mode\": \"split\", \"executable\": {\"filename\": \"/c\", \"format\": \"qcow2\"},"
         "\"nvram-template\": {\"filename\": \"/v\", \"format\": \"qcow2\"}}", VM_FIRMWARE_SPLIT, true},
        {"{\"device\": \"flash\", \"mode\": \"combined\", \"executable\": {\"filename\": \"/c\", \"format\": \"raw\"}}",
         VM_FIRMWARE_COMBINED, false},
        {"{\"device\": \"flash\", \"mode\": \"stateless\", \"executable\": {\"filename\": \"/c\", \"format\": \"raw\"}}",
         VM_FIRMWARE_STATELESS, false},
        {"{\"device\": \"memory\", \"filename\": \"/c\"}", VM_FIRMWARE_MEMORY, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vm_firmwares list = {0};
        struct chr_error err;
        char text[1024];

        (void)snprintf(text, sizeof text, "{" UEFI ", \"mapping\": %s, " X86 ", " PLAIN "}", cases[i].mapping);
        assert_done(parse(text, &list, &err), &err);
        assert_int_equal(list.count, 1);
        assert_int_equal(list.items[0].mode, cases[i].mode);
        assert_int_equal(list.items[0].code_is_qcow2, cases[i].qcow2);
        assert_string_equal(list.items[0].code, "/c");
        free(list.items);
    }
}

/* Sound descriptors of what is not for us. */
static void test_not_for_us(void **state)
{
    static const char *const texts[] = {
        "{\"interface-types\": [\"bios\"], " FLASH("/c", "/v") ", " X86 ", " PLAIN "}",
        "{\"interface-types\": [], \"mapping\": 7, " X86 ", " PLAIN "}",
        "{" UEFI ", \"mapping\": {\"device\": \"kernel\", \"filename\": \"/c\"}, " X86 ", " PLAIN "}",
        "{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [], " PLAIN "}",
        "{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"arm\", \"machines\": [\"virt\"]}], " PLAIN "}",
        "{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\", \"machines\": []}], " PLAIN "}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct vm_firmwares list = {0};
        struct chr_error err;

        assert_done(parse(texts[i], &list, &err), &err);
        assert_int_equal(list.count, 0);
        free(list.items);
    }
}

/* ---- hostile ones ---- */

static void test_hostile(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"", "test.json: line"},
        {"{", "test.json: line 1"},
        {"[]", "is no array"},
        {"null", "test.json"},
        {"\"uefi\"", "test.json"},
        {"{}", "is no array"},
        {"{\"interface-types\": {\"uefi\": 1}, " X86 ", " PLAIN "}", "is no array"},
        {"{" UEFI ", " FLASH("/c", "/v") ", " X86 "}", "is no array"},
        {"{" UEFI ", " X86 ", " PLAIN "}", "mapping.device is missing"},
        {"{" UEFI ", \"mapping\": [], " X86 ", " PLAIN "}", "mapping.device is missing"},
        {"{" UEFI ", \"mapping\": {\"device\": 3}, " X86 ", " PLAIN "}", "mapping.device is missing"},
        {"{" UEFI ", \"mapping\": {\"device\": \"flash\"}, " X86 ", " PLAIN "}", "mapping.executable: a file name"},
        {"{" UEFI ", \"mapping\": {\"device\": \"flash\", \"mode\": 1}, " X86 ", " PLAIN "}", "mapping.mode is no string"},
        {"{" UEFI ", \"mapping\": {\"device\": \"flash\", \"mode\": \"x\"}, " X86 ", " PLAIN "}", "mapping.mode is unknown"},
        {"{" UEFI ", \"mapping\": {\"device\": \"memory\"}, " X86 ", " PLAIN "}", "mapping.filename"},
        {"{" UEFI ", " FLASH("relative.fd", "/v") ", " X86 ", " PLAIN "}", "not absolute"},
        {"{" UEFI ", " FLASH("/c", "") ", " X86 ", " PLAIN "}", "mapping.nvram-template: a file name"},
        {"{" UEFI ", " FLASH("/c\\u0000d", "/v") ", " X86 ", " PLAIN "}", "test.json: line 1"},
        {"{" UEFI ", \"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"/c\", \"format\": \"vmdk\"}}, " X86 ", " PLAIN "}",
         "neither raw nor qcow2"},
        {"{" UEFI ", \"mapping\": {\"device\": \"flash\", \"executable\": {\"filename\": \"/c\"}}, " X86 ", " PLAIN "}",
         "neither raw nor qcow2"},
        {"{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [1], " PLAIN "}", "lacks architecture"},
        {"{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\"}], " PLAIN "}", "lacks architecture or machines"},
        {"{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\", \"machines\": [7]}], " PLAIN "}",
         "a machine is no string"},
        {"{" UEFI ", " FLASH("/c", "/v") ", " X86 ", " PLAIN "} trailing", "test.json: line 1"},
        {"{" UEFI ", " FLASH("/c\xff", "/v") ", " X86 ", " PLAIN "}", "test.json: line 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vm_firmwares list = {0};
        struct chr_error err;

        assert_refused(parse(cases[i].text, &list, &err), &err, CHR_E_DAMAGED, cases[i].message);
        assert_int_equal(list.count, 0);
        free(list.items);
    }
}

/* A second target that is wrong takes the first one back. */
static void test_half_sound(void **state)
{
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    assert_refused(parse("{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\","
                         "\"machines\": [\"pc-q35-*\"]}, 5], " PLAIN "}", &list, &err),
                   &err, CHR_E_DAMAGED, "lacks architecture");
    assert_int_equal(list.count, 0);
    free(list.items);
}

/* COUNT times PIECE between HEAD and TAIL. */
static char *repeat(const char *head, const char *piece, size_t count, const char *tail)
{
    char *text = malloc(strlen(head) + strlen(piece) * count + strlen(tail) + 1);
    char *at = text;

    assert_non_null(text);
    at += sprintf(at, "%s", head);
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "%s", piece);
    (void)sprintf(at, "%s", tail);
    return text;
}

static void refuse_repeated(const char *head, const char *piece, size_t count, const char *tail,
                            const char *message)
{
    struct vm_firmwares list = {0};
    struct chr_error err;
    char *text = repeat(head, piece, count, tail);

    assert_refused(parse(text, &list, &err), &err, CHR_E_DAMAGED, message);
    free(text);
    free(list.items);
}

static void test_huge(void **state)
{
    (void)state;
    refuse_repeated("", " ", 70000, "{}", "larger than 65536 bytes");
    refuse_repeated("", "[", 60000, "", "depth");
    refuse_repeated("{" UEFI ", \"mapping\": {\"device\": \"memory\", \"filename\": \"/", "x", 4000,
                    "\"}, " X86 ", " PLAIN "}", "too long");
    refuse_repeated("{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"a\"",
                    ", \"b\"", 100, "]}], " PLAIN "}", "too many machines");
    refuse_repeated("{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"",
                    "m", 100, "\"]}], " PLAIN "}", "too long");
    refuse_repeated("{" UEFI ", " FLASH("/c", "/v") ", \"targets\": [{}", ", {}", 100, "], " PLAIN "}",
                    "too many targets");
}

/* A sound descriptor with one byte changed, in a thousand ways: refused or read, never worse. */
static void test_noise(void **state)
{
    const char *sound = DESCRIPTOR("/c", "/v");
    struct dice dice = {.state = 42};
    size_t refused = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct vm_firmwares list = {0};
        struct chr_error err;
        char *text = strdup(sound);

        assert_non_null(text);
        text[roll_below(&dice, strlen(sound))] = (char)roll(&dice);
        if (vm_firmware_parse(text, strlen(sound), "noise", &list, &err) < 0) {
            assert_int_equal(err.code, CHR_E_DAMAGED);
            assert_int_equal(list.count, 0);
            refused++;
        }
        free(list.items);
        free(text);
    }
    assert_true(refused > 500 && refused < 1000);
}

/* ---- folders ---- */

static void put(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

static void make_folders(void)
{
    assert_int_equal(mkdir("user", 0700), 0);
    assert_int_equal(mkdir("etc", 0700), 0);
    assert_int_equal(mkdir("share", 0700), 0);
    put("code", "code");
    put("vars", "vars");
}

/* A descriptor whose code is NAME in this folder, which is there. */
static void put_descriptor(const char *path, const char *name)
{
    char text[4096];
    char folder[512];

    assert_non_null(getcwd(folder, sizeof folder));
    (void)snprintf(text, sizeof text,
                   "{" UEFI ", \"mapping\": {\"device\": \"flash\","
                   "\"executable\": {\"filename\": \"%s/%s\", \"format\": \"raw\"},"
                   "\"nvram-template\": {\"filename\": \"%s/vars\", \"format\": \"raw\"}}, " X86 ", " PLAIN "}",
                   folder, name, folder);
    put(path, text);
}

static void put_code(const char *path, const char *name)
{
    put(name, "code of some length");
    put_descriptor(path, name);
}

static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static void test_precedence(void **state)
{
    static const char *const folders[] = {"user", "etc", "nowhere", "share"};
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    make_folders();
    put_code("share/50-a.json", "share-50a");
    put_code("share/60-b.json", "share-60b");
    put_code("share/70-c.json", "share-70c");
    put_code("etc/60-b.json", "etc-60b");    /* hides the one of share */
    put_code("user/90-d.json", "user-90d");  /* last, whatever the folder */
    put("etc/70-c.json", "");                /* an empty one hides altogether */
    put_code("etc/10-note.txt", "no-json");  /* another ending */
    put("user/20-broken.json", "{");         /* left out */
    put_descriptor("share/05-gone.json", "gone"); /* its code is not there */
    assert_done(vm_firmware_read(folders, 4, &list, &err), &err);
    assert_int_equal(list.count, 3);
    assert_string_equal(base_name(list.items[0].code), "share-50a");
    assert_string_equal(base_name(list.items[1].code), "etc-60b");
    assert_string_equal(base_name(list.items[2].code), "user-90d");
    assert_int_equal(list.items[0].code_size, strlen("code of some length"));
    assert_int_equal(list.items[0].vars_size, 4);
    assert_string_equal(list.items[1].source, "etc/60-b.json");
    free(list.items);
}

/* A broken descriptor hides too: whoever put it there meant to replace. */
static void test_broken_hides(void **state)
{
    static const char *const folders[] = {"user", "share"};
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    put("user/50-a.json", "{");
    assert_done(vm_firmware_read(folders, 2, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++)
        assert_string_not_equal(base_name(list.items[i].code), "share-50a");
    assert_int_equal(unlink("user/50-a.json"), 0);
    free(list.items);
}

/* What cannot be read as a file is passed over without waiting for anything. */
static void test_odd_files(void **state)
{
    static const char *const folders[] = {"odd"};
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    assert_int_equal(mkdir("odd", 0700), 0);
    assert_int_equal(mkfifo("odd/10-pipe.json", 0600), 0);
    assert_int_equal(mkdir("odd/20-folder.json", 0700), 0);
    assert_int_equal(symlink("/dev/null", "odd/30-null.json"), 0);
    assert_int_equal(symlink("/dev/zero", "odd/40-zero.json"), 0);
    assert_int_equal(symlink("nowhere", "odd/50-dangling.json"), 0);
    put_code("odd/60-good.json", "odd-60");
    assert_done(vm_firmware_read(folders, 1, &list, &err), &err);
    assert_int_equal(list.count, 1);
    free(list.items);
}

/* ---- known paths, and named ones ---- */

static void put_deep(const char *path, size_t size)
{
    char command[1024];

    (void)snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\" && truncate -s %zu '%s'", path, size, path);
    assert_int_equal(system(command), 0);
}

static void test_known_paths(void **state)
{
    struct vm_firmwares list = {0};
    struct chr_error err;
    char root[512];

    (void)state;
    assert_non_null(getcwd(root, sizeof root - 8));
    strcat(root, "/root");
    put_deep("root/usr/share/edk2/x64/OVMF_CODE.4m.fd", 3653632);
    put_deep("root/usr/share/edk2/x64/OVMF_VARS.4m.fd", 540672);
    put_deep("root/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", 2 << 20);
    put_deep("root/opt/homebrew/share/qemu/edk2-aarch64-code.fd", 64 << 20);
    put_deep("root/opt/homebrew/share/qemu/edk2-arm-vars.fd", 64 << 20);
    put_deep("root/usr/share/OVMF/OVMF_CODE.fd", 1 << 20); /* without its variables */
    assert_done(vm_firmware_known(root, &list, &err), &err);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].arch, "x86_64");
    assert_int_equal(list.items[0].vars_size, 540672);
    assert_string_equal(list.items[1].arch, "aarch64");
    assert_int_equal(list.items[1].code_size, 64 << 20);
    assert_int_equal(list.items[2].code_size, 2 << 20);
    assert_string_equal(list.items[2].vars, "");
    assert_int_equal(list.items[2].mode, VM_FIRMWARE_SPLIT);
    free(list.items);
}

static void test_given(void **state)
{
    /* Magic, version, and the virtual size at 24: 4 MiB, big-endian. */
    static const uint8_t header[32] = {'Q', 'F', 'I', 0xFB, 0, 0, 0, 3, [29] = 0x40};
    struct vm_firmwares list = {0};
    struct chr_error err;

    (void)state;
    write_file("mine.bin", header, sizeof header);
    put("mine.vars", "variables");
    assert_done(vm_firmware_given("mine.bin", "mine.vars", "x86_64", &list, &err), &err);
    assert_done(vm_firmware_given("code", NULL, "x86_64", &list, &err), &err);
    assert_done(vm_firmware_given("code", NULL, "aarch64", &list, &err), &err);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[0].mode, VM_FIRMWARE_SPLIT);     /* aarch64: blank variables */
    assert_int_equal(list.items[1].mode, VM_FIRMWARE_STATELESS); /* x86_64 does without */
    assert_true(list.items[2].given && list.items[2].code_is_qcow2);
    assert_int_equal(list.items[2].code_size, 4 << 20);
    assert_int_equal(list.items[2].code[0], '/');
    assert_refused(vm_firmware_given("nothing.fd", NULL, "x86_64", &list, &err), &err, CHR_E_MISSING,
                   "firmware nothing.fd");
    assert_refused(vm_firmware_given("/dev/zero", NULL, "x86_64", &list, &err), &err, CHR_E_REFUSED, "/dev/zero");
    assert_refused(vm_firmware_given("etc", NULL, "x86_64", &list, &err), &err, CHR_E_REFUSED, "no file");
    assert_int_equal(list.count, 3);
    free(list.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flash),       cmocka_unit_test(test_modes),
        cmocka_unit_test(test_not_for_us),  cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_half_sound),  cmocka_unit_test(test_huge),
        cmocka_unit_test(test_noise),       cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_broken_hides), cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_known_paths), cmocka_unit_test(test_given),
    };

    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
