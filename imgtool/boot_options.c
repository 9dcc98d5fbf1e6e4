/*
 * From the command line to struct chr_boot_options: spelling is checked here,
 * whether it can be done on this host is for the library to say.
 */
#include "boot_values.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTION_NAME = 256,
    OPTION_UEFI,
    OPTION_BIOS,
    OPTION_FIRMWARE,
    OPTION_ACCEL,
    OPTION_CPU,
    OPTION_MEM,
    OPTION_CPUS,
    OPTION_SMP,
    OPTION_DISK_BUS,
    OPTION_QEMU,
    OPTION_NET,
    OPTION_FORWARD,
    OPTION_LISTEN,
    OPTION_VFIO,
    OPTION_WRITE,
    OPTION_THROWAWAY,
    OPTION_RM,
    OPTION_READY,
    OPTION_TIMEOUT,
    OPTION_PRINT,
    OPTION_SCRIPT,
    OPTION_READCONFIG,
    OPTION_SYSTEMD,
    OPTION_LIBVIRT,
    OPTION_JSON,
};

const struct option boot_long_options[] = {
    {"interactive", no_argument, NULL, 'i'},
    {"name", required_argument, NULL, OPTION_NAME},
    {"uefi", no_argument, NULL, OPTION_UEFI},
    {"bios", no_argument, NULL, OPTION_BIOS},
    {"firmware", required_argument, NULL, OPTION_FIRMWARE},
    {"accel", required_argument, NULL, OPTION_ACCEL},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"mem", required_argument, NULL, OPTION_MEM},
    {"cpus", required_argument, NULL, OPTION_CPUS},
    {"smp", required_argument, NULL, OPTION_SMP},
    {"disk-bus", required_argument, NULL, OPTION_DISK_BUS},
    {"qemu", required_argument, NULL, OPTION_QEMU},
    {"net", required_argument, NULL, OPTION_NET},
    {"forward", required_argument, NULL, OPTION_FORWARD},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"vfio", required_argument, NULL, OPTION_VFIO},
    {"write", no_argument, NULL, OPTION_WRITE},
    {"throwaway", no_argument, NULL, OPTION_THROWAWAY},
    {"rm", no_argument, NULL, OPTION_RM},
    {"ready", required_argument, NULL, OPTION_READY},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"print", no_argument, NULL, OPTION_PRINT},
    {"script", no_argument, NULL, OPTION_SCRIPT},
    {"readconfig", required_argument, NULL, OPTION_READCONFIG},
    {"systemd", optional_argument, NULL, OPTION_SYSTEMD},
    {"libvirt", no_argument, NULL, OPTION_LIBVIRT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

const char boot_help[] =
    "  -i, --interactive     serial line on this terminal; Ctrl-A X ends the VM\n"
    "      --name NAME       of the instance; default: the image's name\n"
    "      --uefi            UEFI, also where the image boots with BIOS\n"
    "      --bios            BIOS or nothing\n"
    "      --firmware FILES  CODE or CODE,VARS: UEFI firmware to use\n"
    "      --accel ACCEL     kvm, hvf or tcg; default: the best that works\n"
    "      --cpu MODEL       CPU model, as QEMU names it\n"
    "      --mem SIZE        memory; default: 256M\n"
    "      --cpus N          CPUs; default: 1\n"
    "      --smp SPEC        CPUs, sockets, cores, threads, as QEMU's -smp\n"
    "      --disk-bus BUS    virtio (default), scsi, nvme, sata or ide\n"
    "      --qemu PROGRAM    this QEMU\n"
    "      --net NET         a network, repeatable: user (default), tap:IF,\n"
    "                        bridge:BR, socket:NAME, vmnet-shared, vmnet-host,\n"
    "                        vmnet-bridged:IF, none\n"
    "      --forward PORTS   [NAME=]HOST:GUEST[/udp], repeatable; ranges; HOST 0: a\n"
    "                        free one; none: no defaults\n"
    "      --listen ADDRESS  bind forwards there; default: 127.0.0.1\n"
    "      --vfio ADDR       a PCI device of the host, repeatable\n"
    "      --write           write to a raw image itself, not to an overlay\n"
    "      --throwaway       keep nothing of what the router writes\n"
    "      --rm              remove what is kept of the instance when it ends\n"
    "      --ready WHAT      http (default), tcp:PORT, serial:PATTERN or none\n"
    "      --timeout SEC     to get ready; default: by accelerator\n"
    "      --print           only show the command, as a shell line\n"
    "      --script          only show a shell script that finds the accelerator\n"
    "      --readconfig INI  only write INI for QEMU's -readconfig, and show the rest\n"
    "      --systemd[=UNIT]  only show a systemd unit\n"
    "      --libvirt         only show libvirt's domain XML\n"
    "      --json            report as JSON\n"
    "  -h, --help            show this\n";

/* ---- values ---- */

long boot_number(const char *text, const char *end, long limit)
{
    long value = 0;

    if (text == end)
        return -1;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9' || (value = value * 10 + (*text - '0')) > limit)
            return -1;
    }
    return value;
}

