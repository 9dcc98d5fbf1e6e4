/*
 * PCI devices of the host for the guest (vfio; Documentation/driver-api/vfio.rst of
 * Linux): each must be bound to vfio-pci with all of its IOMMU group, the group's
 * device file must be ours to open, and the guest's memory must be allowed to be
 * locked.  What is missing is said with the command that mends it.
 */
#include <inttypes.h>
#include <string.h>

#include "vm/decide.h"

#define MIB (UINT64_C(1) << 20)

static int check_driver(const struct vm_vfio *device, struct chr_error *err)
{
    if (strcmp(device->driver, "vfio-pci") == 0)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "--vfio %s: the device is held by %s, not by vfio-pci",
                  device->address, device->driver[0] != '\0' ? device->driver : "no driver");
    return err_hint(err, "sudo modprobe vfio-pci && echo vfio-pci | sudo tee "
                         "/sys/bus/pci/devices/%s/driver_override && "
                         "(echo %s | sudo tee /sys/bus/pci/devices/%s/driver/unbind); "
                         "echo %s | sudo tee /sys/bus/pci/drivers_probe",
                    device->address, device->address, device->address, device->address);
}

static int check_group(const struct vm_vfio *device, struct chr_error *err)
{
    if (device->group < 0) {
        (void)err_set(err, CHR_E_REFUSED, "--vfio %s: the device is in no IOMMU group: the IOMMU is off",
                      device->address);
        return err_hint(err, "switch VT-d or AMD-Vi on in the host's setup, and boot Linux with "
                             "intel_iommu=on on Intel");
    }
    if (device->other_count > 0) {
        (void)err_set(err, CHR_E_REFUSED,
                      "--vfio %s: IOMMU group %d holds %s too, which a driver of the host uses",
                      device->address, device->group, device->others[0]);
        return err_hint(err, "bind every device of /sys/kernel/iommu_groups/%d/devices to vfio-pci; "
                             "or put the card into another slot", device->group);
    }
    if (!device->group_exists) {
        (void)err_set(err, CHR_E_REFUSED, "--vfio %s: there is no /dev/vfio/%d", device->address,
                      device->group);
        return err_hint(err, "sudo modprobe vfio-pci");
    }
    if (!device->group_usable) {
        (void)err_set(err, CHR_E_REFUSED, "--vfio %s: no permission to open /dev/vfio/%d",
                      device->address, device->group);
        return err_hint(err, "sudo chown \"$USER\" /dev/vfio/%d", device->group);
    }
    return 0;
}

/* Firmware, option ROMs and device memory are locked beside the guest's memory. */
uint64_t vfio_locked_bytes(const struct vm_plan *plan)
{
    return plan->memory + VM_LOCKED_BESIDE;
}

static int check_memlock(const struct vm_case *vm, const struct vm_plan *plan,
                         struct chr_error *err)
{
    uint64_t needed = vfio_locked_bytes(plan);

    /* Root has CAP_IPC_LOCK; a unit brings its own limit. */
    if (vm->host->uid == 0 || vm->options->show == CHR_SHOW_SYSTEMD ||
        vm->host->memlock >= needed)
        return 0;
    (void)err_set(err, CHR_E_REFUSED,
                  "--vfio: the limit on locked memory is %" PRIu64 " KiB; %" PRIu64
                  " MiB are needed for a guest of %" PRIu64 " MiB",
                  vm->host->memlock / 1024, needed / MIB,
                  plan->memory / MIB);
    return err_hint(err, "ulimit -l %" PRIu64 " as root, or in /etc/security/limits.conf: "
                         "%s - memlock %" PRIu64, needed / 1024,
                    vm->host->user[0] != '\0' ? vm->host->user : "USER", needed / 1024);
}

static int check_device(const struct vm_vfio *device, struct chr_error *err)
{
    if (!device->exists) {
        (void)err_set(err, CHR_E_MISSING, "--vfio %s: there is no such PCI device",
                      device->address);
        return err_hint(err, "lspci -D lists them");
    }
    if (check_driver(device, err) < 0)
        return -1;
    return check_group(device, err);
}

int check_vfio(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_host *host = vm->host;

    if (vm->options->vfio_count == 0)
        return 0;
    if (host->os != VM_LINUX)
        return err_set(err, CHR_E_REFUSED, "--vfio is there on Linux only");
    if (host->vfio_count != vm->options->vfio_count)
        return err_set(err, CHR_E_INTERNAL, "--vfio: the host was not asked about each device");
    for (size_t i = 0; i < host->vfio_count; i++) {
        for (size_t j = 0; j < i; j++)
            if (strcmp(host->vfio[i].address, host->vfio[j].address) == 0)
                return err_set(err, CHR_E_USAGE, "--vfio %s is there twice",
                               host->vfio[i].address);
        if (check_device(&host->vfio[i], err) < 0)
            return -1;
    }
    if (plan->accel == CHR_ACCEL_TCG)
        plan_note(plan, "--vfio with emulation: the device works, but slowly");
    return check_memlock(vm, plan, err);
}

void argv_add_vfio(struct argv_list *list, const struct vm_case *vm)
{
    for (size_t i = 0; i < vm->options->vfio_count; i++) {
        argv_option(list, "device", "driver", "vfio-pci");
        argv_property(list, "host", "%s", vm->host->vfio[i].address);
    }
}
