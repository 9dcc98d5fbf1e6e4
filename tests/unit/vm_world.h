/* Hosts and images made by hand, for tests of plans: no file of the host is looked at. */
#ifndef CHRIMG_TESTS_UNIT_VM_WORLD_H
#define CHRIMG_TESTS_UNIT_VM_WORLD_H

#include "unit.h"
#include "vm/plan.h"

#define MIB (UINT64_C(1) << 20)
#define FIRMWARES_MAX 8

/* A host with room for what its pointers point to. */
struct world {
    struct vm_host host;
    struct vm_binary binaries[2];
    struct vm_firmware firmwares[FIRMWARES_MAX];
    uint16_t tcp_busy[16];
    uint16_t udp_busy[16];
};

typedef void world_fn(struct world *world);

static inline void add_firmware(struct world *world, const char *arch, const char *code,
                                uint64_t code_size, const char *vars, uint64_t vars_size)
{
    struct vm_firmware *firmware = &world->firmwares[world->host.firmware_count++];

    assert_true(world->host.firmware_count <= FIRMWARES_MAX);
    *firmware = (struct vm_firmware){.mode = VM_FIRMWARE_SPLIT,
                                     .code_size = code_size,
                                     .vars_size = vars_size};
    (void)snprintf(firmware->arch, sizeof firmware->arch, "%s", arch);
    (void)snprintf(firmware->code, sizeof firmware->code, "%s", code);
    (void)snprintf(firmware->vars, sizeof firmware->vars, "%s", vars);
}

static inline void add_debian_firmware(struct world *world)
{
    add_firmware(world, "x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", 3653632,
                 "/usr/share/OVMF/OVMF_VARS_4M.fd", 540672);
    add_firmware(world, "aarch64", "/usr/share/AAVMF/AAVMF_CODE.fd", 64 * MIB,
                 "/usr/share/AAVMF/AAVMF_VARS.fd", 64 * MIB);
}

static inline void set_qemu(struct world *world, const char *folder, unsigned major, unsigned minor)
{
    static const char *const archs[] = {"x86_64", "aarch64"};

    world->host.binary_count = 2;
    for (size_t i = 0; i < 2; i++) {
        struct vm_binary *binary = &world->binaries[i];

        *binary = (struct vm_binary){.major = major, .minor = minor,
                                     .seccomp = world->host.os == VM_LINUX};
        (void)snprintf(binary->arch, sizeof binary->arch, "%s", archs[i]);
        (void)snprintf(binary->path, sizeof binary->path, "%s/qemu-system-%s", folder, archs[i]);
    }
}

static inline void start_world(struct world *world, enum vm_os os, const char *arch)
{
    struct vm_host *host = &world->host;

    *world = (struct world){0};
    host->os = os;
    host->binaries = world->binaries;
    host->firmwares = world->firmwares;
    host->tcp_busy = world->tcp_busy;
    host->udp_busy = world->udp_busy;
    host->uid = 1000;
    host->first_open_port = 1024;
    host->memlock = 8 * MIB;
    (void)snprintf(host->arch, sizeof host->arch, "%s", arch);
    (void)snprintf(host->user, sizeof host->user, "ann");
    (void)snprintf(host->identity, sizeof host->identity, "0123456789abcdef");
    (void)snprintf(host->runtime_folder, sizeof host->runtime_folder, "/run/user/1000/chrimg");
    (void)snprintf(host->state_folder, sizeof host->state_folder, "/home/ann/.local/state/chrimg");
    (void)snprintf(host->cache_folder, sizeof host->cache_folder, "/home/ann/.cache/chrimg");
    (void)snprintf(host->program, sizeof host->program, "/usr/bin/chrimg");
    (void)snprintf(host->qemu_img, sizeof host->qemu_img, "/usr/bin/qemu-img");
    set_qemu(world, os == VM_MACOS ? "/opt/homebrew/bin" : "/usr/bin", 7, 2);
}

