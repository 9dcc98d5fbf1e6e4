/* A guest of six instructions, to see whether KVM runs guests at all. */
#ifndef CHRIMG_VM_KVM_TRIAL_H
#define CHRIMG_VM_KVM_TRIAL_H

enum kvm_verdict {
    KVM_UNTRIED, /* not x86_64, or the trial failed by itself: QEMU has to find out */
    KVM_RUNS,
    KVM_DOES_NOT_RUN, /* it stops at an instruction, or is slower than emulation */
};

/*
 * Try KVM: FD is /dev/kvm, open for reading and writing, and stays so.  Takes some
 * milliseconds, and at the most 200 of CPU time.
 */
enum kvm_verdict kvm_try(int fd);

#endif
