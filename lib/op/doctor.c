/* chr_doctor(): what this host has, in sentences. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "op/boot.h"
#include "vm/firmware.h"

struct doctor {
    struct chr_doctor_report *report;
    size_t capacity;
    bool failed;
    struct chr_doctor_item spare;
    struct chr_error *err;
};

static struct chr_doctor_item *add(struct doctor *doctor, bool good, const char *what,
                                   const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A spare item where memory is short, so that callers may write to what they get. */
static struct chr_doctor_item *add(struct doctor *doctor, bool good, const char *what,
                                   const char *format, ...)
{
    struct chr_doctor_report *report = doctor->report;
    struct chr_doctor_item *item;
    va_list args;

    if (mem_grow(&report->items, &doctor->capacity, report->count, sizeof *report->items,
                 doctor->err) < 0) {
        doctor->failed = true;
        return &doctor->spare;
    }
    item = &report->items[report->count++];
    *item = (struct chr_doctor_item){.good = good};
    (void)snprintf(item->what, sizeof item->what, "%s", what);
    va_start(args, format);
    (void)vsnprintf(item->state, sizeof item->state, format, args);
    va_end(args);
    return item;
}

static void remedy(struct chr_doctor_item *item, const char *text)
{
    (void)snprintf(item->remedy, sizeof item->remedy, "%s", text);
}

