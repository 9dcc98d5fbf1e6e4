/* The single decisions that vm_plan_make() is made of; all of them are pure. */
#ifndef CHRIMG_VM_DECIDE_H
#define CHRIMG_VM_DECIDE_H

#include "vm/argv.h"
#include "vm/plan.h"

/* What a decision sees; PLAN holds what was decided before it. */
struct vm_case {
    const struct vm_host *host;
    const struct vm_image *image;
    const struct chr_boot_options *options;
    const struct vm_binary *binary;
};

/* A line for the user. */
void plan_note(struct vm_plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* accel.c: PLAN's accel and fallback. */
int decide_accel(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
/* The model to run ARCH's guests with; OPTIONS may name one. */
const char *decide_cpu(const struct vm_case *vm, const char *arch, enum chr_accel accel);

/* firmware_choice.c: BIOS or UEFI; the machine; then the firmware itself. */
int decide_firmware_kind(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
int decide_firmware(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
void argv_add_firmware(struct argv_list *list, const struct vm_plan *plan);

/* net.c: the networks in the order of the guest's ports, and their MAC addresses. */
int decide_nets(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
void argv_add_nets(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan);

/* ports.c: PLAN's forwards. */
int decide_forwards(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);

/* vfio.c: whether the PCI devices can be had. */
int check_vfio(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
/* How much memory QEMU must be allowed to lock for it. */
uint64_t vfio_locked_bytes(const struct vm_plan *plan);
void argv_add_vfio(struct argv_list *list, const struct vm_case *vm);

/* FNV-1a of the LENGTH bytes at BYTES, going on from HASH (HASH_START at first). */
#define HASH_START UINT64_C(0xCBF29CE484222325)
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length);

/*
 * The path of a file of PLAN's instance that belongs to SOURCE: PREFIX, a hash of SOURCE's
 * path, and ENDING.  So what was made of one file is never taken for another's.
 */
#define PLAN_PATH_SIZE (VM_PATH_SIZE * 2)
void plan_path_of(const struct vm_plan *plan, const char *prefix, const char *source,
                  const char *ending, char path[PLAN_PATH_SIZE]);

/* disk.c: where the guest's writes go, and PLAN's files. */
int decide_disk(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err);
void argv_add_disk(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan);

/* A file to be made, added to PLAN; strings are copied. */
int plan_add_file(struct vm_plan *plan, enum vm_make_kind kind, const char *target,
                  const char *source, bool source_is_qcow2, uint64_t size, struct chr_error *err);

#endif
