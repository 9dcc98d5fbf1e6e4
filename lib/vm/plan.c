/* Facts and options to a plan: the decisions in their order, then the arguments. */
#include "vm/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/shell.h"
#include "vm/argv.h"
#include "vm/decide.h"

#define MIB (UINT64_C(1) << 20)
#define MEMORY_MIN (64 * MIB)             /* RouterOS wants more, but says so itself */
#define MEMORY_MAX (UINT64_C(1) << 42)    /* 4 TiB */
#define CPUS_MAX 255                      /* of q35 without more ado */

/* ---- small things for the decisions ---- */

void plan_note(struct vm_plan *plan, const char *format, ...)
{
    va_list args;

    if (plan->note_count == VM_NOTES_MAX)
        return;
    va_start(args, format);
    (void)vsnprintf(plan->notes[plan->note_count++], sizeof plan->notes[0], format, args);
    va_end(args);
}

int plan_add_file(struct vm_plan *plan, enum vm_make_kind kind, const char *target,
                  const char *source, bool source_is_qcow2, uint64_t size, struct chr_error *err)
{
    struct vm_file *grown = realloc(plan->files, (plan->file_count + 1) * sizeof *grown);
    struct vm_file *file;

    if (grown == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for a plan");
    plan->files = grown;
    file = &grown[plan->file_count++];
    *file = (struct vm_file){.kind = kind, .source_is_qcow2 = source_is_qcow2, .size = size};
    if ((file->target = mem_strdup(target, err)) == NULL ||
        (source != NULL && (file->source = mem_strdup(source, err)) == NULL))
        return -1;
    return 0;
}

/* ---- the image ---- */

static int check_image(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_image *image = vm->image;
    const char *name = vm_image_name(image);

    if (image->format == CHR_FORMAT_ZIP) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a zip, and a router writes to its disk",
                      name);
        return err_hint(err, "chrimg convert %s router.qcow2, or chrimg fatten %s -o router.qcow2 "
                             "for UEFI", HINT_WORD(name), HINT_WORD(name));
    }
    if (image->is_snapshot) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a snapshot, which cannot be written to",
                      name);
        return err_hint(err, "chrimg convert it to an image of its own; or chrimg snapshot -a");
    }
    if (strcmp(image->arch, "x86_64") != 0 && strcmp(image->arch, "aarch64") != 0) {
        if (!image->bios.yes)
            return err_set(err, CHR_E_REFUSED, "%s: for which architecture the image is, cannot be "
                                               "told, and it does not boot with BIOS: %s",
                           name, image->bios.reason);
        (void)snprintf(plan->arch, sizeof plan->arch, "x86_64");
    } else {
        (void)snprintf(plan->arch, sizeof plan->arch, "%s", image->arch);
    }
    plan->image_is_qcow2 = image->format == CHR_FORMAT_QCOW2;
    plan->image = mem_strdup(image->path, err);
    return plan->image != NULL ? 0 : -1;
}

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    bool good = length > 0 && length <= CHR_BOOT_NAME_MAX && strchr(".-", name[0]) == NULL;

    for (size_t i = 0; i < length && good; i++)
        good = is_name_character(name[i]);
    return good;
}

int vm_name_check(const char *name, struct chr_error *err)
{
    if (is_name(name))
        return 0;
    return err_set(err, CHR_E_USAGE, "%.40s is no name: 1 to %d letters, digits, '.', '_' and '-', "
                   "the first a letter, digit or '_'", name[0] != '\0' ? name : "\"\"",
                   CHR_BOOT_NAME_MAX);
}

