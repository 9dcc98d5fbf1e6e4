/*
 * BIOS or UEFI, the machine, and which of the host's firmware.
 *
 * SeaBIOS comes with QEMU.  Of UEFI firmware that would do, code and variables in
 * two pflash units are best; secure boot refuses RouterOS's loader, which nobody
 * that firmware knows has signed.
 */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/shell.h"
#include "vm/decide.h"
#include "vm/firmware.h"

#define AARCH64_PFLASH_SIZE (64u * 1024 * 1024) /* of each unit of machine virt; hw/arm/virt.c */
#define X86_PFLASH_SIZE (8u * 1024 * 1024)      /* of both units; hw/i386/x86.c, max-fw-size */

/* ---- BIOS or UEFI ---- */

static int refuse_unbootable(const struct vm_case *vm, struct chr_error *err)
{
    const struct vm_image *image = vm->image;

    (void)err_set(err, CHR_E_REFUSED, "%s boots neither with BIOS (%s) nor with UEFI (%s)",
                  vm_image_name(image), image->bios.reason, image->uefi.reason);
    return err_hint(err, "chrimg fatten %s makes a CHR bootable with UEFI; chrimg info says what is there",
                    HINT_WORD(vm_image_name(image)));
}

static int refuse_uefi(const struct vm_case *vm, const char *why, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s does not boot with UEFI%s: %s", vm_image_name(vm->image),
                  why, vm->image->uefi.reason);
    return err_hint(err, "chrimg fatten %s makes an image that does",
                    HINT_WORD(vm_image_name(vm->image)));
}

static int choose_kind_on_aarch64(const struct vm_case *vm, struct vm_plan *plan,
                                  struct chr_error *err)
{
    if (vm->options->firmware == CHR_FIRMWARE_BIOS)
        return err_set(err, CHR_E_USAGE, "--bios: there is no BIOS for aarch64, only UEFI");
    if (!vm->image->uefi.yes)
        return refuse_uefi(vm, ", and aarch64 knows nothing else", err);
    plan->is_uefi = true;
    return 0;
}

/* An x86_64 guest on an arm64 host: SeaBIOS under TCG did not get up in 300 s, OVMF does. */
static int choose_kind_on_arm_host(const struct vm_case *vm, struct vm_plan *plan,
                                   struct chr_error *err)
{
    if (vm->options->firmware == CHR_FIRMWARE_BIOS) {
        (void)err_set(err, CHR_E_REFUSED,
                      "--bios: SeaBIOS does not get an x86_64 CHR up on an arm64 host");
        return err_hint(err, vm->image->uefi.yes ? "leave --bios out, for UEFI"
                                                 : "chrimg fatten makes an image that boots with UEFI");
    }
    if (!vm->image->uefi.yes)
        return refuse_uefi(vm, ", and SeaBIOS does not get an x86_64 CHR up on an arm64 host", err);
    if (vm->options->firmware == CHR_FIRMWARE_AUTO)
        plan_note(plan, "UEFI, as SeaBIOS does not get an x86_64 CHR up on an arm64 host");
    plan->is_uefi = true;
    return 0;
}

int decide_firmware_kind(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_image *image = vm->image;

    if (!image->bios.yes && !image->uefi.yes)
        return refuse_unbootable(vm, err);
    if (strcmp(plan->arch, "aarch64") == 0)
        return choose_kind_on_aarch64(vm, plan, err);
    if (strcmp(vm->host->arch, "aarch64") == 0)
        return choose_kind_on_arm_host(vm, plan, err);
    if (vm->options->firmware == CHR_FIRMWARE_BIOS && !image->bios.yes) {
        (void)err_set(err, CHR_E_REFUSED, "%s does not boot with BIOS: %s",
                      vm_image_name(image), image->bios.reason);
        return err_hint(err, "leave --bios out, for UEFI");
    }
    if (vm->options->firmware == CHR_FIRMWARE_UEFI && !image->uefi.yes)
        return refuse_uefi(vm, "", err);
    /* Firmware that is named is meant to be used. */
    if (vm->options->firmware_code != NULL && vm->options->firmware == CHR_FIRMWARE_BIOS)
        return err_set(err, CHR_E_USAGE, "--bios and --firmware exclude each other");
    if (vm->options->firmware_code != NULL && !image->uefi.yes)
        return refuse_uefi(vm, ", which --firmware asks for", err);
    plan->is_uefi = vm->options->firmware == CHR_FIRMWARE_UEFI || !image->bios.yes ||
                    vm->options->firmware_code != NULL;
    return 0;
}