static void remedy_is(struct chr_doctor_item *item, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void remedy_is(struct chr_doctor_item *item, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(item->remedy, sizeof item->remedy, format, args);
    va_end(args);
}

static const struct vm_binary *find_binary(const struct vm_host *host, const char *arch)
{
    for (size_t i = 0; i < host->binary_count; i++)
        if (strcmp(host->binaries[i].arch, arch) == 0)
            return &host->binaries[i];
    return NULL;
}

static bool is_recent(const struct vm_binary *binary)
{
    return binary->major > VM_QEMU_MAJOR ||
           (binary->major == VM_QEMU_MAJOR && binary->minor >= VM_QEMU_MINOR);
}

static void look_at_qemu(struct doctor *doctor, const struct vm_host *host, const char *arch)
{
    const struct vm_binary *binary = find_binary(host, arch);
    bool arm = strcmp(arch, "aarch64") == 0;
    char what[64];

    (void)snprintf(what, sizeof what, "QEMU for %s", arch);
    if (binary == NULL)
        remedy(add(doctor, false, what, "qemu-system-%s is not installed", arch),
               host->os == VM_MACOS ? "brew install qemu"
               : arm                ? "apt install qemu-system-arm"
                                    : "apt install qemu-system-x86");
    else if (binary->start_error != 0)
        remedy(add(doctor, false, what, "%.150s cannot be started: %s", binary->path,
                   strerror(binary->start_error)),
               "install QEMU for this host, or take that program out of PATH; --qemu names one of "
               "your own");
    else if (!is_recent(binary))
        remedy(add(doctor, false, what, "%.150s is version %u.%u; %d.%d or newer is needed",
                   binary->path, binary->major, binary->minor, VM_QEMU_MAJOR, VM_QEMU_MINOR),
               host->os == VM_MACOS ? "brew upgrade qemu"
                                    : "a newer release of the distribution brings it, or its "
                                      "backports; --qemu names one of your own");
    else
        (void)add(doctor, true, what, "%.180s, version %u.%u", binary->path, binary->major,
                  binary->minor);
}

/* One of them is enough. */
static void look_at_some_qemu(struct doctor *doctor, const struct vm_host *host)
{
    bool some = false;

    for (size_t i = 0; i < host->binary_count; i++)
        some = some || is_recent(&host->binaries[i]);
    if (!some)
        add(doctor, false, "QEMU", "none that is recent enough: no machine runs here")->needed =
            true;
}

static void look_at_accel(struct doctor *doctor, const struct vm_host *host)
{
    if (host->os == VM_MACOS) {
        (void)add(doctor, host->hvf_usable, "HVF", "%s",
                  host->hvf_usable ? "works" : "is not there: machines are emulated, and slower");
        return;
    }
    if (!host->kvm_usable)
        remedy(add(doctor, false, "KVM", "%s: machines are emulated, and slower",
                   host->kvm_reason), host->kvm_remedy);
    else if (host->kvm_broken)
        remedy(add(doctor, false, "KVM", "/dev/kvm opens, but KVM does not run guests: machines are "
                   "emulated, and slower"),
               "chrimg boot --accel kvm IMG tries it again");
    else
        (void)add(doctor, true, "KVM", host->kvm_runs ? "runs %s machines"
                                                      : "/dev/kvm opens, for %s machines",
                  host->arch);
}

static void look_at_firmware(struct doctor *doctor, const struct vm_host *host, const char *arch)
{
    const struct vm_firmware *firmware;
    struct vm_binary oldest = {.major = VM_QEMU_MAJOR, .minor = VM_QEMU_MINOR};
    const struct vm_binary *binary = find_binary(host, arch);
    bool arm = strcmp(arch, "aarch64") == 0;
    char what[64];

    /* Which machines firmware is for, goes by QEMU's version; it may be there before QEMU is. */
    (void)snprintf(oldest.arch, sizeof oldest.arch, "%s", arch);
    firmware = vm_firmware_usual(host, binary != NULL ? binary : &oldest);
    (void)snprintf(what, sizeof what, "UEFI for %s", arch);
    if (firmware != NULL) {
        (void)add(doctor, true, what, "%.200s", firmware->code);
        return;
    }
    remedy(add(doctor, false, what, "no firmware is installed that boots unsigned loaders"),
           host->os == VM_MACOS ? "brew install qemu"
           : arm                ? "apt install qemu-efi-aarch64"
                                : "apt install ovmf");
}

static void look_at_helpers(struct doctor *doctor, const struct vm_host *host)
{
    if (host->qemu_img[0] != '\0')
        (void)add(doctor, true, "qemu-img", "%.200s", host->qemu_img);
    else
        remedy(add(doctor, false, "qemu-img", "is not installed; vmdk, vdi, vhdx and vpc need it, "
                   "and boot --print and --script"),
               host->os == VM_MACOS ? "brew install qemu" : "apt install qemu-utils");
    if (host->os != VM_LINUX)
        return;
    if (host->bridge_helper[0] == '\0')
        remedy(add(doctor, false, "bridges", "QEMU's bridge helper is not installed; --net bridge:BR "
                   "needs it"), "apt install qemu-system-common");
    else if (!host->bridge_helper_setuid && host->uid != 0)
        remedy_is(add(doctor, false, "bridges", "%.150s is not setuid root; --net bridge:BR needs "
                      "that", host->bridge_helper), "sudo chmod u+s %s", host->bridge_helper);
    else if (!host->bridge_acl)
        remedy(add(doctor, false, "bridges", "/etc/qemu/bridge.conf allows none; --net bridge:BR "
                   "needs that"),
               "echo allow BR | sudo tee -a /etc/qemu/bridge.conf");
    else
        (void)add(doctor, true, "bridges", "%.200s", host->bridge_helper);
}

/* --vfio: the IOMMU, its driver, and leave to lock the guest's memory. */
static void look_at_vfio(struct doctor *doctor, const struct vm_host *host)
{
    const uint64_t needed = VM_USUAL_MEMORY + VM_LOCKED_BESIDE;

    if (host->os != VM_LINUX)
        return;
    if (host->iommu_groups == 0)
        remedy(add(doctor, false, "PCI devices", "no IOMMU is in use; --vfio needs one"),
               "switch VT-d or AMD-Vi on in the host's setup, and boot Linux with intel_iommu=on "
               "on Intel");
    else if (!host->vfio_loaded)
        remedy(add(doctor, false, "PCI devices", "there is no /dev/vfio/vfio; --vfio needs it"),
               "sudo modprobe vfio-pci");
    else
        (void)add(doctor, true, "PCI devices", "an IOMMU with %u groups, and VFIO",
                  host->iommu_groups);
    if (host->uid == 0 || host->memlock == UINT64_MAX)
        (void)add(doctor, true, "locked memory", "no limit");
    else if (host->memlock >= needed)
        (void)add(doctor, true, "locked memory", "%" PRIu64 " MiB", host->memlock >> 20);
    else
        remedy_is(add(doctor, false, "locked memory", "the limit is %" PRIu64 " KiB; --vfio needs the "
                      "guest's memory and %" PRIu64 " MiB", host->memlock >> 10,
                      VM_LOCKED_BESIDE >> 20),
                  "echo '%.64s - memlock %" PRIu64 "' | sudo tee -a /etc/security/limits.conf, then log "
                  "in anew", host->user[0] != '\0' ? host->user : "USER", needed >> 10);
}

/* The longest name of an instance whose sockets have a path that is short enough. */
static int name_room(const struct vm_host *host)
{
    return VM_SOCKET_PATH_MAX - (int)strlen(host->runtime_folder) - (int)strlen("//serial.sock");
}

/* No machine runs without a place for its sockets and its record. */
static void look_at_folders(struct doctor *doctor, const struct vm_host *host)
{
    struct chr_doctor_item *item;
    struct chr_error problem;
    int room = name_room(host);

    if (vm_instance_try_folders(host, &problem) < 0) {
        item = add(doctor, false, "instances", "%.255s", problem.message);
        item->needed = true;
        remedy_is(item, "%.255s", problem.hint);
    } else if (room < CHR_BOOT_NAME_MAX) {
        item = add(doctor, false, "instances", "%.110s leaves %d of the %d bytes that a name in a "
                   "socket's path may need", host->runtime_folder, room < 0 ? 0 : room,
                   CHR_BOOT_NAME_MAX);
        item->needed = room < 1;
        remedy_is(item, "%sset XDG_RUNTIME_DIR to a folder with a shorter path",
                  room < 1 ? "" : "a shorter --name, or ");
    } else {
        (void)add(doctor, true, "instances", "%.110s, and sockets in %.110s", host->state_folder,
                  host->runtime_folder);
    }
}

int chr_doctor(struct chr_doctor_report **out, struct chr_error *err)
{
    const struct chr_boot_options options = {0};
    AUTO_VM_HOST struct vm_host *host = NULL;
    struct doctor doctor = {.report = mem_new(1, sizeof *doctor.report, err), .err = err};

    if (doctor.report == NULL)
        return -1;
    if (vm_host_probe(&options, NULL, &host, err) < 0) {
        chr_doctor_free(doctor.report);
        return -1;
    }
    look_at_some_qemu(&doctor, host);
    look_at_qemu(&doctor, host, "x86_64");
    look_at_qemu(&doctor, host, "aarch64");
    look_at_accel(&doctor, host);
    look_at_firmware(&doctor, host, "x86_64");
    look_at_firmware(&doctor, host, "aarch64");
    look_at_helpers(&doctor, host);
    look_at_vfio(&doctor, host);
    look_at_folders(&doctor, host);
    if (doctor.failed) {
        chr_doctor_free(doctor.report);
        return -1;
    }
    *out = doctor.report;
    return 0;
}

void chr_doctor_free(struct chr_doctor_report *report)
{
    if (report == NULL)
        return;
    free(report->items);
    free(report);
}
