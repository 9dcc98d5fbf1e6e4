/* Which arguments come out for which host, image and options: a table, and what no row may show. */
#include "vm_world.h"

#include <ctype.h>

/* ---- hosts that differ in one thing ---- */

static void kvm_broken(struct world *world)
{
    world->host.kvm_broken = true;
}

static void no_arm32(struct world *world)
{
    world->host.lacks_arm32 = true;
}

static void no_hvf(struct world *world)
{
    world->host.hvf_usable = false;
}

static void no_firmware(struct world *world)
{
    world->host.firmware_count = 0;
}

static void only_secure(struct world *world)
{
    for (size_t i = 0; i < world->host.firmware_count; i++) {
        world->firmwares[i].secure_boot = true;
        world->firmwares[i].requires_smm = true;
    }
}

static void enrolled_first(struct world *world)
{
    no_firmware(world);
    add_firmware(world, "x86_64", "/fw/enrolled.fd", 3653632, "/fw/enrolled-vars.fd", 540672);
    world->firmwares[0].secure_boot = world->firmwares[0].enrolled_keys = true;
    add_firmware(world, "x86_64", "/fw/setup-mode.fd", 3653632, "/fw/setup-vars.fd", 540672);
    world->firmwares[1].secure_boot = true;
    add_firmware(world, "x86_64", "/fw/plain.fd", 3653632, "/fw/plain-vars.fd", 540672);
}

static void only_setup_mode(struct world *world)
{
    enrolled_first(world);
    world->host.firmware_count = 2;
}

static void for_microvm(struct world *world)
{
    world->firmwares[0].machine_count = 1;
    (void)snprintf(world->firmwares[0].machines[0], 64, "microvm-*");
}

static void for_q35(struct world *world)
{
    world->firmwares[0].machine_count = 2;
    (void)snprintf(world->firmwares[0].machines[0], 64, "pc-i440fx-*");
    (void)snprintf(world->firmwares[0].machines[1], 64, "pc-q35-*");
}

