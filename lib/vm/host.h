/* What this host has for virtual machines: the facts that vm_plan_make() decides by. */
#ifndef CHRIMG_VM_HOST_H
#define CHRIMG_VM_HOST_H

#include "vm/plan.h"

/*
 * Look around: QEMU for the guest architecture ARCH, firmware, accelerators, and
 * what OPTIONS name (ports, interfaces, PCI devices).  ARCH NULL: all that is
 * there, for `chrimg doctor`.  What is missing is a fact, no error; an error is
 * want of memory, or a --firmware that cannot be read.
 * Free with vm_host_free().
 */
int vm_host_probe(const struct chr_boot_options *options, const char *arch,
                  struct vm_host **out, struct chr_error *err);
void vm_host_free(struct vm_host *host);

/* The three folders alone, for commands that only look instances up. */
int vm_host_folders(struct vm_host *host, struct chr_error *err);

/*
 * Remember until the host's next boot whether KVM RUNS guests; the next probe says
 * kvm_runs or kvm_broken.  Nothing is written where that is known.  Failure to
 * remember is an error that callers may well ignore.
 */
int vm_host_kvm_seen(const struct vm_host *host, bool runs, struct chr_error *err);

/* Whether that was remembered, and KVM does not; HOST's folders are enough. */
bool vm_host_kvm_is_broken(const struct vm_host *host);

/* What tells this host from others: its machine id, or its name; "" where it has neither. */
void vm_host_identity(char *identity, size_t size);

#endif
