/*
 * chr_vm_console(): a terminal joined with a machine's serial line.
 *
 * `boot -i` cannot wait and see whether KVM runs the guest, as the terminal is to show it
 * from its first word on.  So QEMU is asked meanwhile.
 */
#include <string.h>

#include "op/boot.h"
#include "vm/console.h"

static enum chr_console_end public_end(enum vm_console_end how)
{
    return how == VM_CONSOLE_QUIT        ? CHR_CONSOLE_QUIT
           : how == VM_CONSOLE_CLOSED    ? CHR_CONSOLE_CLOSED
           : how == VM_CONSOLE_CANCELLED ? CHR_CONSOLE_CANCELLED
                                         : CHR_CONSOLE_DETACHED;
}

/*
 * The accelerator broke down.  Before the firmware has said a word, nothing is lost by another
 * start; a router that was at work is not started anew behind its user's back.
 */
static int mend_stuck(const struct boot_start *start, const struct chr_vm_watch *watch,
                      struct chr_error *err)
{
    struct boot_result result = {.outcome = VM_STUCK};
    char serial[8];

    vm_read_tail(start->record->serial_log, serial, sizeof serial);
    if (start->record->fallback == NULL || serial[0] != '\0')
        return vm_diagnose(start->record, &result.wait, VM_STUCK, &result.seen, err);
    if (boot_fall_back(start, CHR_READY_NONE, watch, &result, err) < 0)
        return -1;
    return result.outcome == VM_READY ? 0 : boot_give_up(start, &result, err);
}

int chr_vm_console(const char *name, bool foreground, int input, int output,
                   const struct chr_vm_watch *watch, enum chr_console_end *end,
                   struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_instance instance;
    const struct boot_start start = {.instance = &instance, .record = &record, .process = &process};
    enum vm_console_end how = VM_CONSOLE_CLOSED;

    if (boot_find(name, false, &instance, &record, err) < 0)
        return -1;
    *end = CHR_CONSOLE_CLOSED;
    if (!vm_record_process(&record, &process))
        return 0;
    do {
        const struct vm_line line = {
            .socket = record.serial_socket,
            .log = foreground ? record.serial_log : NULL,
            .qmp_socket = foreground && strcmp(record.accel, "tcg") != 0 ? record.qmp_socket : NULL,
            .process = &process,
            .attached = watch->attached,
            .name = record.name,
            .context = watch->context,
        };

        if (vm_console(&line, foreground ? VM_KEYS_QEMU : VM_KEYS_DETACH, input, output,
                       watch->cancel_fd, &how, err) < 0)
            return err_context(err, "%s", record.name);
        if (how == VM_CONSOLE_STUCK && mend_stuck(&start, watch, err) < 0)
            return -1;
    } while (how == VM_CONSOLE_STUCK);
    *end = public_end(how);
    return 0;
}
