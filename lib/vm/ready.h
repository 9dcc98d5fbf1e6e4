/* Waiting until a machine is ready to use. */
#ifndef CHRIMG_VM_READY_H
#define CHRIMG_VM_READY_H

#include "vm/instance.h"
#include "vm/observe.h"

enum vm_outcome {
    VM_READY,
    VM_DIED,      /* QEMU ended */
    VM_STUCK,     /* run state internal-error: the accelerator broke down */
    VM_IO_ERROR,  /* run state io-error: QEMU cannot write to the disk, and paused the guest */
    VM_TIMEOUT,
    VM_CANCELLED, /* cancel_fd became readable */
};

struct vm_wait {
    enum chr_ready ready;
    const char *address; /* of the host, where the forward listens */
    uint16_t port;       /* of the host; 0 where READY needs none */
    const char *pattern;
    int64_t timeout_ms;
    int64_t probe_ms; /* how long the guest may take for one answer */
    int64_t settle_ms; /* for CHR_READY_NONE: how long it must have run, unless it says something before */
    int cancel_fd;    /* or -1 */
    void (*progress)(int64_t elapsed_ms, int64_t timeout_ms, void *context); /* or NULL */
    void *context;
};

/* What was seen meanwhile, for the diagnosis. */
struct vm_seen {
    unsigned closed;  /* probes that nobody in the guest took */
    unsigned wrong;   /* answers other than 200 */
    char answer[64];  /* the last of them */
    struct vm_observation last;
    bool up;          /* the guest's network has answered a knock (knock.h) */
    bool reached;     /* the guest's TCP answered at least once */
};

/* Seconds that a boot may take under an accelerator when the user does not say. */
unsigned vm_default_timeout(const char *accel);
int64_t vm_probe_patience_ms(const char *accel);

/* Wait for what WAIT says of RECORD's machine PROCESS. -1 only for a pattern that is none. */
int vm_wait_ready(const struct vm_record *record, const struct vm_process *process,
                  const struct vm_wait *wait, enum vm_outcome *outcome, struct vm_seen *seen,
                  struct chr_error *err);

/* The last SIZE - 1 bytes of the file, NULs as blanks; "" when there is none. */
void vm_read_tail(const char *path, char *text, size_t size);

/*
 * Say why the machine did not get ready, as an error: what died with its last words,
 * what the firmware or the kernel complained about, whether the guest has a network.
 */
int vm_diagnose(const struct vm_record *record, const struct vm_wait *wait,
                enum vm_outcome outcome, const struct vm_seen *seen, struct chr_error *err);

#endif