static inline void add_interface(struct world *world, const char *name, bool tap, bool usable)
{
    struct vm_interface *interface = &world->host.interfaces[world->host.interface_count++];

    (void)snprintf(interface->name, sizeof interface->name, "%s", name);
    interface->exists = true;
    interface->is_tap = tap;
    interface->is_bridge = !tap;
    interface->usable = usable;
}

/* ---- hosts ---- */

static inline void linux_x86(struct world *world)
{
    start_world(world, VM_LINUX, "x86_64");
    add_debian_firmware(world);
    world->host.kvm_usable = true;
    add_interface(world, "tap0", true, true);
    add_interface(world, "br0", false, true);
    (void)snprintf(world->host.bridge_helper, VM_PATH_SIZE, "/usr/lib/qemu/qemu-bridge-helper");
    world->host.bridge_helper_setuid = true;
}

static inline void without_kvm(struct world *world)
{
    world->host.kvm_usable = false;
    (void)snprintf(world->host.kvm_reason, VM_REASON_SIZE, "there is no /dev/kvm");
    (void)snprintf(world->host.kvm_remedy, VM_REASON_SIZE, "sudo modprobe kvm_intel");
}

static inline void linux_x86_tcg(struct world *world)
{
    linux_x86(world);
    without_kvm(world);
}

static inline void linux_arm(struct world *world)
{
    start_world(world, VM_LINUX, "aarch64");
    add_debian_firmware(world);
    world->host.kvm_usable = true;
}

static inline void linux_arm_tcg(struct world *world)
{
    linux_arm(world);
    without_kvm(world);
}

static inline void add_homebrew_firmware(struct world *world, const char *folder)
{
    char code[128];
    char vars[128];

    (void)snprintf(code, sizeof code, "%s/edk2-x86_64-code.fd", folder);
    (void)snprintf(vars, sizeof vars, "%s/edk2-i386-vars.fd", folder);
    add_firmware(world, "x86_64", code, 3653632, vars, 540672);
    (void)snprintf(code, sizeof code, "%s/edk2-aarch64-code.fd", folder);
    (void)snprintf(vars, sizeof vars, "%s/edk2-arm-vars.fd", folder);
    add_firmware(world, "aarch64", code, 64 * MIB, vars, 64 * MIB);
}

static inline void mac_intel(struct world *world)
{
    start_world(world, VM_MACOS, "x86_64");
    set_qemu(world, "/usr/local/bin", 8, 2);
    add_homebrew_firmware(world, "/usr/local/share/qemu");
    world->host.hvf_usable = true;
}

static inline void mac_silicon(struct world *world)
{
    start_world(world, VM_MACOS, "aarch64");
    set_qemu(world, "/opt/homebrew/bin", 9, 1);
    add_homebrew_firmware(world, "/opt/homebrew/share/qemu");
    world->host.hvf_usable = true;
}

/* ---- images ---- */

#define YES {true, "boots"}
#define NO_UEFI {false, "the boot partition is ext2, which UEFI cannot read"}
#define NO_BIOS {false, "there is no boot code"}

static const struct vm_image stock = {
    .path = "/img/chr-7.19.img", .arch = "x86_64", .bios = YES, .uefi = NO_UEFI, .size = 128 * MIB};
static const struct vm_image both = {
    .path = "/img/both.img", .arch = "x86_64", .bios = YES, .uefi = YES, .size = 128 * MIB};
static const struct vm_image uefi_only = {
    .path = "/img/efi.img", .arch = "x86_64", .bios = NO_BIOS, .uefi = YES, .size = 128 * MIB};
static const struct vm_image both_qcow2 = {
    .path = "/img/both.qcow2", .format = CHR_FORMAT_QCOW2, .arch = "x86_64",
    .bios = YES, .uefi = YES, .size = 128 * MIB};
static const struct vm_image arm = {
    .path = "/img/arm64.img", .arch = "aarch64", .bios = NO_BIOS, .uefi = YES, .size = 128 * MIB};
static const struct vm_image arm_qcow2 = {
    .path = "/img/arm64.qcow2", .format = CHR_FORMAT_QCOW2, .arch = "aarch64",
    .bios = NO_BIOS, .uefi = YES, .size = 128 * MIB};

#endif