/* "/x/chr-7.19.img" is "chr-7.19"; what a name cannot hold becomes '-'. */
static void name_of_image(const char *path, char *name)
{
    const char *slash = strrchr(path, '/');
    const char *start = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(start, '.');
    size_t length = dot != NULL && dot != start ? (size_t)(dot - start) : strlen(start);
    size_t out = 0;

    for (size_t i = 0; i < length && out < CHR_BOOT_NAME_MAX; i++) {
        char c = is_name_character(start[i]) ? start[i] : '-';

        if (out > 0 || (c != '.' && c != '-'))
            name[out++] = c;
    }
    name[out] = '\0';
    if (out == 0)
        (void)snprintf(name, CHR_BOOT_NAME_MAX + 1, "chr");
}

static int choose_name(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    if (vm->options->name == NULL) {
        name_of_image(vm->image->path, plan->name);
        return 0;
    }
    if (!is_name(vm->options->name))
        return err_set(err, CHR_E_USAGE, "--name: 1 to %d letters, digits and . _ -, the first one "
                                         "a letter, digit or _, not \"%.80s\"", CHR_BOOT_NAME_MAX,
                       vm->options->name);
    (void)snprintf(plan->name, sizeof plan->name, "%s", vm->options->name);
    return 0;
}

/* ---- QEMU ---- */

static int refuse_without_qemu(const struct vm_host *host, const char *arch, struct chr_error *err)
{
    bool is_arm = strcmp(arch, "aarch64") == 0;

    (void)err_set(err, CHR_E_MISSING, "qemu-system-%s is not installed", arch);
    if (host->os == VM_MACOS)
        return err_hint(err, "brew install qemu");
    return err_hint(err, "apt install qemu-system-%s, dnf install qemu-system-%s, "
                         "pacman -S qemu-system-%s; chrimg doctor says what else is missing",
                    is_arm ? "arm" : "x86", is_arm ? "aarch64" : "x86",
                    is_arm ? "aarch64" : "x86");
}

static int choose_binary(struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    for (size_t i = 0; i < vm->host->binary_count && vm->binary == NULL; i++)
        if (strcmp(vm->host->binaries[i].arch, plan->arch) == 0)
            vm->binary = &vm->host->binaries[i];
    if (vm->binary == NULL)
        return refuse_without_qemu(vm->host, plan->arch, err);
    if (vm->binary->start_error != 0) {
        (void)err_errno(err, vm->binary->start_error, "cannot start %s", vm->binary->path);
        return err_hint(err, "it is no QEMU for this host; install one, or name it: --qemu PROGRAM");
    }
    if (vm->binary->major == 0)
        return err_set(err, CHR_E_REFUSED, "%s does not say which version of QEMU it is",
                       vm->binary->path);
    if (vm->binary->major < VM_QEMU_MAJOR ||
        (vm->binary->major == VM_QEMU_MAJOR && vm->binary->minor < VM_QEMU_MINOR)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is QEMU %u.%u; chrimg wants %d.%d or newer",
                      vm->binary->path, vm->binary->major, vm->binary->minor, VM_QEMU_MAJOR,
                      VM_QEMU_MINOR);
        return err_hint(err, "install a newer one, or name it: --qemu PROGRAM");
    }
    plan->binary = mem_strdup(vm->binary->path, err);
    return plan->binary != NULL ? 0 : -1;
}

/* An aarch64 machine has no choice; IDE is there on the old PC only. */
static const char *choose_machine(const struct vm_case *vm, const struct vm_plan *plan)
{
    if (strcmp(plan->arch, "aarch64") == 0)
        return "virt";
    return vm->options->disk_bus == CHR_DISK_IDE ? "pc" : "q35";
}

/* ---- memory and CPUs ---- */

/* In the largest unit that says it exactly. */
static int refuse_memory(uint64_t memory, struct chr_error *err)
{
    static const char units[] = "KMGT";
    uint64_t number = memory >> 10; /* the smallest unit that can be asked for */
    size_t unit = 0;

    for (; number != 0 && number % 1024 == 0 && units[unit + 1] != '\0'; unit++)
        number /= 1024;
    (void)err_set(err, CHR_E_USAGE, "--mem: whole MiB, from 64M to 4T, not %" PRIu64 "%c", number,
                  units[unit]);
    return err_hint(err, "--mem 256M is enough for most routers");
}