static long parse_whole(const char *text, long limit)
{
    return boot_number(text, text + strlen(text), limit);
}

/* Which of the names; -1 for none. */
static int choice(const char *value, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return -1;
}

static int take_accel(const struct command *command, struct chr_boot_options *options)
{
    static const char *const names[] = {"auto", "kvm", "hvf", "tcg", NULL};
    int accel = choice(optarg, names);

    if (accel < 0)
        return usage_error(command, "--accel is kvm, hvf or tcg, not %s", optarg);
    options->accel = (enum chr_accel)accel;
    return 0;
}

static int take_disk_bus(const struct command *command, struct chr_boot_options *options)
{
    static const char *const names[] = {"virtio", "scsi", "nvme", "sata", "ide", NULL};
    int bus = choice(optarg, names);

    if (bus < 0)
        return usage_error(command, "--disk-bus is virtio, scsi, nvme, sata or ide, not %s", optarg);
    options->disk_bus = (enum chr_disk_bus)bus;
    return 0;
}

/* As QEMU's -m: MiB when there is no letter. */
static int take_memory(const struct command *command, struct chr_boot_options *options)
{
    size_t length = strlen(optarg);
    char unit = length > 0 ? optarg[length - 1] : '\0';
    bool has_unit = unit != '\0' && strchr("kKmMgGtT", unit) != NULL;
    unsigned shift = !has_unit || unit == 'm' || unit == 'M' ? 20
                     : unit == 'k' || unit == 'K'            ? 10
                     : unit == 'g' || unit == 'G'            ? 30
                                                             : 40;
    long value = boot_number(optarg, optarg + length - has_unit, 1L << 30);

    if (value <= 0 || (uint64_t)value > (UINT64_C(1) << 50) >> shift)
        return usage_error(command, "--mem is a size like 256M or 1G, not %s", optarg);
    options->memory = (uint64_t)value << shift;
    return 0;
}

static int take_cpus(const struct command *command, struct chr_boot_options *options)
{
    long value = parse_whole(optarg, 255);

    if (value < 1)
        return usage_error(command, "--cpus is 1 to 255, not %s", optarg);
    options->smp.cpus = (unsigned)value;
    return 0;
}

/* [cpus=]N[,sockets=N][,cores=N][,threads=N] */
static int take_smp(const struct command *command, struct chr_boot_options *options)
{
    static const char *const keys[] = {"cpus", "sockets", "cores", "threads"};
    unsigned *const values[] = {&options->smp.cpus, &options->smp.sockets, &options->smp.cores,
                                &options->smp.threads};
    const char *at = optarg;

    for (size_t part = 0;; part++) {
        const char *end = at + strcspn(at, ",");
        const char *equals = memchr(at, '=', (size_t)(end - at));
        long value = boot_number(equals != NULL ? equals + 1 : at, end, 255);
        size_t i = 0;

        while (equals != NULL && i < 4 &&
               (strlen(keys[i]) != (size_t)(equals - at) ||
                strncmp(at, keys[i], (size_t)(equals - at)) != 0))
            i++;
        if (value < 1 || i == 4 || (equals == NULL && part > 0))
            return usage_error(command, "--smp is like 4 or cpus=4,sockets=1,cores=2,threads=2, not %s",
                               optarg);
        *values[i] = (unsigned)value;
        if (*end == '\0')
            return 0;
        at = end + 1;
    }
}

/* CODE or CODE,VARS; a file whose whole name has a comma goes first. */
static int take_firmware(const struct command *command, struct boot_arguments *arguments)
{
    const char *comma = strchr(optarg, ',');

    arguments->options.firmware_code = optarg;
    arguments->options.firmware_vars = NULL;
    if (comma == NULL || access(optarg, F_OK) == 0)
        return 0;
    if (comma == optarg || comma[1] == '\0')
        return usage_error(command, "--firmware is CODE or CODE,VARS, not %s", optarg);
    free(arguments->firmware_code);
    arguments->firmware_code = strndup(optarg, (size_t)(comma - optarg));
    if (arguments->firmware_code == NULL)
        return usage_error(command, "out of memory");
    arguments->options.firmware_code = arguments->firmware_code;
    arguments->options.firmware_vars = comma + 1;
    return 0;
}

/* ---- running and showing ---- */

static int take_ready(const struct command *command, struct chr_boot_options *options)
{
    regex_t pattern;
    long port;

    options->ready_asked = true;
    if (strcmp(optarg, "http") == 0)
        options->ready = CHR_READY_HTTP;
    else if (strcmp(optarg, "none") == 0)
        options->ready = CHR_READY_NONE;
    else if (strncmp(optarg, "tcp:", 4) == 0 && (port = parse_whole(optarg + 4, 65535)) > 0) {
        options->ready = CHR_READY_TCP;
        options->ready_port = (uint16_t)port;
    } else if (strncmp(optarg, "serial:", 7) == 0 && optarg[7] != '\0') {
        if (regcomp(&pattern, optarg + 7, REG_EXTENDED | REG_NOSUB) != 0)
            return usage_error(command, "--ready %s: that is no regular expression", optarg);
        regfree(&pattern);
        options->ready = CHR_READY_SERIAL;
        options->ready_pattern = optarg + 7;
    } else {
        return usage_error(command, "--ready is http, tcp:PORT, serial:PATTERN or none, not %s",
                           optarg);
    }
    return 0;
}

