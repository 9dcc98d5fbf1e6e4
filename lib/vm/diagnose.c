/* Why a machine did not get ready, from what can be seen of it. */
#include <stdio.h>
#include <string.h>

#include "vm/ready.h"

#define TAIL_SIZE 16384
#define LAST_WORDS 500
#define SERIAL_WORDS 120
struct sign {
    const char *text; /* on the serial line, where SeaBIOS (graphics=off) and EDK2 speak, too */
    const char *meaning;
    const char *hint; /* NULL: what it said last tells more */
};

static const char no_boot_hint[] =
    "chrimg info says whether the image boots with BIOS and with UEFI; chrimg fatten makes UEFI work";
static const char no_disk_hint[] =
    "RouterOS knows virtio-blk-pci, virtio-scsi, NVMe, SATA and IDE disks: try another --disk-bus";

/* In the order in which a boot gets to them: the last one found counts. */
static const struct sign signs[] = {
    {"No bootable device", "the firmware (SeaBIOS) found nothing to boot", no_boot_hint},
    {"Boot failed: not a bootable disk", "the firmware (SeaBIOS) found nothing to boot",
     no_boot_hint},
    {"BdsDxe: No bootable option or device was found",
     "the firmware (UEFI) found nothing to boot", no_boot_hint},
    {"BdsDxe: failed to load", "the firmware (UEFI) could not load a boot loader", no_boot_hint},
    {"UEFI Interactive Shell", "the firmware (UEFI) found nothing to boot and is in its shell",
     no_boot_hint},
    {"!!!! X64 Exception", "the firmware (UEFI) stopped in an exception: is the loader damaged?",
     "chrimg check says whether the image is sound"},
    {"Synchronous Exception at", "the firmware (UEFI) stopped in an exception: is the loader damaged?",
     "chrimg check says whether the image is sound"},
    {"could not find disk", "the kernel runs and finds no disk", no_disk_hint},
    {"Unable to mount root fs", "the kernel runs and cannot mount its root", no_disk_hint},
    {"root is on none", "the system runs and finds no root partition", no_disk_hint},
    {"No working init found", "the kernel runs, and no program of the image does",
     "on Apple processors, arm64 images need --accel tcg"},
    {"Kernel panic", "the kernel stopped in a panic", NULL},
};

static const struct sign *find_sign(const char *serial)
{
    const struct sign *found = NULL;

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (strstr(serial, signs[i].text) != NULL)
            found = &signs[i];
    return found;
}

/* How long the escape sequence at P is (ECMA-48, 5.3 and 5.4): parameters, intermediates, a final byte. */
static size_t sequence_length(const char *p)
{
    size_t length = p[1] == '[' ? 2 + strspn(p + 2, "0123456789:;<=>?") : 1;

    length += strspn(p + length, " !\"#$%&'()*+,-./");
    return length + (p[length] != '\0');
}

/* Firmware clears the screen and sets the cursor before each line: in a quotation, that is only noise. */
static void drop_controls(char *text)
{
    char *to = text;

    for (const char *p = text; *p != '\0';) {
        size_t length = *p == '\033' ? sequence_length(p) : 1;

        if (*p == '\n' || *p == '\r' || ((unsigned char)*p >= ' ' && *p != '\177'))
            *to++ = *p;
        p += length;
    }
    *to = '\0';
}

/* The last lines, in one: "a; b"; TEXT is changed. */
static void last_words(char *text, char *words, size_t size)
{
    const char *from;
    size_t length;
    size_t n = 0;

    drop_controls(text);
    length = strlen(text);
    from = text + (length > size - 8 ? length - (size - 8) : 0);
    while (((unsigned char)*from & 0xC0) == 0x80)
        from++; /* not from the middle of a character on (UTF-8) */
    for (; *from != '\0' && n + 3 < size; from++) {
        bool end = *from == '\n' || *from == '\r';

        if (!end)
            words[n++] = *from;
        else if (n > 0 && words[n - 1] != ' ') {
            words[n++] = ';';
            words[n++] = ' ';
        }
    }
    while (n > 0 && (words[n - 1] == ' ' || words[n - 1] == ';'))
        n--;
    words[n] = '\0';
}

/* What QEMU says when it cannot go on, as it says it: words like "lock" are in much else. */
static const struct {
    const char *text;
    const char *hint;
} qemu_signs[] = {
    {"Failed to get \"", "another QEMU, qemu-img or chrimg uses the image; chrimg ps"},
    {"Failed to get shared \"", "another QEMU, qemu-img or chrimg uses the image; chrimg ps"},
    {"host forwarding", "another program took the port meanwhile; --forward names others"},
    {"has invalid size", "firmware is a file of whole 4 KiB, as its package has it: is it the file that "
                         "--firmware is to name?"},
    {"combined size of system firmware", "the machine has 8 MiB for firmware: is it the file that "
                                         "--firmware is to name?"},
};

