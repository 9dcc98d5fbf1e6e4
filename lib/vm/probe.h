/*
 * One attempt to hear something from a guest's port through QEMU's forward, without
 * blocking.
 *
 * QEMU accepts a forwarded connection whether a guest listens or not, so a connection
 * proves nothing; bytes do.  HTTP: a GET of "/" (RFC 1945) whose answer is read to its
 * end, so that the guest's server never sees an aborted request.  Own code, as that is
 * a page of it: libcurl would cost every command 10 ms to load.
 */
#ifndef CHRIMG_VM_PROBE_H
#define CHRIMG_VM_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vm_probe_state {
    VM_PROBE_IDLE,    /* no attempt is under way */
    VM_PROBE_WAITING, /* nothing was heard yet */
    VM_PROBE_HEARING, /* some bytes have come */
    VM_PROBE_GOOD,    /* HTTP: status 200, read to its end; TCP: bytes */
    VM_PROBE_WRONG,   /* HTTP: another answer */
    VM_PROBE_CLOSED,  /* closed without a byte: nobody listens in the guest */
    VM_PROBE_REFUSED, /* QEMU does not listen on the host's port */
};

#define VM_PROBE_HEAD_SIZE 4096

struct vm_probe {
    bool http;
    int fd; /* -1 when idle or over */
    enum vm_probe_state state;
    int64_t started; /* clock.h */
    int64_t heard;   /* when the status line was complete; 0 = not yet */
    bool connected;
    size_t head_length;
    char head[VM_PROBE_HEAD_SIZE + 1]; /* the answer's beginning, for the status line */
    uint64_t received; /* bytes in all */
};

void vm_probe_init(struct vm_probe *probe, bool http);

/* Begin an attempt at ADDRESS (IPv4, "0.0.0.0" means this host) and PORT. */
void vm_probe_start(struct vm_probe *probe, const char *address, uint16_t port);

/* What poll() is to wait for on probe->fd. */
short vm_probe_events(const struct vm_probe *probe);

/* Go on as far as possible without waiting; returns the state. */
enum vm_probe_state vm_probe_advance(struct vm_probe *probe);

/* Give the attempt up. */
void vm_probe_stop(struct vm_probe *probe);

/* "HTTP 503" or "" for the last answer. */
void vm_probe_describe(const struct vm_probe *probe, char *text, size_t size);

#endif