static void only_qemu_efi(struct world *world)
{
    no_firmware(world);
    add_firmware(world, "aarch64", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", 2 * MIB, "", 0);
}

static void huge_arm_firmware(struct world *world)
{
    no_firmware(world);
    add_firmware(world, "aarch64", "/fw/huge.fd", 65 * MIB, "", 0);
}

static void fedora(struct world *world)
{
    no_firmware(world);
    add_firmware(world, "x86_64", "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", 3653632,
                 "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", 540672);
    world->firmwares[0].code_is_qcow2 = world->firmwares[0].vars_is_qcow2 = true;
}

static void other_modes(struct world *world)
{
    no_firmware(world);
    add_firmware(world, "x86_64", "/fw/memory.fd", 4 * MIB, "", 0);
    world->firmwares[0].mode = VM_FIRMWARE_MEMORY;
}

static void combined(struct world *world)
{
    other_modes(world);
    world->firmwares[0].mode = VM_FIRMWARE_COMBINED;
}

static void stateless(struct world *world)
{
    other_modes(world);
    world->firmwares[0].mode = VM_FIRMWARE_STATELESS;
}

static void given(struct world *world)
{
    add_debian_firmware(world);
    add_firmware(world, "x86_64", "/mine/CODE.fd", 2 * MIB, "/mine/VARS.fd", 128 * 1024);
    world->firmwares[0] = world->firmwares[world->host.firmware_count - 1];
    world->firmwares[0].given = true;
}

static void given_with_smm(struct world *world)
{
    given(world);
    world->firmwares[0].requires_smm = true;
}

static void old_qemu(struct world *world)
{
    set_qemu(world, "/usr/bin", 4, 2);
}

static void oldest_qemu(struct world *world)
{
    set_qemu(world, "/usr/bin", 5, 2);
}

static void new_qemu(struct world *world)
{
    set_qemu(world, "/usr/bin", 8, 2);
}

static void mute_qemu(struct world *world)
{
    set_qemu(world, "/usr/bin", 0, 0);
}

static void no_qemu(struct world *world)
{
    world->host.binary_count = 0;
}

static void only_other_qemu(struct world *world)
{
    world->host.binary_count = 1; /* x86_64 */
}

static void no_seccomp(struct world *world)
{
    world->binaries[0].seccomp = world->binaries[1].seccomp = false;
}

static void set_busy(struct world *world, uint16_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        world->tcp_busy[i] = (uint16_t)(first + i);
    world->host.tcp_busy_count = count;
}

static void first_block_taken(struct world *world)
{
    set_busy(world, 9183, 1);
}

static void port_8080_taken(struct world *world)
{
    set_busy(world, 8080, 1);
}

static void udp_5000_taken(struct world *world)
{
    world->udp_busy[0] = 5000;
    world->host.udp_busy_count = 1;
}

static void no_such_address(struct world *world)
{
    world->host.listen_missing = true;
}

static void other_identity(struct world *world)
{
    (void)snprintf(world->host.identity, sizeof world->host.identity, "another");
}

static void foreign_tap(struct world *world)
{
    world->host.interfaces[0].usable = false;
}

static void tap_is_card(struct world *world)
{
    world->host.interfaces[0].is_tap = false;
}

static void bridge_not_allowed(struct world *world)
{
    world->host.interfaces[1].usable = false;
}

static void helper_not_setuid(struct world *world)
{
    world->host.bridge_helper_setuid = false;
}

static void no_helper(struct world *world)
{
    world->host.bridge_helper[0] = '\0';
}

static void as_root(struct world *world)
{
    world->host.uid = 0;
    world->host.first_open_port = 0;
}

static void long_runtime_folder(struct world *world)
{
    (void)snprintf(world->host.runtime_folder, VM_PATH_SIZE,
                   "/a/folder/whose/name/is/so/long/that/no/socket/can/be/bound/in/it/at/all/by/"
                   "anybody/chrimg");
}

/* A card that is ready for the guest. */
static void card(struct world *world)
{
    struct vm_vfio *device = &world->host.vfio[world->host.vfio_count++];

    *device = (struct vm_vfio){.address = "0000:01:00.0", .exists = true, .driver = "vfio-pci",
                               .group = 14, .group_exists = true, .group_usable = true};
    world->host.memlock = UINT64_MAX;
}

static void card_missing(struct world *world)
{
    card(world);
    world->host.vfio[0].exists = false;
}

static void card_of_host(struct world *world)
{
    card(world);
    (void)snprintf(world->host.vfio[0].driver, 64, "ixgbe");
}

static void card_without_iommu(struct world *world)
{
    card(world);
    world->host.vfio[0].group = -1;
}

static void card_shared(struct world *world)
{
    card(world);
    world->host.vfio[0].other_count = 1;
    (void)snprintf(world->host.vfio[0].others[0], 16, "0000:01:00.1");
}

static void card_forbidden(struct world *world)
{
    card(world);
    world->host.vfio[0].group_usable = false;
}

static void card_without_memlock(struct world *world)
{
    card(world);
    world->host.memlock = 8 * MIB;
}

/* ---- images that differ ---- */

static const struct vm_image zipped = {
    .path = "/img/chr.img.zip", .format = CHR_FORMAT_ZIP, .arch = "x86_64", .bios = YES, .uefi = NO_UEFI};
static const struct vm_image snapshot = {
    .path = "/img/both.qcow2@clean", .format = CHR_FORMAT_QCOW2, .arch = "x86_64", .bios = YES,
    .uefi = YES, .is_snapshot = true};
static const struct vm_image dead = {
    .path = "/img/dead.img", .arch = "x86_64", .bios = NO_BIOS, .uefi = NO_UEFI};
static const struct vm_image nameless = {
    .path = "/img/v6.img", .arch = "unknown", .bios = YES, .uefi = NO_UEFI, .size = 128 * MIB};
static const struct vm_image nameless_dead = {
    .path = "/img/noise.img", .arch = "unknown", .bios = NO_BIOS, .uefi = NO_UEFI};
static const struct vm_image arm_dead = {
    .path = "/img/arm.img", .arch = "aarch64", .bios = YES, .uefi = NO_UEFI};
static const struct vm_image locked_qcow2 = {
    .path = "/img/ro.qcow2", .format = CHR_FORMAT_QCOW2, .arch = "x86_64", .bios = YES, .uefi = YES,
    .size = 128 * MIB, .read_only = true};
static const struct vm_image locked_raw = {
    .path = "/img/ro.img", .arch = "x86_64", .bios = YES, .uefi = YES, .size = 128 * MIB,
    .read_only = true};
static const struct vm_image odd_name = {
    .path = "/img/-my, \"odd\"\nrouter.img", .arch = "x86_64", .bios = YES, .uefi = NO_UEFI,
    .size = 128 * MIB};

/* ---- the table ---- */

#define MANY 10
#define NET(k, n) {.kind = CHR_NET_##k, .name = n}
#define NETS(...) .nets = {__VA_ARGS__}, .net_count = sizeof((struct chr_net[]){__VA_ARGS__}) / sizeof(struct chr_net)
#define FORWARDS(...)                                                                              \
    .forwards = {__VA_ARGS__},                                                                     \
    .forward_count = sizeof((struct chr_forward[]){__VA_ARGS__}) / sizeof(struct chr_forward)
#define CARD .vfio = {"01:00.0"}, .vfio_count = 1

static const struct row {
    const char *name;
    world_fn *host;
    world_fn *tweak; /* may be NULL */
    const struct vm_image *image;
    struct chr_boot_options options;
    const char *has[MANY];   /* in the arguments, joined by blanks */
    const char *lacks[MANY];
    const char *note;        /* in one of the notes */
    enum chr_code code;      /* of the refusal */
    const char *error;       /* in its message */
    const char *hint;        /* in its hint */
} rows[] = {
    /* firmware by verdict */
    {"stock on KVM: SeaBIOS, q35", linux_x86, NULL, &stock, {0},
     .has = {"/usr/bin/qemu-system-x86_64 ", " -machine q35,graphics=off ", " -accel kvm ", " -cpu host ",
             " -m 256M ", " -smp 1 ", " -nodefaults ", " -no-user-config ", " -display none "},
     .lacks = {"pflash", "OVMF", "tcg", "-kernel"}},
    {"both verdicts: SeaBIOS", linux_x86, NULL, &both, {0}, .lacks = {"pflash"}, .has = {"graphics=off"}},
    {"both verdicts, --uefi: OVMF", linux_x86, NULL, &both, {.firmware = CHR_FIRMWARE_UEFI},
     .has = {" -drive if=pflash,unit=0,format=raw,file=/usr/share/OVMF/OVMF_CODE_4M.fd,readonly=on ",
             " -drive if=pflash,unit=1,format=qcow2,file=/home/ann/.local/state/chrimg/both/vars-c0c5ac0c-528k.qcow2 "},
     .lacks = {"graphics=off"}},
    {"UEFI only: OVMF", linux_x86, NULL, &uefi_only, {0}, .has = {"OVMF_CODE_4M.fd"}},
    {"UEFI only, --bios", linux_x86, NULL, &uefi_only, {.firmware = CHR_FIRMWARE_BIOS},
     .code = CHR_E_REFUSED, .error = "does not boot with BIOS: there is no boot code", .hint = "leave --bios out"},
    {"BIOS only, --uefi", linux_x86, NULL, &stock, {.firmware = CHR_FIRMWARE_UEFI},
     .code = CHR_E_REFUSED, .error = "does not boot with UEFI: the boot partition is ext2",
     .hint = "chrimg fatten /img/chr-7.19.img"},
    {"boots with nothing", linux_x86, NULL, &dead, {0}, .code = CHR_E_REFUSED,
     .error = "boots neither with BIOS (there is no boot code) nor with UEFI", .hint = "chrimg fatten"},
    {"BIOS only, --firmware", linux_x86, given, &stock, {.firmware_code = "x"},
     .code = CHR_E_REFUSED, .error = "does not boot with UEFI, which --firmware asks for"},
    {"both, --firmware: UEFI", linux_x86, given, &both, {.firmware_code = "x"},
     .has = {"file=/mine/CODE.fd", "vars-41d8b70d-128k.qcow2"}, .lacks = {"OVMF"}},
    {"--firmware is taken whatever it is", linux_x86, given_with_smm, &both, {.firmware_code = "x"},
     .has = {"file=/mine/CODE.fd"}},
    {"--bios with --firmware", linux_x86, given, &both,
     {.firmware_code = "x", .firmware = CHR_FIRMWARE_BIOS}, .code = CHR_E_USAGE, .error = "exclude each other"},

    /* aarch64 */
    {"arm64 on x86_64: virt, both pflash units", linux_x86, NULL, &arm, {0},
     .has = {"qemu-system-aarch64 ", " -machine virt ", " -accel tcg,tb-size=256 ",
             " -drive if=pflash,unit=0,format=raw,file=/usr/share/AAVMF/AAVMF_CODE.fd,readonly=on ",
             "unit=1,format=qcow2,file=/home/ann/.local/state/chrimg/arm64/vars-15e90ff8-65536k.qcow2",
             " -device virtio-blk-pci,drive=disk0,bootindex=0 "},
     .lacks = {"if=virtio", "virtio-blk-device", "graphics", "-bios", "kvm"},
     .note = "the image is for aarch64, this host is x86_64"},
    {"arm64, QEMU 7.2: a72", linux_x86, NULL, &arm, {0}, .has = {" -cpu cortex-a72"}, .lacks = {"a710"}},
    {"arm64, QEMU 8.2: a710", linux_x86, new_qemu, &arm, {0}, .has = {" -cpu cortex-a710"}},
    {"arm64 on arm64, KVM", linux_arm, NULL, &arm, {0},
     .has = {" -accel kvm ", " -cpu host ", "org.qemu.guest_agent.0"}, .lacks = {"tcg", "cortex"}},
    {"arm64 on arm64, no KVM", linux_arm_tcg, NULL, &arm, {0},
     .has = {" -accel tcg,tb-size=256 ", " -cpu cortex-a72"}, .lacks = {"kvm", "guest_agent"},
     .note = "sudo modprobe"},
    {"arm64 on CPUs without 32-bit ARM", linux_arm, no_arm32, &arm, {0}, .has = {" -accel tcg,"},
     .note = "32-bit ARM user space, which this CPU does not run"},
    {"arm64, --bios", linux_arm, NULL, &arm, {.firmware = CHR_FIRMWARE_BIOS}, .code = CHR_E_USAGE,
     .error = "there is no BIOS for aarch64"},
    {"arm64 that UEFI cannot read", linux_arm, NULL, &arm_dead, {0}, .code = CHR_E_REFUSED,
     .error = "aarch64 knows nothing else", .hint = "chrimg fatten"},
    {"arm64, 2 MiB firmware: padded, blank variables", linux_x86, only_qemu_efi, &arm, {0},
     .has = {"unit=0,format=qcow2,file=/home/ann/.local/state/chrimg/arm64/code-603f622e.qcow2,readonly=on",
             "unit=1,format=qcow2,file=/home/ann/.local/state/chrimg/arm64/vars-603f622e-65536k.qcow2"},
     .lacks = {"QEMU_EFI.fd"}},
    {"arm64, padded variables, --throwaway", linux_x86, only_qemu_efi, &arm, {.throwaway = true},
     .has = {"vars-603f622e-65536k.qcow2,snapshot=on "}},
    {"arm64, firmware larger than a unit", linux_x86, huge_arm_firmware, &arm, {0}, .code = CHR_E_MISSING,
     .error = "no UEFI firmware for aarch64"},
    {"arm64, --disk-bus ide", linux_arm, NULL, &arm, {.disk_bus = CHR_DISK_IDE}, .code = CHR_E_REFUSED,
     .error = "has no IDE"},
    {"arm64, --disk-bus sata: a controller of its own", linux_arm, NULL, &arm, {.disk_bus = CHR_DISK_SATA},
     .has = {" -device ich9-ahci,id=ahci0 ", " -device ide-hd,bus=ahci0.0,drive=disk0,bootindex=0 "}},

    /* x86_64 on arm64 */
    {"x86_64 BIOS only on arm64", linux_arm, NULL, &stock, {0}, .code = CHR_E_REFUSED,
     .error = "SeaBIOS does not get an x86_64 CHR up on an arm64 host", .hint = "chrimg fatten"},
    {"x86_64 with both on arm64: UEFI", linux_arm, NULL, &both, {0},
     .has = {"OVMF_CODE_4M.fd", " -accel tcg,tb-size=256 ", " -cpu max"}, .lacks = {"kvm"},
     .note = "UEFI, as SeaBIOS does not get"},
    {"x86_64, --bios on arm64", linux_arm, NULL, &both, {.firmware = CHR_FIRMWARE_BIOS},
     .code = CHR_E_REFUSED, .error = "--bios: SeaBIOS does not get", .hint = "leave --bios out"},
    {"x86_64 with both on Apple Silicon: UEFI, TCG", mac_silicon, NULL, &both, {0},
     .has = {"/opt/homebrew/bin/qemu-system-x86_64 ", " -accel tcg,tb-size=256 ", "edk2-x86_64-code.fd"},
     .lacks = {"hvf", "sandbox"}},

    /* which firmware */
    {"no firmware", linux_x86, no_firmware, &uefi_only, {0}, .code = CHR_E_MISSING,
     .error = "no UEFI firmware for x86_64", .hint = "apt install ovmf"},
    {"no firmware, but none is needed", linux_x86, no_firmware, &both, {0}, .lacks = {"pflash"}},
    {"no firmware for arm64", linux_x86, no_firmware, &arm, {0}, .code = CHR_E_MISSING,
     .error = "no UEFI firmware for aarch64", .hint = "qemu-efi-aarch64"},
    {"no firmware on macOS", mac_silicon, no_firmware, &arm, {0}, .code = CHR_E_MISSING,
     .error = "no UEFI firmware", .hint = "brew install qemu"},
    {"only firmware with secure boot and SMM", linux_x86, only_secure, &uefi_only, {0},
     .code = CHR_E_MISSING, .error = "that boots unsigned loaders"},
    {"enrolled keys and setup mode are passed over", linux_x86, enrolled_first, &uefi_only, {0},
     .has = {"file=/fw/plain.fd"}},
    {"setup mode when there is nothing else", linux_x86, only_setup_mode, &uefi_only, {0},
     .has = {"file=/fw/setup-mode.fd"}, .lacks = {"enrolled"}},
    {"firmware of another machine", linux_x86, for_microvm, &uefi_only, {0}, .code = CHR_E_MISSING,
     .error = "no UEFI firmware"},
    {"firmware whose globs name q35", linux_x86, for_q35, &uefi_only, {0}, .has = {"OVMF_CODE_4M.fd"}},
    {"Fedora's qcow2 firmware", linux_x86, fedora, &uefi_only, {0},
     .has = {"unit=0,format=qcow2,file=/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2,readonly=on",
             "unit=1,format=qcow2,file=/home/ann/.local/state/chrimg/efi/vars-22bb8d7b-528k.qcow2"}},
    {"firmware in memory", linux_x86, other_modes, &uefi_only, {0}, .has = {" -bios /fw/memory.fd "},
     .lacks = {"pflash"}},
    {"combined firmware is copied", linux_x86, combined, &uefi_only, {0},
     .has = {"if=pflash,unit=0,format=qcow2,file=/home/ann/.local/state/chrimg/efi/firmware-8051cedf.qcow2 "},
     .lacks = {"unit=1", "readonly"}},
    {"combined firmware, --throwaway", linux_x86, combined, &uefi_only, {.throwaway = true},
     .has = {"firmware-8051cedf.qcow2,snapshot=on "}},
    {"stateless firmware", linux_x86, stateless, &uefi_only, {0},
     .has = {"unit=0,format=raw,file=/fw/memory.fd,readonly=on"}, .lacks = {"unit=1"}},

    /* accelerator */
    {"x86_64, no KVM", linux_x86_tcg, NULL, &stock, {0},
     .has = {" -accel tcg,tb-size=256 ", " -cpu max"}, .lacks = {"kvm", "guest_agent"},
     .note = "there is no /dev/kvm; sudo modprobe kvm_intel"},
    {"x86_64, KVM known broken", linux_x86, kvm_broken, &stock, {0}, .has = {" -accel tcg,tb-size=256 "},
     .note = "KVM does not run guests on this host"},
    {"KVM known broken, --accel kvm", linux_x86, kvm_broken, &stock, {.accel = CHR_ACCEL_KVM},
     .has = {" -accel kvm "}, .note = "tried again"},
    {"no KVM, --accel kvm", linux_x86_tcg, NULL, &stock, {.accel = CHR_ACCEL_KVM}, .code = CHR_E_REFUSED,
     .error = "KVM cannot be used: there is no /dev/kvm", .hint = "sudo modprobe"},
    {"--accel kvm for another architecture", linux_x86, NULL, &arm, {.accel = CHR_ACCEL_KVM},
     .code = CHR_E_REFUSED, .error = "the image is for aarch64, this host is x86_64"},
    {"--accel hvf on Linux", linux_x86, NULL, &stock, {.accel = CHR_ACCEL_HVF}, .code = CHR_E_REFUSED,
     .error = "HVF is there on macOS only", .hint = "--accel kvm"},
    {"--accel kvm on macOS", mac_intel, NULL, &stock, {.accel = CHR_ACCEL_KVM}, .code = CHR_E_REFUSED,
     .error = "KVM is there on Linux only; this host is macOS", .hint = "--accel hvf"},
    {"--accel tcg with KVM there", linux_x86, NULL, &stock, {.accel = CHR_ACCEL_TCG},
     .has = {" -accel tcg,tb-size=256 ", " -cpu max"}, .lacks = {"kvm", "guest_agent"}},
    {"Intel Mac: HVF, CPU host", mac_intel, NULL, &stock, {0},
     .has = {"/usr/local/bin/qemu-system-x86_64 ", " -accel hvf ", " -cpu host"},
     .lacks = {"tcg", "guest_agent", "sandbox"}},
    {"Intel Mac without HVF", mac_intel, no_hvf, &stock, {0}, .has = {" -accel tcg,"}, .note = "no HVF here"},
    {"Intel Mac without HVF, --accel hvf", mac_intel, no_hvf, &stock, {.accel = CHR_ACCEL_HVF},
     .code = CHR_E_REFUSED, .error = "HVF cannot be used"},
    {"arm64 on Apple Silicon: TCG", mac_silicon, NULL, &arm, {0},
     .has = {" -accel tcg,tb-size=256 ", " -cpu cortex-a710", "edk2-aarch64-code.fd"}, .lacks = {"hvf"},
     .note = "32-bit ARM user space, which no Apple CPU runs"},
    {"arm64 on Apple Silicon, --accel hvf: CPU host, no model", mac_silicon, NULL, &arm,
     {.accel = CHR_ACCEL_HVF}, .has = {" -accel hvf ", " -cpu host"}, .lacks = {"cortex"},
     .note = "expect a kernel panic"},
    {"arm64 on an Intel Mac, --accel hvf", mac_intel, NULL, &arm, {.accel = CHR_ACCEL_HVF},
     .code = CHR_E_REFUSED, .error = "HVF runs guests of the host's architecture only"},
    {"--cpu goes as it is", linux_x86, NULL, &stock, {.cpu = "qemu64,+ssse3"},
     .has = {" -cpu qemu64,+ssse3 "}, .lacks = {",,"}},

    /* QEMU */
    {"no QEMU", linux_x86, no_qemu, &stock, {0}, .code = CHR_E_MISSING,
     .error = "qemu-system-x86_64 is not installed", .hint = "apt install qemu-system-x86"},
    {"no QEMU on macOS", mac_intel, no_qemu, &stock, {0}, .code = CHR_E_MISSING,
     .error = "qemu-system-x86_64 is not installed", .hint = "brew install qemu"},
    {"QEMU of another architecture only", linux_x86, only_other_qemu, &arm, {0}, .code = CHR_E_MISSING,
     .error = "qemu-system-aarch64 is not installed", .hint = "apt install qemu-system-arm"},
    {"QEMU 4.2", linux_x86, old_qemu, &stock, {0}, .code = CHR_E_REFUSED,
     .error = "is QEMU 4.2; chrimg wants 5.2 or newer", .hint = "--qemu"},
    {"QEMU 5.2", linux_x86, oldest_qemu, &stock, {0}, .has = {" -accel kvm "}},
    {"QEMU of no version", linux_x86, mute_qemu, &stock, {0}, .code = CHR_E_REFUSED,
     .error = "does not say which version"},
    {"sandbox on Linux", linux_x86, NULL, &stock, {0},
     .has = {" -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny "}},
    {"no sandbox where QEMU has none", linux_x86, no_seccomp, &stock, {0}, .lacks = {"sandbox"}},

    /* the image */
    {"zip", linux_x86, NULL, &zipped, {0}, .code = CHR_E_REFUSED, .error = "is a zip",
     .hint = "chrimg convert /img/chr.img.zip"},
    {"snapshot", linux_x86, NULL, &snapshot, {0}, .code = CHR_E_REFUSED, .error = "is a snapshot"},
    {"unknown architecture with BIOS: x86_64", linux_x86, NULL, &nameless, {0}, .has = {"qemu-system-x86_64 "}},
    {"unknown architecture, no BIOS", linux_x86, NULL, &nameless_dead, {0}, .code = CHR_E_REFUSED,
     .error = "for which architecture the image is"},
    {"read-only qcow2", linux_x86, NULL, &locked_qcow2, {0}, .code = CHR_E_REFUSED,
     .error = "cannot be written to", .hint = "--throwaway"},
    {"read-only qcow2, --throwaway", linux_x86, NULL, &locked_qcow2, {.throwaway = true},
     .has = {"snapshot=on"}},
    {"read-only raw: an overlay", linux_x86, NULL, &locked_raw, {0}, .has = {"format=qcow2,file=/home/ann"}},
    {"read-only raw, --write", linux_x86, NULL, &locked_raw, {.write = true}, .code = CHR_E_REFUSED,
     .error = "cannot be written to"},

    /* the disk */
    {"raw: an overlay, and it is said", linux_x86, NULL, &stock, {0},
     .has = {" -drive if=none,id=disk0,format=qcow2,file=/home/ann/.local/state/chrimg/chr-7.19/disk-",
             ".qcow2,discard=unmap,detect-zeroes=unmap -device virtio-blk-pci,drive=disk0,bootindex=0 "},
     .lacks = {"/img/chr-7.19.img", "if=virtio"}, .note = "the raw image is kept as it is; changes go to"},
    {"raw, --write", linux_x86, NULL, &stock, {.write = true},
     .has = {"format=raw,file=/img/chr-7.19.img,discard=unmap,detect-zeroes=unmap "}, .lacks = {"snapshot=on"},
     .note = "--write"},
    {"raw, --throwaway", linux_x86, NULL, &stock, {.throwaway = true},
     .has = {"format=raw,file=/img/chr-7.19.img,discard=unmap,detect-zeroes=unmap,snapshot=on "},
     .note = "nothing is kept"},
    {"qcow2 directly", linux_x86, NULL, &both_qcow2, {0},
     .has = {"if=none,id=disk0,format=qcow2,file=/img/both.qcow2,discard=unmap,detect-zeroes=unmap "},
     .lacks = {"snapshot=on", "disk-"}},
    {"qcow2, --throwaway with UEFI: the variables too", linux_x86, NULL, &both_qcow2,
     {.throwaway = true, .firmware = CHR_FIRMWARE_UEFI},
     .has = {"unit=1,format=raw,file=/usr/share/OVMF/OVMF_VARS_4M.fd,snapshot=on ", "detect-zeroes=unmap,snapshot=on"},
     .lacks = {"vars-"}},
    {"--write with --throwaway", linux_x86, NULL, &stock, {.write = true, .throwaway = true},
     .code = CHR_E_USAGE, .error = "exclude each other"},
    {"--disk-bus scsi", linux_x86, NULL, &stock, {.disk_bus = CHR_DISK_SCSI},
     .has = {" -device virtio-scsi-pci,id=scsi0 -device scsi-hd,bus=scsi0.0,drive=disk0,bootindex=0 ",
             "discard=unmap"}},
    {"--disk-bus nvme", linux_x86, NULL, &stock, {.disk_bus = CHR_DISK_NVME},
     .has = {" -device nvme,serial=chr0,drive=disk0,bootindex=0 "}},
    {"--disk-bus sata", linux_x86, NULL, &stock, {.disk_bus = CHR_DISK_SATA},
     .has = {" -machine q35,", " -device ide-hd,bus=ide.0,drive=disk0,bootindex=0 "}, .lacks = {"ich9-ahci"}},
    {"--disk-bus ide: the old PC", linux_x86, NULL, &stock, {.disk_bus = CHR_DISK_IDE},
     .has = {" -machine pc,graphics=off ", " -device ide-hd,bus=ide.0,drive=disk0,bootindex=0 "}},
    {"commas of a path are doubled", linux_x86, NULL,
     &(struct vm_image){.path = "/img/a,b.qcow2", .format = CHR_FORMAT_QCOW2, .arch = "x86_64", .bios = YES,
                        .uefi = YES},
     {0}, .has = {"file=/img/a,,b.qcow2,discard"}},

    /* size */
    {"--mem 1G", linux_x86, NULL, &stock, {.memory = 1024 * MIB}, .has = {" -m 1024M "}},
    {"--mem 32M", linux_x86, NULL, &stock, {.memory = 32 * MIB}, .code = CHR_E_USAGE, .error = "--mem"},
    {"--mem of half a MiB more", linux_x86, NULL, &stock, {.memory = 256 * MIB + 4096}, .code = CHR_E_USAGE,
     .error = "whole MiB"},
    {"--mem 12", linux_x86, NULL, &stock, {.memory = 12 * MIB}, .code = CHR_E_USAGE, .error = "not 12M"},
    {"--ready tcp without a forward", linux_x86, NULL, &stock, {.ready = CHR_READY_TCP, .ready_port = 99},
     .code = CHR_E_USAGE, .error = "leads to port 99"},
    {"--ready tcp with one", linux_x86, NULL, &stock,
     {.ready = CHR_READY_TCP, .ready_port = 99, FORWARDS({.host_port = 0, .guest_port = 99, .count = 1})},
     .has = {"-:99,"}},
    {"--cpus 2", linux_x86, NULL, &stock, {.smp = {.cpus = 2}}, .has = {" -smp 2 "}},
    {"--smp", linux_x86, NULL, &stock, {.smp = {.cpus = 4, .cores = 2, .threads = 2}},
     .has = {" -smp 4,cores=2,threads=2 "}},
    {"--smp that does not come out", linux_x86, NULL, &stock, {.smp = {.cpus = 3, .cores = 2}},
     .code = CHR_E_USAGE, .error = "do not come out"},
    {"--smp that multiplies to too many", linux_x86, NULL, &stock, {.smp = {.sockets = 255, .cores = 255}},
     .code = CHR_E_USAGE, .error = "at most 255"},

    /* the network */
    {"default: user on ether1 with forwards", linux_x86, NULL, &stock, {0},
     .has = {" -netdev user,id=net0,hostfwd=tcp:127.0.0.1:9180-:80,hostfwd=tcp:127.0.0.1:9181-:443,"
             "hostfwd=tcp:127.0.0.1:9182-:22,hostfwd=tcp:127.0.0.1:9183-:8728,"
             "hostfwd=tcp:127.0.0.1:9184-:8729,hostfwd=tcp:127.0.0.1:9185-:8291 ",
             " -device virtio-net-pci,netdev=net0,mac=02:", ",romfile= "},
     .lacks = {"0.0.0.0", "e1000", "net1"}},
    {"user is put in front", linux_x86, NULL, &stock, {NETS(NET(TAP, "tap0"), NET(USER, ""))},
     .has = {" -netdev user,id=net0,", " -netdev tap,id=net1,ifname=tap0,script=no,downscript=no "},
     .note = "the user network is ether1"},
    {"none", linux_x86, NULL, &stock, {NETS(NET(NONE, ""))}, .lacks = {"netdev", "virtio-net"},
     .note = "nothing is waited for"},
    {"none and another", linux_x86, NULL, &stock, {NETS(NET(NONE, ""), NET(USER, ""))}, .code = CHR_E_USAGE,
     .error = "--net none goes with no other"},
    {"user twice", linux_x86, NULL, &stock, {NETS(NET(USER, ""), NET(USER, ""))}, .code = CHR_E_USAGE,
     .error = "both would be 10.0.2.15"},
    {"tap twice", linux_x86, NULL, &stock, {NETS(NET(TAP, "tap0"), NET(TAP, "tap0"))}, .code = CHR_E_USAGE,
     .error = "tap:tap0 is there twice"},
    {"tap that is not there", linux_x86, NULL, &stock, {NETS(NET(TAP, "tap7"))}, .code = CHR_E_MISSING,
     .error = "tap:tap7: there is no such interface", .hint = "sudo ip tuntap add dev tap7 mode tap user ann"},
    {"tap of another user", linux_x86, foreign_tap, &stock, {NETS(NET(TAP, "tap0"))}, .code = CHR_E_REFUSED,
     .error = "belongs to another user", .hint = "ip tuntap"},
    {"tap that is a card", linux_x86, tap_is_card, &stock, {NETS(NET(TAP, "tap0"))}, .code = CHR_E_REFUSED,
     .error = "is no tap"},
    {"tap on macOS", mac_intel, NULL, &stock, {NETS(NET(TAP, "tap0"))}, .code = CHR_E_REFUSED,
     .error = "on Linux only", .hint = "vmnet-shared"},
    {"bridge: the helper may be started", linux_x86, NULL, &stock, {NETS(NET(USER, ""), NET(BRIDGE, "br0"))},
     .has = {" -netdev bridge,id=net1,br=br0,helper=/usr/lib/qemu/qemu-bridge-helper ",
             "elevateprivileges=allow,spawn=allow"}},
    {"bridge that is not there", linux_x86, NULL, &stock, {NETS(NET(BRIDGE, "br9"))}, .code = CHR_E_MISSING,
     .error = "bridge:br9: there is no such bridge", .hint = "sudo ip link add br9 type bridge"},
    {"bridge that is not allowed", linux_x86, bridge_not_allowed, &stock, {NETS(NET(BRIDGE, "br0"))},
     .code = CHR_E_REFUSED, .error = "bridge.conf", .hint = "allow br0"},
    {"bridge helper without setuid", linux_x86, helper_not_setuid, &stock, {NETS(NET(BRIDGE, "br0"))},
     .code = CHR_E_REFUSED, .error = "not setuid root", .hint = "chmod u+s"},
    {"no bridge helper", linux_x86, no_helper, &stock, {NETS(NET(BRIDGE, "br0"))}, .code = CHR_E_MISSING,
     .error = "qemu-bridge-helper is not installed"},
    {"segment: multicast that stays on the host", linux_x86, NULL, &stock,
     {NETS(NET(USER, ""), NET(SOCKET, "lan"))},
     .has = {" -netdev socket,id=net1,mcast=239.255.", ",localaddr=127.0.0.1 "}, .lacks = {"listen=", "connect="}},
    {"vmnet on Linux", linux_x86, NULL, &stock, {NETS(NET(VMNET_SHARED, ""))}, .code = CHR_E_REFUSED,
     .error = "vmnet is there on macOS only", .hint = "tap:IF"},
    {"vmnet without root", mac_intel, NULL, &stock, {NETS(NET(VMNET_HOST, ""))}, .code = CHR_E_REFUSED,
     .error = "only root"},
    {"vmnet as root", mac_intel, as_root, &stock, {NETS(NET(VMNET_SHARED, ""), NET(VMNET_BRIDGED, "en0"))},
     .has = {" -netdev vmnet-shared,id=net0 ", " -netdev vmnet-bridged,id=net1,ifname=en0 "}},

    /* ports */
    {"a port of the first block is taken", linux_x86, first_block_taken, &stock, {0},
     .has = {"127.0.0.1:9190-:80", "127.0.0.1:9195-:8291"}, .lacks = {":918"}},
    {"--forward replaces the default of that port", linux_x86, NULL, &stock,
     {FORWARDS({.host_port = 8080, .guest_port = 80, .count = 1})},
     .has = {"hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:9180-:443"}, .lacks = {"9180-:80"}},
    {"--forward to a taken port", linux_x86, port_8080_taken, &stock,
     {FORWARDS({.host_port = 8080, .guest_port = 80, .count = 1})}, .code = CHR_E_BUSY,
     .error = "TCP port 8080 of the host is taken already", .hint = "0:80"},
    {"--forward 0: any free port", linux_x86, NULL, &stock,
     {.ready = CHR_READY_NONE, .no_default_forwards = true,
      FORWARDS({.host_port = 0, .guest_port = 8291, .count = 1})},
     .has = {"user,id=net0,hostfwd=tcp:127.0.0.1:9180-:8291 "}},
    {"--forward of a range over UDP", linux_x86, NULL, &stock,
     {.ready = CHR_READY_NONE, .no_default_forwards = true,
      FORWARDS({.udp = true, .host_port = 5000, .guest_port = 6000, .count = 3})},
     .has = {"hostfwd=udp:127.0.0.1:5000-:6000,hostfwd=udp:127.0.0.1:5001-:6001,hostfwd=udp:127.0.0.1:5002-:6002 "}},
    {"UDP port taken, TCP asked", linux_x86, udp_5000_taken, &stock,
     {FORWARDS({.host_port = 5000, .guest_port = 80, .count = 1})}, .has = {"tcp:127.0.0.1:5000-:80"}},
    {"UDP port taken", linux_x86, udp_5000_taken, &stock,
     {FORWARDS({.udp = true, .host_port = 5000, .guest_port = 80, .count = 1})}, .code = CHR_E_BUSY,
     .error = "UDP port 5000"},
    {"the same port twice", linux_x86, NULL, &stock,
     {FORWARDS({.host_port = 8080, .guest_port = 80, .count = 1}, {.host_port = 8080, .guest_port = 443, .count = 1})},
     .code = CHR_E_USAGE, .error = "port 8080 of the host is there twice"},
    {"a range past the last port", linux_x86, NULL, &stock,
     {FORWARDS({.host_port = 65535, .guest_port = 80, .count = 2})}, .code = CHR_E_USAGE, .error = "1 to 65535"},
    {"a port for root", linux_x86, NULL, &stock, {FORWARDS({.host_port = 80, .guest_port = 80, .count = 1})},
     .code = CHR_E_REFUSED, .error = "port 80 of the host is for root", .hint = "8080:80"},
    {"a port for root, as root", linux_x86, as_root, &stock,
     {FORWARDS({.host_port = 80, .guest_port = 80, .count = 1})}, .has = {"tcp:127.0.0.1:80-:80"}},
    {"the block goes around a port that is asked for", linux_x86, NULL, &stock,
     {FORWARDS({.host_port = 9182, .guest_port = 1234, .count = 1})}, .has = {"9182-:1234", "9190-:80"}},
    {"--listen", linux_x86, NULL, &stock, {.listen = "0.0.0.0"}, .has = {"hostfwd=tcp:0.0.0.0:9180-:80"},
     .lacks = {"127.0.0.1"}, .note = "a new router has no password"},
    {"--listen on an address of others", linux_x86, no_such_address, &stock, {.listen = "192.0.2.1"},
     .code = CHR_E_REFUSED, .error = "no interface of this host has that address"},
    {"--forward without user network", linux_x86, NULL, &stock,
     {NETS(NET(TAP, "tap0")), FORWARDS({.host_port = 8080, .guest_port = 80, .count = 1})}, .code = CHR_E_USAGE,
     .error = "add --net user"},
    {"--ready tcp without user network", linux_x86, NULL, &stock,
     {NETS(NET(TAP, "tap0")), .ready = CHR_READY_TCP, .ready_port = 22}, .code = CHR_E_USAGE,
     .error = "--ready tcp needs --net user"},
    {"--ready http without user network", linux_x86, NULL, &stock, {NETS(NET(NONE, "")), .ready_asked = true},
     .code = CHR_E_USAGE, .error = "--ready http needs --net user"},
    {"nothing to wait for", linux_x86, NULL, &stock, {NETS(NET(NONE, ""))}, .note = "so nothing is waited for"},
    {"nothing to wait for, where a command is to find a router", linux_x86, NULL, &stock,
     {NETS(NET(NONE, "")), .for_command = true}, .code = CHR_E_USAGE, .error = "HTTP cannot be waited for"},
    {"the same, and none was asked for", linux_x86, NULL, &stock,
     {NETS(NET(NONE, "")), .for_command = true, .ready = CHR_READY_NONE, .ready_asked = true}, .has = {" -name "}},

    /* vfio */
    {"a card", linux_x86, card, &stock, {CARD}, .has = {" -device vfio-pci,host=0000:01:00.0 "}},
    {"a card that is not there", linux_x86, card_missing, &stock, {CARD}, .code = CHR_E_MISSING,
     .error = "no such PCI device", .hint = "lspci -D"},
    {"a card of the host", linux_x86, card_of_host, &stock, {CARD}, .code = CHR_E_REFUSED,
     .error = "held by ixgbe", .hint = "driver_override"},
    {"no IOMMU", linux_x86, card_without_iommu, &stock, {CARD}, .code = CHR_E_REFUSED,
     .error = "the IOMMU is off", .hint = "intel_iommu=on"},
    {"a group with a card of the host", linux_x86, card_shared, &stock, {CARD}, .code = CHR_E_REFUSED,
     .error = "IOMMU group 14 holds 0000:01:00.1 too", .hint = "/sys/kernel/iommu_groups/14/devices"},
    {"no permission for the group", linux_x86, card_forbidden, &stock, {CARD}, .code = CHR_E_REFUSED,
     .error = "no permission to open /dev/vfio/14", .hint = "chown"},
    {"too little memory may be locked", linux_x86, card_without_memlock, &stock, {CARD}, .code = CHR_E_REFUSED,
     .error = "320 MiB are needed for a guest of 256 MiB", .hint = "limits.conf"},
    {"a card on macOS", mac_intel, card, &stock, {CARD}, .code = CHR_E_REFUSED, .error = "on Linux only"},

    /* the instance */
    {"sockets, pid and the serial log", linux_x86, NULL, &stock, {.name = "r1"},
     .has = {" -name r1 ", "path=/run/user/1000/chrimg/r1/serial.sock,server=on,wait=off,"
             "logfile=/home/ann/.local/state/chrimg/r1/serial.log ", " -serial chardev:serial0 ",
             "id=qmp0,path=/run/user/1000/chrimg/r1/qmp.sock,server=on,wait=off -mon chardev=qmp0,mode=control ",
             " -pidfile /run/user/1000/chrimg/r1/pid ",
             " -object rng-builtin,id=rng0 -device virtio-rng-pci,rng=rng0 "},
     .lacks = {"stdio", "daemonize"}},
    {"a name from an odd file name", linux_x86, NULL, &odd_name, {0}, .has = {" -name my---odd--router "}},
    {"a name with a slash", linux_x86, NULL, &stock, {.name = "a/b"}, .code = CHR_E_USAGE, .error = "--name"},
    {"a name of dots", linux_x86, NULL, &stock, {.name = ".."}, .code = CHR_E_USAGE, .error = "--name"},
    {"a name that is too long", linux_x86, NULL, &stock, {.name = "abcdefghijklmnopqrstuvwxyz0123456"},
     .code = CHR_E_USAGE, .error = "1 to 32"},
    {"a folder too deep for sockets", linux_x86, long_runtime_folder, &stock, {0}, .code = CHR_E_USAGE,
     .error = "longer than the 103 bytes", .hint = "XDG_RUNTIME_DIR"},
    {"agent with KVM only", linux_x86, NULL, &stock, {0},
     .has = {" -device virtio-serial-pci -device virtserialport,chardev=agent0,name=org.qemu.guest_agent.0"}},
    {"-i --print: serial on the terminal", linux_x86, NULL, &stock,
     {.foreground = true, .show = CHR_SHOW_PRINT}, .has = {" -chardev stdio,id=serial0,mux=on,signal=off,logfile="},
     .lacks = {"serial.sock"}},
    {"a unit has its own folders", linux_x86, NULL, &stock, {.show = CHR_SHOW_SYSTEMD, .name = "r1"},
     .has = {"/run/chrimg-r1/chrimg/r1/qmp.sock", "/var/lib/chrimg-r1/chrimg/r1/"}, .lacks = {"/home/ann", "/run/user"}},
};

/* ---- one row ---- */

static char *join(const struct vm_plan *plan)
{
    size_t length = 2;
    char *text;

    for (size_t i = 0; i < plan->argc; i++)
        length += strlen(plan->argv[i]) + 1;
    text = calloc(1, length + 1);
    assert_non_null(text);
    for (size_t i = 0; i < plan->argc; i++) {
        strcat(text, plan->argv[i]);
        strcat(text, " ");
    }
    return text;
}

static bool has_note(const struct vm_plan *plan, const char *wanted)
{
    for (size_t i = 0; i < plan->note_count; i++)
        if (strstr(plan->notes[i], wanted) != NULL)
            return true;
    return false;
}

/* What no plan may show, whatever the row: the traps that others have fallen into. */
static void check_traps(const struct row *row, const struct vm_plan *plan, const char *text)
{
    static const char *const never[] = {"if=virtio", "virtio-blk-device", "virtio-net-device", "-kernel", "-daemonize"};

    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        if (strstr(text, never[i]) != NULL)
            fail_msg("%s: %s in: %s", row->name, never[i], text);
    if (plan->accel == CHR_ACCEL_TCG && strstr(text, "tb-size=256") == NULL)
        fail_msg("%s: TCG without a limit", row->name);
    if (plan->accel != CHR_ACCEL_TCG && row->options.cpu == NULL && strstr(text, " -cpu host") == NULL)
        fail_msg("%s: another CPU than the host's: %s", row->name, text);
    if (plan->accel != CHR_ACCEL_KVM && strstr(text, "guest_agent") != NULL)
        fail_msg("%s: an agent that does not start", row->name);
    if ((plan->agent_socket != NULL) != (plan->accel == CHR_ACCEL_KVM))
        fail_msg("%s: a socket of an agent that is not there, or none of one that is", row->name);
    for (size_t i = 1; i < plan->net_count; i++)
        if (plan->nets[i].kind == CHR_NET_USER)
            fail_msg("%s: the user network is ether%zu", row->name, i + 1);
    /* A pflash unit that is written to is a qcow2, or savevm does not work. */
    for (size_t i = 0; i < plan->argc; i++)
        if (strncmp(plan->argv[i], "if=pflash", 9) == 0 && strstr(plan->argv[i], "readonly=on") == NULL &&
            strstr(plan->argv[i], "snapshot=on") == NULL && strstr(plan->argv[i], "format=qcow2") == NULL)
            fail_msg("%s: raw and writable: %s", row->name, plan->argv[i]);
    /* Both units of aarch64 have 64 MiB. */
    for (size_t i = 0; i < plan->file_count; i++)
        if (strcmp(plan->arch, "aarch64") == 0 && plan->files[i].kind != VM_MAKE_OVERLAY)
            assert_int_equal(plan->files[i].size, 64 * MIB);
    assert_null(plan->argv[plan->argc]);
}

static void check_plan(const struct row *row, const struct vm_plan *plan)
{
    char *text = join(plan);

    for (size_t i = 0; i < MANY && row->has[i] != NULL; i++)
        if (strstr(text, row->has[i]) == NULL)
            fail_msg("%s: no \"%s\" in: %s", row->name, row->has[i], text);
    for (size_t i = 0; i < MANY && row->lacks[i] != NULL; i++)
        if (strstr(text, row->lacks[i]) != NULL)
            fail_msg("%s: \"%s\" in: %s", row->name, row->lacks[i], text);
    if (row->note != NULL && !has_note(plan, row->note))
        fail_msg("%s: no note \"%s\"; the first is: %s", row->name, row->note,
                 plan->note_count > 0 ? plan->notes[0] : "none");
    check_traps(row, plan, text);
    free(text);
}

static void check_refusal(const struct row *row, int result, const struct chr_error *err)
{
    if (result == 0)
        fail_msg("%s: was not refused", row->name);
    if (err->code != row->code || strstr(err->message, row->error) == NULL)
        fail_msg("%s: code %d, \"%s\"; expected code %d, \"%s\"", row->name, (int)err->code, err->message,
                 (int)row->code, row->error);
    if (row->hint != NULL && strstr(err->hint, row->hint) == NULL)
        fail_msg("%s: the hint is \"%s\", not \"%s\"", row->name, err->hint, row->hint);
    /* One sentence without a full stop, that was not cut. */
    if (err->message[strlen(err->message) - 1] == '.' || strlen(err->message) > CHR_MESSAGE_SIZE - 2)
        fail_msg("%s: ends badly: %s", row->name, err->message);
}

static void run_row(const struct row *row)
{
    struct world *world = calloc(1, sizeof *world);
    struct vm_plan *plan = calloc(1, sizeof *plan);
    struct chr_error err = {.code = CHR_OK};
    int result;

    assert_non_null(world);
    assert_non_null(plan);
    row->host(world);
    if (row->tweak != NULL)
        row->tweak(world);
    result = vm_plan_make(&world->host, row->image, &row->options, plan, &err);
    if (row->code != CHR_OK)
        check_refusal(row, result, &err);
    else if (result != 0)
        fail_msg("%s: refused: %s", row->name, err.message);
    else
        check_plan(row, plan);
    vm_plan_release(plan);
    free(plan);
    free(world);
}

static void test_table(void **state)
{
    (void)state;
    assert_true(sizeof rows / sizeof rows[0] >= 80);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        run_row(&rows[i]);
}

/* ---- what a table does not say ---- */

struct made {
    struct world world;
    struct vm_plan plan;
};

static struct made *make(world_fn *host, world_fn *tweak, const struct vm_image *image,
                         const struct chr_boot_options *options)
{
    struct made *made = calloc(1, sizeof *made);
    struct chr_error err;

    assert_non_null(made);
    host(&made->world);
    if (tweak != NULL)
        tweak(&made->world);
    assert_done(vm_plan_make(&made->world.host, image, options, &made->plan, &err), &err);
    return made;
}

static void release(struct made *made)
{
    vm_plan_release(&made->plan);
    free(made);
}

static void test_macs(void **state)
{
    struct chr_boot_options options = {.name = "r1", NETS(NET(USER, ""), NET(SOCKET, "lan"))};
    struct chr_boot_options other = {.name = "r2", NETS(NET(USER, ""), NET(SOCKET, "lan"))};
    struct made *first = make(linux_x86, NULL, &stock, &options);
    struct made *again = make(linux_x86_tcg, NULL, &both, &options);
    struct made *second = make(linux_x86, NULL, &stock, &other);
    struct made *elsewhere = make(linux_x86, other_identity, &stock, &options);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(first->plan.macs[i], again->plan.macs[i]);
        assert_string_not_equal(first->plan.macs[i], second->plan.macs[i]);
        assert_string_not_equal(first->plan.macs[i], elsewhere->plan.macs[i]);
        assert_int_equal(strlen(first->plan.macs[i]), 17);
        assert_int_equal(strncmp(first->plan.macs[i], "02:", 3), 0);
    }
    assert_string_not_equal(first->plan.macs[0], first->plan.macs[1]);
    release(first);
    release(again);
    release(second);
    release(elsewhere);
}