static int take_timeout(const struct command *command, struct chr_boot_options *options)
{
    long value = parse_whole(optarg, 86400);

    if (value < 1)
        return usage_error(command, "--timeout is 1 to 86400 seconds, not %s", optarg);
    options->timeout = (unsigned)value;
    return 0;
}

static int take_show(const struct command *command, enum chr_boot_show show,
                     struct chr_boot_options *options)
{
    if (options->show != CHR_SHOW_NONE)
        return usage_error(command, "one of --print, --script, --readconfig, --systemd and --libvirt");
    options->show = show;
    options->show_target = optarg;
    return 0;
}

static int take_firmware_kind(const struct command *command, enum chr_boot_firmware firmware,
                              struct chr_boot_options *options)
{
    if (options->firmware != CHR_FIRMWARE_AUTO && options->firmware != firmware)
        return usage_error(command, "--uefi and --bios exclude each other");
    options->firmware = firmware;
    return 0;
}

/* Options whose value is a flag or a string as it is; false for others. */
static bool take_plain(int option, struct boot_arguments *arguments)
{
    struct chr_boot_options *options = &arguments->options;

    switch (option) {
    case 'i':
        options->foreground = true;
        return true;
    case OPTION_NAME:
        options->name = optarg;
        return true;
    case OPTION_CPU:
        options->cpu = optarg;
        return true;
    case OPTION_QEMU:
        options->qemu = optarg;
        return true;
    case OPTION_WRITE:
        options->write = true;
        return true;
    case OPTION_THROWAWAY:
        options->throwaway = true;
        return true;
    case OPTION_RM:
        options->remove = true;
        return true;
    case OPTION_JSON:
        arguments->json = true;
        return true;
    default:
        return false;
    }
}

int boot_take_option(const struct command *command, int option, void *boot_arguments)
{
    struct boot_arguments *arguments = boot_arguments;
    struct chr_boot_options *options = &arguments->options;

    if (take_plain(option, arguments))
        return 0;
    switch (option) {
    case OPTION_UEFI:
        return take_firmware_kind(command, CHR_FIRMWARE_UEFI, options);
    case OPTION_BIOS:
        return take_firmware_kind(command, CHR_FIRMWARE_BIOS, options);
    case OPTION_FIRMWARE:
        return take_firmware(command, arguments);
    case OPTION_ACCEL:
        return take_accel(command, options);
    case OPTION_MEM:
        return take_memory(command, options);
    case OPTION_CPUS:
        return take_cpus(command, options);
    case OPTION_SMP:
        return take_smp(command, options);
    case OPTION_DISK_BUS:
        return take_disk_bus(command, options);
    case OPTION_NET:
        return boot_take_net(command, options);
    case OPTION_FORWARD:
        return boot_take_forward(command, options);
    case OPTION_LISTEN:
        return boot_take_listen(command, options);
    case OPTION_VFIO:
        return boot_take_vfio(command, options);
    case OPTION_READY:
        return take_ready(command, options);
    case OPTION_TIMEOUT:
        return take_timeout(command, options);
    case OPTION_PRINT:
        return take_show(command, CHR_SHOW_PRINT, options);
    case OPTION_SCRIPT:
        return take_show(command, CHR_SHOW_SCRIPT, options);
    case OPTION_READCONFIG:
        return take_show(command, CHR_SHOW_READCONFIG, options);
    case OPTION_SYSTEMD:
        return take_show(command, CHR_SHOW_SYSTEMD, options);
    default:
        return take_show(command, CHR_SHOW_LIBVIRT, options);
    }
}

int boot_check_options(const struct command *command, const struct boot_arguments *arguments)
{
    const struct chr_boot_options *options = &arguments->options;

    if (options->foreground && options->ready_asked && options->ready != CHR_READY_NONE)
        return usage_error(command, "-i waits for nothing: leave out --ready");
    if (options->foreground && arguments->json)
        return usage_error(command, "-i and --json exclude each other");
    if (options->foreground &&
        (options->show == CHR_SHOW_SYSTEMD || options->show == CHR_SHOW_LIBVIRT))
        return usage_error(command, "-i goes with no --systemd or --libvirt");
    if (options->show != CHR_SHOW_NONE && arguments->json)
        return usage_error(command, "--json reports a start, not a command that is only shown");
    if (options->write && options->throwaway)
        return usage_error(command, "--write and --throwaway exclude each other");
    return 0;
}

void boot_arguments_release(struct boot_arguments *arguments)
{
    free(arguments->firmware_code);
    arguments->firmware_code = NULL;
}