/* ---- which UEFI ---- */

/* Descriptors name versioned types: "pc-q35-*", "virt-*". */
static bool fits_machine(const struct vm_firmware *firmware, const struct vm_case *vm,
                         const struct vm_plan *plan)
{
    bool is_pc = strcmp(plan->machine, "pc") == 0;
    bool is_q35 = strcmp(plan->machine, "q35") == 0;
    char type[64];

    (void)snprintf(type, sizeof type, "%s-%u.%u",
                   is_pc ? "pc-i440fx" : is_q35 ? "pc-q35" : plan->machine, vm->binary->major,
                   vm->binary->minor);
    for (size_t i = 0; i < firmware->machine_count; i++)
        if (fnmatch(firmware->machines[i], type, 0) == 0 ||
            fnmatch(firmware->machines[i], plan->machine, 0) == 0)
            return true;
    return firmware->machine_count == 0;
}

static bool fits_pflash(const struct vm_firmware *firmware, const char *arch)
{
    if (firmware->mode == VM_FIRMWARE_MEMORY)
        return true;
    if (strcmp(arch, "aarch64") == 0)
        return firmware->code_size <= AARCH64_PFLASH_SIZE &&
               firmware->vars_size <= AARCH64_PFLASH_SIZE;
    return firmware->code_size + firmware->vars_size <= X86_PFLASH_SIZE;
}

static bool would_do(const struct vm_firmware *firmware, const struct vm_case *vm,
                     const struct vm_plan *plan)
{
    return strcmp(firmware->arch, plan->arch) == 0 && !firmware->requires_smm &&
           !firmware->enrolled_keys && fits_machine(firmware, vm, plan) &&
           fits_pflash(firmware, plan->arch);
}

static const struct vm_firmware *best(const struct vm_case *vm, const struct vm_plan *plan)
{
    const struct vm_firmware *second = NULL;

    for (size_t i = 0; i < vm->host->firmware_count; i++) {
        const struct vm_firmware *firmware = &vm->host->firmwares[i];

        if (firmware->given)
            return firmware;
        if (!would_do(firmware, vm, plan))
            continue;
        if (firmware->mode == VM_FIRMWARE_SPLIT && !firmware->secure_boot)
            return firmware;
        if (second == NULL)
            second = firmware;
    }
    return second;
}

const struct vm_firmware *vm_firmware_usual(const struct vm_host *host,
                                            const struct vm_binary *binary)
{
    const struct vm_case vm = {.host = host, .binary = binary};
    struct vm_plan plan = {
        .machine = strcmp(binary->arch, "aarch64") == 0 ? "virt" : "q35",
    };

    (void)strcpy(plan.arch, binary->arch);
    return best(&vm, &plan);
}

static int refuse_without_firmware(const struct vm_case *vm, const struct vm_plan *plan,
                                   struct chr_error *err)
{
    bool is_arm = strcmp(plan->arch, "aarch64") == 0;

    (void)err_set(err, CHR_E_MISSING,
                  "no UEFI firmware for %s is installed that boots unsigned loaders", plan->arch);
    if (vm->host->os == VM_MACOS)
        return err_hint(err, "brew install qemu brings it; or --firmware CODE,VARS");
    return err_hint(err, "apt install %s, dnf install %s, pacman -S %s; or --firmware CODE,VARS",
                    is_arm ? "qemu-efi-aarch64" : "ovmf", is_arm ? "edk2-aarch64" : "edk2-ovmf",
                    is_arm ? "edk2-aarch64" : "edk2-ovmf");
}

/* Files for the pflash units: the code padded where it is small, and variables of our own. */
static int add_firmware_files(const struct vm_case *vm, struct vm_plan *plan,
                              struct chr_error *err)
{
    struct vm_firmware *firmware = &plan->firmware;
    bool is_arm = strcmp(plan->arch, "aarch64") == 0;
    /* x86 maps the variables right below the code: their size is part of the firmware. */
    uint64_t vars_size = is_arm ? AARCH64_PFLASH_SIZE : firmware->vars_size;
    char path[PLAN_PATH_SIZE];
    char ending[40];