/* Where "mcast=" is, in the arguments. */
static const char *segment_of(const struct made *made)
{
    for (size_t i = 0; i < made->plan.argc; i++)
        if (strstr(made->plan.argv[i], "mcast=") != NULL)
            return strstr(made->plan.argv[i], "mcast=");
    fail_msg("no segment");
    return NULL;
}

static void test_segments(void **state)
{
    struct chr_boot_options a = {.name = "a", NETS(NET(SOCKET, "lan"))};
    struct chr_boot_options b = {.name = "b", NETS(NET(SOCKET, "lan"))};
    struct chr_boot_options c = {.name = "c", NETS(NET(SOCKET, "wan"))};
    struct made *one = make(linux_x86, NULL, &stock, &a);
    struct made *two = make(linux_x86, NULL, &stock, &b);
    struct made *three = make(linux_x86, NULL, &stock, &c);
    struct made *root = make(linux_x86, as_root, &stock, &a);

    (void)state;
    assert_string_equal(segment_of(one), segment_of(two));
    assert_string_not_equal(segment_of(one), segment_of(three));
    assert_string_not_equal(segment_of(one), segment_of(root));
    release(one);
    release(two);
    release(three);
    release(root);
}

static bool has_pair(char *const *argv, const char *option, const char *value)
{
    for (; argv[0] != NULL && argv[1] != NULL; argv++)
        if (strcmp(argv[0], option) == 0 && strcmp(argv[1], value) == 0)
            return true;
    return false;
}