/* QEMU is no child of ours, so nobody tells whether a signal has ended it. */
static int say_died(const struct vm_record *record, struct chr_error *err)
{
    char text[TAIL_SIZE];
    char words[LAST_WORDS + 8];

    vm_read_tail(record->log_file, text, sizeof text);
    last_words(text, words, sizeof words);
    if (words[0] == '\0')
        return err_set(err, CHR_E_IO, "QEMU ended without a word: was the guest turned off, or QEMU "
                                      "killed?");
    (void)err_set(err, CHR_E_IO, "QEMU ended: %s", words);
    for (size_t i = 0; i < sizeof qemu_signs / sizeof qemu_signs[0]; i++)
        if (strstr(words, qemu_signs[i].text) != NULL)
            return err_hint(err, "%s", qemu_signs[i].hint);
    if (strstr(words, "CPU model") != NULL)
        return err_hint(err, "qemu-system-%s -cpu help lists what --cpu takes", record->arch);
    return -1;
}

/*
 * Whether the serial line ends with a firmware's or a boot loader's words, or has not begun:
 * then there is no system yet that a network could have.
 */
static bool is_before_kernel(const char *serial)
{
    static const char *const early[] = {"SeaBIOS", "Booting from", "iPXE", "BdsDxe: ",
                                        "UEFI firmware", "Loading system"};
    char copy[TAIL_SIZE];
    char words[SERIAL_WORDS + 8];
    const char *last = words;

    (void)snprintf(copy, sizeof copy, "%s", serial);
    last_words(copy, words, sizeof words);
    for (const char *p = words; (p = strstr(p, "; ")) != NULL;)
        last = p += 2;
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++)
        if (strstr(last, early[i]) != NULL)
            return true;
    return words[0] == '\0';
}

/* WHAT, and the end of the serial line; SERIAL is changed. */
static int say_with_serial(const char *what, char *serial, struct chr_error *err)
{
    char words[SERIAL_WORDS + 8];

    last_words(serial, words, sizeof words);
    return err_set(err, CHR_E_IO, "%s; %s%s", what,
                   words[0] != '\0' ? "its serial line ends with: "
                                    : "nothing is on its serial line", words);
}

static int say_silent(const struct vm_wait *wait, const struct vm_seen *seen, char *serial,
                      struct chr_error *err)
{
    char what[300];

    if (seen->wrong > 0) {
        (void)err_set(err, CHR_E_IO, "the guest answers, but not with HTTP 200: %.60s",
                      seen->answer);
        return err_hint(err, "--ready tcp:22 or --ready none is content with less");
    }
    if (wait->port != 0 && !seen->up && !seen->reached && seen->closed == 0) {
        bool early = is_before_kernel(serial);

        (void)say_with_serial("the guest does not answer on its network", serial, err);
        if (early)
            return err_hint(err, "it has not come to its kernel yet: a longer --timeout");
        return err_hint(err, "10.0.2.15 must be on ether1 (by DHCP, as RouterOS does it by itself), "
                        "and no firewall in between");
    }
    if (seen->closed > 0 || seen->reached || seen->up) {
        (void)err_set(err, CHR_E_IO, "the guest has a network, and nothing %s on the port",
                      seen->closed > 0 && !seen->reached ? "listens" : "answered in time");
        return err_hint(err, "is the service switched off in the router? --ready tcp:22, or a longer "
                        "--timeout");
    }
    if (wait->ready == CHR_READY_SERIAL) {
        (void)snprintf(what, sizeof what, "the guest never said %.200s", wait->pattern);
        return say_with_serial(what, serial, err);
    }
    return say_with_serial("the guest was not heard of", serial, err);
}

/* Where the guest's writes go: the overlay, if there is one. */
static const char *disk_file(const struct vm_record *record)
{
    for (size_t i = 0; i < record->file_count; i++)
        if (record->files[i].kind == VM_MAKE_OVERLAY)
            return record->files[i].target;
    return record->image;
}

int vm_diagnose(const struct vm_record *record, const struct vm_wait *wait,
                enum vm_outcome outcome, const struct vm_seen *seen, struct chr_error *err)
{
    char serial[TAIL_SIZE];
    const struct sign *sign;

    if (outcome == VM_DIED)
        return say_died(record, err);
    if (outcome == VM_STUCK) {
        (void)err_set(err, CHR_E_IO, "the machine stopped in an internal error of %s",
                      record->accel);
        return err_hint(err, "--accel tcg emulates instead");
    }
    if (outcome == VM_IO_ERROR) {
        (void)err_set(err, CHR_E_IO, "%s is turned off: the host could not write the router's disk, "
                      "%s", record->name, disk_file(record));
        return err_hint(err, "df shows whether its file system is full; boot it again then");
    }
    vm_read_tail(record->serial_log, serial, sizeof serial);
    sign = find_sign(serial);
    if (sign == NULL || seen->up || seen->reached || seen->closed > 0 || seen->wrong > 0)
        (void)say_silent(wait, seen, serial, err);
    else if (sign->hint == NULL)
        (void)say_with_serial(sign->meaning, serial, err);
    else {
        (void)err_set(err, CHR_E_IO, "%s", sign->meaning);
        (void)err_hint(err, "%s", sign->hint);
    }
    return err_context(err, "%s is not ready after %lld s", record->name,
                       (long long)(wait->timeout_ms / 1000));
}
