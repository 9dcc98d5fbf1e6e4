/*
 * Finding out when a guest's network is up, without its servers hearing of it.
 *
 * A connection through QEMU's forward is a SYN that QEMU repeats after 3, 6, 12 ... seconds,
 * also when we have closed it; when the guest comes up, all that were begun reach its server
 * in the end, as requests that nobody waits for any more.  RouterOS's web server answers
 * wrongly after such, and all of them cost the guest time.  So we knock at a port where nobody
 * listens: the guest's kernel says no (RST) as soon as it has its address.  QEMU adds the
 * forward for that when asked, and it goes when we are done.
 */
#ifndef CHRIMG_VM_KNOCK_H
#define CHRIMG_VM_KNOCK_H

#include "vm/probe.h"

struct vm_knock {
    uint16_t port;   /* of the host; 0 = not there (yet) */
    bool useless;    /* QEMU cannot add the forward */
    bool answered;   /* the guest's TCP is up */
    int64_t started; /* of the machine */
    int64_t next;
    struct vm_probe probe;
};

void vm_knock_init(struct vm_knock *knock);

/* Have the forward added; to be called when QEMU answers, until port is not 0 or useless is set. */
void vm_knock_open(struct vm_knock *knock, const char *qmp_socket);

/* Go on as far as possible without waiting; whether the guest has answered by now. */
bool vm_knock_step(struct vm_knock *knock);

/* Take the forward away again. */
void vm_knock_close(struct vm_knock *knock, const char *qmp_socket);

/* Pure: the host's port of a forward to guest port GUEST_PORT, by `info usernet`; 0 = none. */
uint16_t vm_usernet_forward(const char *text, uint16_t guest_port);

#endif