static void test_fallback(void **state)
{
    struct chr_boot_options automatic = {0};
    struct chr_boot_options forced = {.accel = CHR_ACCEL_KVM};
    struct made *kvm = make(linux_x86, NULL, &stock, &automatic);
    struct made *hvf = make(mac_intel, NULL, &stock, &automatic);
    struct made *tcg = make(linux_x86_tcg, NULL, &stock, &automatic);
    struct made *named = make(linux_x86, NULL, &stock, &forced);

    (void)state;
    assert_true(kvm->plan.fallback);
    assert_true(hvf->plan.fallback);
    assert_false(tcg->plan.fallback);
    assert_false(named->plan.fallback);
    /* Arguments for it are there, and differ in what depends on the accelerator alone. */
    assert_null(named->plan.tcg_argv);
    for (size_t i = 0; i < kvm->plan.argc && strcmp(kvm->plan.argv[i], "-accel") != 0; i++)
        assert_string_equal(kvm->plan.argv[i], kvm->plan.tcg_argv[i]);
    assert_true(has_pair(kvm->plan.tcg_argv, "-accel", "tcg,tb-size=256"));
    assert_true(has_pair(kvm->plan.tcg_argv, "-cpu", "max"));
    release(kvm);
    release(hvf);
    release(tcg);
    release(named);
}

