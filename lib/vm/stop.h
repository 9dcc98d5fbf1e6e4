/* Ending a machine: politely, firmly, by force. */
#ifndef CHRIMG_VM_STOP_H
#define CHRIMG_VM_STOP_H

#include "vm/instance.h"

enum vm_stopped {
    VM_STOP_GONE,      /* it was off already */
    VM_STOP_POWERDOWN, /* the guest turned itself off when asked */
    VM_STOP_DEAF,      /* the guest was asked and did not; QEMU ended when told */
    VM_STOP_QUIT,      /* QEMU ended when told, its disks written back */
    VM_STOP_KILLED,    /* by a signal */
};

/*
 * End RECORD's machine PROCESS and see that it is gone: the power button, and after
 * PATIENCE_MS, or where that is 0 at once, QEMU's quit, and then SIGKILL.  *HOW says
 * which it was.
 */
int vm_stop(const struct vm_record *record, const struct vm_process *process, int64_t patience_ms,
            enum vm_stopped *how, struct chr_error *err);

/* Whether what was begun is not wanted any more; asked about ten times a second. */
typedef bool vm_called_off_fn(void);

/*
 * The same, while CALLED_OFF (or NULL) says no: when it says yes before the guest has shut
 * down, CHR_E_CANCELLED, and QEMU is not ended.  The guest may have heard its button.
 */
int vm_stop_unless(const struct vm_record *record, const struct vm_process *process,
                   int64_t patience_ms, vm_called_off_fn *called_off, enum vm_stopped *how,
                   struct chr_error *err);

#endif