static int choose_size(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    uint64_t memory = vm->options->memory != 0 ? vm->options->memory : VM_USUAL_MEMORY;

    if (memory < MEMORY_MIN || memory > MEMORY_MAX || memory % MIB != 0)
        return refuse_memory(memory, err);
    plan->memory = memory;
    return 0;
}

static int choose_cpu(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    plan->native_cpu = mem_strdup(decide_cpu(vm, plan->arch, CHR_ACCEL_KVM), err);
    plan->tcg_cpu = mem_strdup(decide_cpu(vm, plan->arch, CHR_ACCEL_TCG), err);
    return plan->native_cpu != NULL && plan->tcg_cpu != NULL ? 0 : -1;
}

static int check_smp(const struct vm_case *vm, struct chr_error *err)
{
    const struct chr_smp *smp = &vm->options->smp;
    unsigned highest = smp->sockets > smp->cores ? smp->sockets : smp->cores;
    uint64_t product = 1;

    if (smp->threads > highest)
        highest = smp->threads;
    if (smp->cpus > CPUS_MAX || highest > CPUS_MAX)
        return err_set(err, CHR_E_USAGE, "--cpus, --smp: at most %d", CPUS_MAX);
    product *= smp->sockets != 0 ? smp->sockets : 1;
    product *= smp->cores != 0 ? smp->cores : 1;
    product *= smp->threads != 0 ? smp->threads : 1;
    if (product > CPUS_MAX)
        return err_set(err, CHR_E_USAGE, "--cpus, --smp: at most %d", CPUS_MAX);
    if (smp->cpus != 0 && smp->sockets != 0 && smp->cores != 0 && smp->threads != 0 &&
        product != smp->cpus)
        return err_set(err, CHR_E_USAGE, "--smp: %u sockets x %u cores x %u threads are not %u CPUs",
                       smp->sockets, smp->cores, smp->threads, smp->cpus);
    if (smp->cpus != 0 && smp->cpus % product != 0)
        return err_set(err, CHR_E_USAGE, "--smp: %u CPUs do not come out of %" PRIu64 " each",
                       smp->cpus, product);
    return 0;
}

/* ---- the instance's files ---- */

static int check_folders(const struct vm_plan *plan, struct chr_error *err)
{
    if (strlen(plan->qmp_socket) > VM_SOCKET_PATH_MAX ||
        strlen(plan->serial_socket) > VM_SOCKET_PATH_MAX) {
        (void)err_set(err, CHR_E_USAGE, "%s: longer than the %d bytes that a socket's path may have",
                      plan->serial_socket, VM_SOCKET_PATH_MAX);
        return err_hint(err, "a shorter --name, or a shorter folder in XDG_RUNTIME_DIR");
    }
    return 0;
}

static int place_files(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    bool is_unit = vm->options->show == CHR_SHOW_SYSTEMD;
    const char *name = plan->name;

    plan->runtime_folder = is_unit ? text_new(err, "/run/chrimg-%s/chrimg/%s", name, name)
                                   : text_new(err, "%s/%s", vm->host->runtime_folder, name);
    plan->state_folder = is_unit ? text_new(err, "/var/lib/chrimg-%s/chrimg/%s", name, name)
                                 : text_new(err, "%s/%s", vm->host->state_folder, name);
    if (plan->runtime_folder == NULL || plan->state_folder == NULL)
        return -1;
    plan->qmp_socket = text_new(err, "%s/qmp.sock", plan->runtime_folder);
    plan->serial_socket = text_new(err, "%s/serial.sock", plan->runtime_folder);
    plan->pid_file = text_new(err, "%s/pid", plan->runtime_folder);
    plan->log_file = text_new(err, "%s/qemu.log", plan->state_folder);
    plan->serial_log = text_new(err, "%s/serial.log", plan->state_folder);
    if (plan->qmp_socket == NULL || plan->serial_socket == NULL || plan->pid_file == NULL ||
        plan->log_file == NULL || plan->serial_log == NULL)
        return -1;
    if (plan->accel == CHR_ACCEL_KVM &&
        (plan->agent_socket = text_new(err, "%s/agent.sock", plan->runtime_folder)) == NULL)
        return -1;
    plan->listen = mem_strdup(vm->options->listen != NULL ? vm->options->listen : "127.0.0.1", err);
    if (plan->listen == NULL)
        return -1;
    return check_folders(plan, err);
}

