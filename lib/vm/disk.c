/*
 * The guest's disk: which controller, and where its writes go.
 *
 * Always if=none with a device of its own: if=virtio is virtio-mmio on aarch64,
 * for which RouterOS has no driver; its kernel then stalls without a word.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vm/decide.h"

static int check_options(const struct vm_case *vm, const struct vm_plan *plan,
                         struct chr_error *err)
{
    const struct chr_boot_options *options = vm->options;

    if (options->write && options->throwaway)
        return err_set(err, CHR_E_USAGE, "--write and --throwaway exclude each other");
    if (options->disk_bus == CHR_DISK_IDE && strcmp(plan->arch, "aarch64") == 0) {
        (void)err_set(err, CHR_E_REFUSED, "--disk-bus ide: the aarch64 machine has no IDE");
        return err_hint(err, "virtio, scsi, nvme or sata");
    }
    return 0;
}

static int refuse_read_only(const struct vm_case *vm, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s cannot be written to, and the router writes to its disk",
                  vm_image_name(vm->image));
    return err_hint(err, "--throwaway boots it and keeps nothing%s",
                    vm->image->format == CHR_FORMAT_RAW
                        ? ""
                        : "; or work on a copy (chrimg convert)");
}

void plan_path_of(const struct vm_plan *plan, const char *prefix, const char *source,
                  const char *ending, char path[PLAN_PATH_SIZE])
{
    uint64_t hash = hash_bytes(HASH_START, source, strlen(source));

    (void)snprintf(path, PLAN_PATH_SIZE, "%s/%s%08" PRIx64 "%s", plan->state_folder, prefix,
                   hash & 0xFFFFFFFF, ending);
}

/* The image's own overlay: two images that would share an instance's name must not share it. */
static int add_overlay(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    char path[PLAN_PATH_SIZE];

    plan_path_of(plan, VM_DISK_PREFIX, vm->image->path, ".qcow2", path);
    plan_note(plan, "the raw image is kept as it is; changes go to %s", path);
    return plan_add_file(plan, VM_MAKE_OVERLAY, path, vm->image->path, false, vm->image->size, err);
}

int decide_disk(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_image *image = vm->image;
    bool is_raw = image->format == CHR_FORMAT_RAW;

    if (check_options(vm, plan, err) < 0)
        return -1;
    if (vm->options->throwaway) {
        if (!vm->options->for_command)
            plan_note(plan, "nothing is kept: what the router writes goes with it");
        return 0;
    }
    if (is_raw && !vm->options->write)
        return add_overlay(vm, plan, err);
    if (image->read_only)
        return refuse_read_only(vm, err);
    if (is_raw)
        plan_note(plan, "--write: the router writes to the raw image itself");
    return 0;
}

static void add_drive(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan)
{
    const struct vm_file *overlay = NULL;
    bool is_qcow2 = vm->image->format == CHR_FORMAT_QCOW2;

    for (size_t i = 0; i < plan->file_count; i++)
        if (plan->files[i].kind == VM_MAKE_OVERLAY)
            overlay = &plan->files[i];
    argv_keyed_option(list, "drive");
    argv_property(list, "if", "none");
    argv_property(list, "id", "disk0");
    argv_property(list, "format", "%s", overlay != NULL || is_qcow2 ? "qcow2" : "raw");
    argv_property(list, "file", "%s", overlay != NULL ? overlay->target : vm->image->path);
    /* What the router frees and zeroes is given back to the host. */
    argv_property(list, "discard", "unmap");
    argv_property(list, "detect-zeroes", "unmap");
    /* QEMU's temporary file has no name from the start, so it cannot be left behind. */
    if (vm->options->throwaway)
        argv_property(list, "snapshot", "on");
}

static void add_controller(struct argv_list *list, const struct vm_case *vm,
                           const struct vm_plan *plan)
{
    bool is_arm = strcmp(plan->arch, "aarch64") == 0;

    switch (vm->options->disk_bus) {
    case CHR_DISK_SCSI:
        argv_option(list, "device", "driver", "virtio-scsi-pci");
        argv_property(list, "id", "scsi0");
        argv_option(list, "device", "driver", "scsi-hd");
        argv_property(list, "bus", "scsi0.0");
        break;
    case CHR_DISK_NVME:
        argv_option(list, "device", "driver", "nvme");
        argv_property(list, "serial", "chr0");
        break;
    case CHR_DISK_SATA:
        /* q35 has one of its own, whose bus is called ide.0. */
        if (is_arm) {
            argv_option(list, "device", "driver", "ich9-ahci");
            argv_property(list, "id", "ahci0");
        }
        argv_option(list, "device", "driver", "ide-hd");
        argv_property(list, "bus", is_arm ? "ahci0.0" : "ide.0");
        break;
    case CHR_DISK_IDE:
        argv_option(list, "device", "driver", "ide-hd");
        argv_property(list, "bus", "ide.0");
        break;
    default:
        argv_option(list, "device", "driver", "virtio-blk-pci");
        break;
    }
}

void argv_add_disk(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan)
{
    add_drive(list, vm, plan);
    add_controller(list, vm, plan);
    argv_property(list, "drive", "disk0");
    argv_property(list, "bootindex", "0");
}