static const struct vm_file *file_of(const struct vm_plan *plan, enum vm_make_kind kind, size_t index)
{
    for (size_t i = 0; i < plan->file_count; i++)
        if (plan->files[i].kind == kind && index-- == 0)
            return &plan->files[i];
    fail_msg("no such file");
    return NULL;
}

static void test_files(void **state)
{
    struct chr_boot_options options = {.firmware = CHR_FIRMWARE_UEFI, .name = "r"};
    struct chr_boot_options on_arm = {.name = "r"};
    struct chr_boot_options throwaway = {.firmware = CHR_FIRMWARE_UEFI, .throwaway = true};
    struct made *made = make(linux_x86, NULL, &both, &options);
    struct made *padded = make(linux_x86, only_qemu_efi, &arm_qcow2, &on_arm);
    struct made *none = make(linux_x86, NULL, &both, &throwaway);
    struct made *elsewhere = make(linux_x86, NULL, &uefi_only, &options);
    const struct vm_file *overlay = file_of(&made->plan, VM_MAKE_OVERLAY, 0);
    const struct vm_file *vars = file_of(&made->plan, VM_MAKE_COPY, 0);

    (void)state;
    assert_int_equal(made->plan.file_count, 2);
    assert_string_equal(overlay->source, "/img/both.img");
    assert_int_equal(overlay->size, 128 * MIB);
    assert_string_equal(vars->source, "/usr/share/OVMF/OVMF_VARS_4M.fd");
    assert_int_equal(vars->size, 540672);
    assert_int_equal(padded->plan.file_count, 2);
    assert_int_equal(file_of(&padded->plan, VM_MAKE_CODE, 0)->size, 64 * MIB);
    assert_int_equal(file_of(&padded->plan, VM_MAKE_BLANK, 0)->size, 64 * MIB);
    assert_null(file_of(&padded->plan, VM_MAKE_BLANK, 0)->source);
    assert_int_equal(none->plan.file_count, 0);
    /* Two images under one name never share an overlay. */
    assert_string_not_equal(overlay->target, file_of(&elsewhere->plan, VM_MAKE_OVERLAY, 0)->target);
    release(made);
    release(padded);
    release(none);
    release(elsewhere);
}