/* ---- arguments ---- */

static void add_machine(struct argv_list *list, const struct vm_case *vm,
                        const struct vm_plan *plan)
{
    const struct chr_smp *smp = &vm->options->smp;
    char size[32];

    argv_option(list, "machine", "type", plan->machine);
    /* Without a screen, SeaBIOS and the boot code speak on the serial line. */
    if (!plan->is_uefi)
        argv_property(list, "graphics", "off");
    (void)snprintf(size, sizeof size, "%" PRIu64 "M", plan->memory / MIB);
    argv_option(list, "m", "size", size);
    if (smp->cpus != 0 || (smp->sockets == 0 && smp->cores == 0 && smp->threads == 0)) {
        (void)snprintf(size, sizeof size, "%u", smp->cpus != 0 ? smp->cpus : 1);
        argv_option(list, "smp", "cpus", size);
    } else {
        argv_keyed_option(list, "smp");
    }
    if (smp->sockets != 0)
        argv_property(list, "sockets", "%u", smp->sockets);
    if (smp->cores != 0)
        argv_property(list, "cores", "%u", smp->cores);
    if (smp->threads != 0)
        argv_property(list, "threads", "%u", smp->threads);
}

static void add_socket(struct argv_list *list, const char *id, const char *path)
{
    argv_option(list, "chardev", "backend", "socket");
    argv_property(list, "id", "%s", id);
    argv_property(list, "path", "%s", path);
    argv_property(list, "server", "on");
    argv_property(list, "wait", "off");
}

static void add_lines(struct argv_list *list, const struct vm_plan *plan)
{
    if (plan->serial_on_stdio) {
        argv_option(list, "chardev", "backend", "stdio");
        argv_property(list, "id", "serial0");
        argv_property(list, "mux", "on"); /* Ctrl-A X ends QEMU */
        argv_property(list, "signal", "off");
    } else {
        add_socket(list, "serial0", plan->serial_socket);
    }
    argv_property(list, "logfile", "%s", plan->serial_log);
    argv_raw(list, "serial", "chardev:serial0");
    add_socket(list, "qmp0", plan->qmp_socket);
    argv_keyed_option(list, "mon");
    argv_property(list, "chardev", "qmp0");
    argv_property(list, "mode", "control");
    argv_raw(list, "pidfile", plan->pid_file);
}

/* QEMU gives up what it does not need; its bridge helper is a setuid program that it has to start. */
static void add_sandbox(struct argv_list *list, const struct vm_case *vm,
                        const struct vm_plan *plan)
{
    bool starts_helper = false;

    if (vm->host->os != VM_LINUX || !vm->binary->seccomp)
        return;
    for (size_t i = 0; i < plan->net_count; i++)
        starts_helper = starts_helper || plan->nets[i].kind == CHR_NET_BRIDGE;
    argv_option(list, "sandbox", "enable", "on");
    argv_property(list, "obsolete", "deny");
    argv_property(list, "elevateprivileges", starts_helper ? "allow" : "deny");
    argv_property(list, "spawn", starts_helper ? "allow" : "deny");
    argv_property(list, "resourcecontrol", "deny");
}

