/*
 * The serial line of a machine on a terminal.
 *
 * The terminal is raw meanwhile and is restored whatever ends it: the user, the
 * machine, an error, or the caller, who turns signals into a descriptor.
 */
#ifndef CHRIMG_VM_CONSOLE_H
#define CHRIMG_VM_CONSOLE_H

#include "vm/process.h"

enum vm_console_end {
    VM_CONSOLE_DETACHED, /* by the user */
    VM_CONSOLE_QUIT,     /* the user wants the machine to end: Ctrl-A X */
    VM_CONSOLE_CLOSED,   /* the machine is gone */
    VM_CONSOLE_INPUT_END,/* input is no terminal and has come to its end */
    VM_CONSOLE_CANCELLED, /* cancel_fd became readable */
    VM_CONSOLE_STUCK,    /* run state internal-error: the accelerator broke down */
};

struct vm_line {
    const char *socket;
    const char *log; /* what the guest has said so far, which comes first; or NULL */
    const char *qmp_socket; /* QEMU is asked there whether the guest runs; or NULL */
    const struct vm_process *process;
    /* Called with NAME when the line is ours, and before the terminal is taken; or NULL. */
    void (*attached)(const char *name, void *context);
    const char *name;
    void *context;
};

enum vm_console_keys {
    VM_KEYS_DETACH, /* Ctrl-] detaches */
    VM_KEYS_QEMU,   /* Ctrl-A X quits, Ctrl-A H helps, Ctrl-A Ctrl-A is Ctrl-A; as with -nographic */
};

/*
 * Join INPUT and OUTPUT with LINE until it ends.  INPUT that is no terminal is passed on
 * as it is.  CHR_E_BUSY when another console is attached.
 */
int vm_console(const struct vm_line *line, enum vm_console_keys keys, int input, int output,
               int cancel_fd, enum vm_console_end *end, struct chr_error *err);

#endif
