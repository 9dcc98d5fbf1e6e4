/* What QEMU itself says about a machine: one short look over QMP. */
#ifndef CHRIMG_VM_OBSERVE_H
#define CHRIMG_VM_OBSERVE_H

#include <stdbool.h>
#include <stdint.h>

/* How far connections to a forwarded port have come; QEMU, `info usernet`. */
enum vm_reach {
    VM_REACH_UNKNOWN,
    VM_REACH_NONE,     /* no connection, only the forward itself */
    VM_REACH_CALLING,  /* all in SYN_SENT: the guest has not answered */
    VM_REACH_ANSWERED, /* the guest's TCP has answered */
};

struct vm_observation {
    bool seen;          /* QEMU answered at all */
    char status[32];    /* run state: "running", "paused", "internal-error", ... */
    enum vm_reach reach;
};

/* Look, for at most PATIENCE_MS; PORT 0: at the run state only. */
void vm_observe(const char *qmp_socket, uint16_t port, int64_t patience_ms,
                struct vm_observation *observation);

/* Pure: what the text of `info usernet` says about forwarded TCP port PORT of the host. */
enum vm_reach vm_usernet_reach(const char *text, uint16_t port);

#endif