static void test_forwards(void **state)
{
    struct chr_boot_options options = {
        FORWARDS({.name = "web", .host_port = 8080, .guest_port = 80, .count = 1})};
    struct made *made = make(linux_x86, NULL, &stock, &options);
    const struct vm_plan *plan = &made->plan;

    (void)state;
    assert_int_equal(plan->forward_count, 6);
    assert_string_equal(plan->forwards[0].name, "web");
    assert_string_equal(plan->forwards[1].name, "https");
    assert_string_equal(plan->forwards[2].name, "ssh");
    assert_string_equal(plan->forwards[0].address, "127.0.0.1");
    release(made);
}

/* The same facts, the same arguments: nothing else goes in. */
static void test_pure(void **state)
{
    struct chr_boot_options options = {NETS(NET(USER, ""), NET(SOCKET, "lan"), NET(TAP, "tap0"))};
    struct made *first = make(linux_x86, NULL, &both, &options);
    struct made *second = make(linux_x86, NULL, &both, &options);

    (void)state;
    assert_int_equal(first->plan.argc, second->plan.argc);
    for (size_t i = 0; i < first->plan.argc; i++)
        assert_string_equal(first->plan.argv[i], second->plan.argv[i]);
    release(first);
    release(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),    cmocka_unit_test(test_macs),
        cmocka_unit_test(test_segments), cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_files),    cmocka_unit_test(test_forwards),
        cmocka_unit_test(test_pure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