/* All of them; those that depend on ACCEL come last. */
static void add_arguments(struct argv_list *list, const struct vm_case *vm, struct vm_plan *plan,
                          enum chr_accel accel)
{
    argv_option(list, "name", "guest", plan->name);
    argv_flag(list, "nodefaults");
    argv_flag(list, "no-user-config");
    argv_raw(list, "display", "none");
    add_sandbox(list, vm, plan);
    add_machine(list, vm, plan);
    argv_add_firmware(list, plan);
    argv_add_disk(list, vm, plan);
    argv_add_nets(list, vm, plan);
    argv_add_vfio(list, vm);
    argv_option(list, "object", "qom-type", "rng-builtin");
    argv_property(list, "id", "rng0");
    argv_option(list, "device", "driver", "virtio-rng-pci");
    argv_property(list, "rng", "rng0");
    add_lines(list, plan);
    plan->accel_option = list->count;
    argv_add_accel(list, accel, accel == CHR_ACCEL_TCG ? plan->tcg_cpu : plan->native_cpu,
                   plan->agent_socket);
}

static int make_arguments(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    AUTO_ARGV struct argv_list list = {0};
    AUTO_ARGV struct argv_list emulated = {0};

    add_arguments(&list, vm, plan, plan->accel);
    if (argv_take(&list, plan, err) < 0)
        return -1;
    if (!plan->fallback)
        return 0;
    add_arguments(&emulated, vm, plan, CHR_ACCEL_TCG);
    return argv_make(plan->binary, &emulated, &plan->tcg_argv, err);
}

/* ---- the whole ---- */

static int decide(struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    plan->asked = *vm->options;
    plan->serial_on_stdio = vm->options->foreground &&
                            (vm->options->show == CHR_SHOW_PRINT ||
                             vm->options->show == CHR_SHOW_SCRIPT ||
                             vm->options->show == CHR_SHOW_READCONFIG);
    if (check_image(vm, plan, err) < 0 || choose_name(vm, plan, err) < 0 ||
        choose_size(vm, plan, err) < 0 || check_smp(vm, err) < 0)
        return -1;
    plan->machine = choose_machine(vm, plan);
    if (decide_firmware_kind(vm, plan, err) < 0 || choose_binary(vm, plan, err) < 0 ||
        choose_cpu(vm, plan, err) < 0 || decide_accel(vm, plan, err) < 0 || place_files(vm, plan, err) < 0 ||
        decide_disk(vm, plan, err) < 0 || decide_firmware(vm, plan, err) < 0 ||
        decide_nets(vm, plan, err) < 0 || decide_forwards(vm, plan, err) < 0 ||
        check_vfio(vm, plan, err) < 0)
        return -1;
    return make_arguments(vm, plan, err);
}

int vm_plan_make(const struct vm_host *host, const struct vm_image *image,
                 const struct chr_boot_options *options, struct vm_plan *plan,
                 struct chr_error *err)
{
    struct vm_case vm = {.host = host, .image = image, .options = options};

    *plan = (struct vm_plan){0};
    if (decide(&vm, plan, err) == 0)
        return 0;
    vm_plan_release(plan);
    return -1;
}

void vm_plan_release(struct vm_plan *plan)
{
    for (size_t i = 0; i < plan->file_count; i++) {
        free(plan->files[i].target);
        free(plan->files[i].source);
    }
    argv_free(plan->argv);
    argv_free(plan->tcg_argv);
    argv_free_options(plan->options, plan->option_count);
    free(plan->files);
    free(plan->forwards);
    free(plan->image);
    free(plan->binary);
    free(plan->listen);
    free(plan->native_cpu);
    free(plan->tcg_cpu);
    free(plan->runtime_folder);
    free(plan->state_folder);
    free(plan->qmp_socket);
    free(plan->serial_socket);
    free(plan->agent_socket);
    free(plan->pid_file);
    free(plan->log_file);
    free(plan->serial_log);
    *plan = (struct vm_plan){0};
}
