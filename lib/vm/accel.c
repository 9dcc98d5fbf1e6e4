/*
 * Which accelerator, and which CPU the guest sees.
 *
 * KVM and HVF run guests of the host's own architecture only.  The user space of
 * arm64 CHR is 32-bit ARM, which no Apple CPU and not every server's CPU runs:
 * there the guest panics with "No working init found" whatever the CPU model.
 */
#include <string.h>

#include "vm/decide.h"

static const char *os_name(enum vm_os os)
{
    return os == VM_LINUX ? "Linux" : os == VM_MACOS ? "macOS" : "neither Linux nor macOS";
}

static bool same_arch(const struct vm_case *vm, const struct vm_plan *plan)
{
    return strcmp(vm->host->arch, plan->arch) == 0;
}

static int refuse_foreign(const struct vm_case *vm, const struct vm_plan *plan, const char *accel,
                          struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED,
                  "%s runs guests of the host's architecture only: the image is for %s, this host is %s",
                  accel, plan->arch, vm->host->arch);
    return err_hint(err, "leave --accel out, or --accel tcg");
}

static int want_kvm(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    if (vm->host->os != VM_LINUX) {
        (void)err_set(err, CHR_E_REFUSED, "KVM is there on Linux only; this host is %s",
                      os_name(vm->host->os));
        return err_hint(err, vm->host->os == VM_MACOS ? "--accel hvf, or leave --accel out"
                                                      : "leave --accel out");
    }
    if (!same_arch(vm, plan))
        return refuse_foreign(vm, plan, "KVM", err);
    if (!vm->host->kvm_usable) {
        (void)err_set(err, CHR_E_REFUSED, "KVM cannot be used: %s", vm->host->kvm_reason);
        return err_hint(err, "%s", vm->host->kvm_remedy[0] != '\0' ? vm->host->kvm_remedy
                                                                  : "leave --accel out");
    }
    if (vm->host->kvm_broken)
        plan_note(plan, "KVM does not run guests on this host; it is tried again because "
                        "--accel says so");
    plan->accel = CHR_ACCEL_KVM;
    return 0;
}

static int want_hvf(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    if (vm->host->os != VM_MACOS) {
        (void)err_set(err, CHR_E_REFUSED, "HVF is there on macOS only; this host is %s",
                      os_name(vm->host->os));
        return err_hint(err, vm->host->os == VM_LINUX ? "--accel kvm, or leave --accel out"
                                                      : "leave --accel out");
    }
    if (!same_arch(vm, plan))
        return refuse_foreign(vm, plan, "HVF", err);
    if (!vm->host->hvf_usable) {
        (void)err_set(err, CHR_E_REFUSED, "HVF cannot be used: macOS says that the CPU or the "
                                          "virtual machine it runs in has no support for it");
        return err_hint(err, "leave --accel out");
    }
    if (strcmp(plan->arch, "aarch64") == 0)
        plan_note(plan, "arm64 CHR has a 32-bit ARM user space, which no Apple CPU runs; "
                        "expect a kernel panic with HVF");
    plan->accel = CHR_ACCEL_HVF;
    return 0;
}

static void choose_on_linux(const struct vm_case *vm, struct vm_plan *plan)
{
    const struct vm_host *host = vm->host;

    if (host->lacks_arm32 && strcmp(plan->arch, "aarch64") == 0)
        plan_note(plan, "emulated: arm64 CHR has a 32-bit ARM user space, which this CPU does not run");
    else if (!host->kvm_usable)
        plan_note(plan, "emulated, which is slow: %s%s%s", host->kvm_reason,
                  host->kvm_remedy[0] != '\0' ? "; " : "", host->kvm_remedy);
    else if (host->kvm_broken)
        plan_note(plan, "emulated: /dev/kvm opens, but KVM does not run guests on this host "
                        "(--accel kvm tries it again)");
    else {
        plan->accel = CHR_ACCEL_KVM;
        plan->fallback = true;
    }
}

static void choose_on_macos(const struct vm_case *vm, struct vm_plan *plan)
{
    if (strcmp(plan->arch, "aarch64") == 0)
        plan_note(plan, "emulated: arm64 CHR has a 32-bit ARM user space, which no Apple CPU runs");
    else if (!vm->host->hvf_usable)
        plan_note(plan, "emulated, which is slow: macOS offers no HVF here");
    else {
        plan->accel = CHR_ACCEL_HVF;
        plan->fallback = true;
    }
}

int decide_accel(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    switch (vm->options->accel) {
    case CHR_ACCEL_KVM:
        return want_kvm(vm, plan, err);
    case CHR_ACCEL_HVF:
        return want_hvf(vm, plan, err);
    case CHR_ACCEL_TCG:
        plan->accel = CHR_ACCEL_TCG;
        return 0;
    default:
        break;
    }
    plan->accel = CHR_ACCEL_TCG;
    if (!same_arch(vm, plan))
        plan_note(plan, "emulated: the image is for %s, this host is %s", plan->arch,
                  vm->host->arch);
    else if (vm->host->os == VM_LINUX)
        choose_on_linux(vm, plan);
    else if (vm->host->os == VM_MACOS)
        choose_on_macos(vm, plan);
    return 0;
}

const char *decide_cpu(const struct vm_case *vm, const char *arch, enum chr_accel accel)
{
    const struct vm_binary *binary = vm->binary;

    if (vm->options->cpu != NULL)
        return vm->options->cpu;
    if (accel != CHR_ACCEL_TCG)
        return "host";
    if (strcmp(arch, "aarch64") != 0)
        return "max";
    /* QEMU has it from 8.2 on; the a72 runs 32-bit ARM as well. */
    return binary->major > 8 || (binary->major == 8 && binary->minor >= 2) ? "cortex-a710"
                                                                         : "cortex-a72";
}
