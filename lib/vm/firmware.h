/*
 * UEFI firmware on this host: QEMU's descriptors (docs/interop/firmware.json in
 * QEMU's source), then the paths where distributions are known to put it.
 */
#ifndef CHRIMG_VM_FIRMWARE_H
#define CHRIMG_VM_FIRMWARE_H

#include "vm/plan.h"

#define VM_DESCRIPTOR_SIZE_MAX (64 * 1024) /* real ones have 1 KiB */
#define VM_DESCRIPTORS_MAX 256             /* in all folders together */

struct vm_firmwares {
    struct vm_firmware *items;
    size_t count;
    size_t capacity;
};

/*
 * Add what the descriptor TEXT of LENGTH bytes describes: a candidate for each
 * target architecture that we know, none for what is no UEFI firmware for QEMU's
 * pflash or memory.  Looks at no file; sizes stay 0.  CHR_E_DAMAGED: TEXT is no
 * descriptor; nothing is added then.
 */
int vm_firmware_parse(const char *text, size_t length, const char *source,
                      struct vm_firmwares *list, struct chr_error *err);

/*
 * Read all descriptors of FOLDERS, the one that overrides first, in their order:
 * by file name over all folders, a name hides the same in later folders, an empty
 * file hides it altogether.  Descriptors that are none, and firmware that is not
 * there, are left out.
 */
int vm_firmware_read(const char *const *folders, size_t folder_count, struct vm_firmwares *list,
                     struct chr_error *err);

/* Add what is at known paths below ROOT ("" for the host itself). */
int vm_firmware_known(const char *root, struct vm_firmwares *list, struct chr_error *err);

/*
 * Add what the user names, in front of all others.  VARS NULL: as the candidates
 * of LIST have it for the same code, else none.
 */
int vm_firmware_given(const char *code, const char *vars, const char *arch,
                      struct vm_firmwares *list, struct chr_error *err);

/*
 * What `chrimg boot --uefi` takes for BINARY's architecture without further options; NULL
 * where nothing that HOST has would do.
 */
const struct vm_firmware *vm_firmware_usual(const struct vm_host *host,
                                            const struct vm_binary *binary);

#endif