    if (firmware->mode == VM_FIRMWARE_MEMORY)
        return 0;
    if (firmware->mode == VM_FIRMWARE_COMBINED) {
        plan_path_of(plan, VM_COMBINED_PREFIX, firmware->code, ".qcow2", path);
        return plan_add_file(plan, VM_MAKE_COPY, path, firmware->code, firmware->code_is_qcow2,
                             is_arm ? AARCH64_PFLASH_SIZE : firmware->code_size, err);
    }
    plan_path_of(plan, VM_CODE_PREFIX, firmware->code, ".qcow2", path);
    if (is_arm && firmware->code_size < AARCH64_PFLASH_SIZE &&
        plan_add_file(plan, VM_MAKE_CODE, path, firmware->code, firmware->code_is_qcow2,
                      AARCH64_PFLASH_SIZE, err) < 0)
        return -1;
    if (firmware->mode == VM_FIRMWARE_STATELESS)
        return 0;
    if (vm->options->throwaway && firmware->vars_size == vars_size)
        return 0; /* the template itself, under QEMU's own temporary overlay */
    /* Of another firmware, or one with another layout, they are another file. */
    (void)snprintf(ending, sizeof ending, "-%" PRIu64 "k.qcow2", vars_size / 1024);
    plan_path_of(plan, VM_VARS_PREFIX, firmware->code, ending, path);
    if (firmware->vars[0] == '\0')
        return plan_add_file(plan, VM_MAKE_BLANK, path, NULL, false, vars_size, err);
    return plan_add_file(plan, VM_MAKE_COPY, path, firmware->vars, firmware->vars_is_qcow2,
                         vars_size, err);
}

int decide_firmware(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_firmware *firmware;

    if (!plan->is_uefi)
        return 0;
    firmware = best(vm, plan);
    if (firmware == NULL)
        return refuse_without_firmware(vm, plan, err);
    if (!fits_pflash(firmware, plan->arch))
        return err_set(err, CHR_E_REFUSED,
                       "firmware %s: code and variables are larger than the pflash of machine %s",
                       firmware->code, plan->machine);
    plan->firmware = *firmware;
    return add_firmware_files(vm, plan, err);
}

/* ---- arguments ---- */

static const struct vm_file *file_called(const struct vm_plan *plan, const char *start)
{
    for (size_t i = 0; i < plan->file_count; i++) {
        const char *name = strrchr(plan->files[i].target, '/') + 1;

        if (strncmp(name, start, strlen(start)) == 0)
            return &plan->files[i];
    }
    return NULL;
}

/* One unit of pflash: FILE where one is made for it, else PATH. */
static void add_pflash(struct argv_list *list, const char *unit, const struct vm_file *file,
                       const char *path, bool is_qcow2)
{
    argv_keyed_option(list, "drive");
    argv_property(list, "if", "pflash");
    argv_property(list, "unit", "%s", unit);
    argv_property(list, "format", "%s", file != NULL || is_qcow2 ? "qcow2" : "raw");
    argv_property(list, "file", "%s", file != NULL ? file->target : path);
}

void argv_add_firmware(struct argv_list *list, const struct vm_plan *plan)
{
    const struct vm_firmware *firmware = &plan->firmware;
    const struct vm_file *vars = file_called(plan, VM_VARS_PREFIX);

    if (!plan->is_uefi)
        return;
    if (firmware->mode == VM_FIRMWARE_MEMORY) {
        argv_raw(list, "bios", firmware->code);
        return;
    }
    if (firmware->mode == VM_FIRMWARE_COMBINED) {
        add_pflash(list, "0", file_called(plan, VM_COMBINED_PREFIX), firmware->code, false);
        if (plan->asked.throwaway)
            argv_property(list, "snapshot", "on");
        return;
    }
    add_pflash(list, "0", file_called(plan, VM_CODE_PREFIX), firmware->code, firmware->code_is_qcow2);
    argv_property(list, "readonly", "on");
    if (firmware->mode == VM_FIRMWARE_STATELESS)
        return;
    add_pflash(list, "1", vars, firmware->vars, firmware->vars_is_qcow2);
    if (vars == NULL || plan->asked.throwaway)
        argv_property(list, "snapshot", "on");
}
