/*
 * /dev/kvm can be there, open, and be of no use: under some hypervisors the guest's
 * instructions are emulated one by one, a hundred times slower than QEMU does it, up to
 * one that is not known ("KVM internal error").  QEMU shows that after seconds or minutes;
 * a guest that counts and does one rare instruction shows it at once.
 *
 * Only what cannot be mistaken counts against KVM: an internal error, or no end.
 *
 * Linux, Documentation/virt/kvm/api.rst; Intel SDM volume 3, 10.8.5 (IA-32e mode).
 */
#include "vm/kvm_trial.h"

#if defined(__linux__) && defined(__x86_64__)

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* The guest's memory: its page tables identity-map the first 2 MiB, of which it has 32 KiB. */
#define MEMORY_SIZE 0x8000
#define CODE 0x1000
#define PML4 0x2000
#define PDPT 0x3000
#define PD 0x4000
#define DATA 0x5000
#define STACK 0x7000
/* Where QEMU puts it, too: Intel CPUs before 2010 need three pages that no guest uses. */
#define TSS_ADDRESS 0xfffbd000

#define PORT 0x10
/* 2 million instructions: a millisecond, and with QEMU's emulation some ten. */
#define COUNT 1000000
#define CPU_LIMIT_US 200000
#define TIME_LIMIT_S 10

#define PRESENT_WRITABLE 0x3
#define LARGE_PAGE 0x80
#define CR0_PROTECTED_PAGED 0x80050033 /* PG, AM, WP, NE, ET, MP, PE */
#define CR4_PAE 0x20
#define EFER_LONG 0x500 /* LMA, LME */

/* Every CPU with VMX or SVM has cmpxchg16b; emulators of instructions often lack it. */
static const uint8_t code[] = {
    0xf0, 0x48, 0x0f, 0xc7, 0x0f,         /* lock cmpxchg16b [rdi] */
    0xb9, 0x40, 0x42, 0x0f, 0x00,         /* mov ecx, COUNT */
    0xff, 0xc9, 0x75, 0xfc,               /* dec ecx; jnz -4 */
    0xe6, PORT,                           /* out PORT, al */
};

_Static_assert(COUNT == 0x0f4240, "the operand of mov ecx");

static void put_entry(uint8_t *memory, unsigned off, uint64_t entry)
{
    memcpy(memory + off, &entry, sizeof entry);
}

static int make_memory(int vm)
{
    uint8_t *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                           -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_SIZE};

    if (memory == MAP_FAILED)
        return -1;
    memcpy(memory + CODE, code, sizeof code);
    put_entry(memory, PML4, PDPT | PRESENT_WRITABLE);
    put_entry(memory, PDPT, PD | PRESENT_WRITABLE);
    put_entry(memory, PD, LARGE_PAGE | PRESENT_WRITABLE);
    region.userspace_addr = (uintptr_t)memory;
    return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* 64-bit mode, flat, at privilege level 0. */
static int set_registers(int cpu)
{
    const struct kvm_segment code_segment = {
        .limit = UINT32_MAX, .selector = 0x8, .type = 0xb, .present = 1, .s = 1, .l = 1, .g = 1,
    };
    const struct kvm_segment data_segment = {
        .limit = UINT32_MAX, .selector = 0x10, .type = 0x3, .present = 1, .db = 1, .s = 1, .g = 1,
    };
    const struct kvm_regs registers = {.rip = CODE, .rsp = STACK, .rdi = DATA, .rflags = 0x2};
    struct kvm_sregs special;

    if (ioctl(cpu, KVM_GET_SREGS, &special) < 0)
        return -1;
    special.cs = code_segment;
    special.ds = special.es = special.fs = special.gs = special.ss = data_segment;
    special.cr0 = CR0_PROTECTED_PAGED;
    special.cr3 = PML4;
    special.cr4 = CR4_PAE;
    special.efer = EFER_LONG;
    return ioctl(cpu, KVM_SET_SREGS, &special) < 0 ? -1 : ioctl(cpu, KVM_SET_REGS, &registers);
}

static struct kvm_run *make_cpu(int kvm, int vm, int *cpu)
{
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run;

    *cpu = size > 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
    if (*cpu < 0 || set_registers(*cpu) < 0)
        return NULL;
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, *cpu, 0);
    return run != MAP_FAILED ? run : NULL;
}

/* Nothing is released: the process ends. */
static enum kvm_verdict run_guest(int kvm)
{
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    struct kvm_run *run;
    int cpu;
    int result;

    if (vm < 0)
        return KVM_UNTRIED;
    (void)ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDRESS); /* unknown to other CPUs */
    if (make_memory(vm) < 0)
        return KVM_UNTRIED;
    run = make_cpu(kvm, vm, &cpu);
    if (run == NULL)
        return KVM_UNTRIED;
    do
        result = ioctl(cpu, KVM_RUN, 0);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        return KVM_UNTRIED;
    return run->exit_reason == KVM_EXIT_IO && run->io.port == PORT ? KVM_RUNS
           : run->exit_reason == KVM_EXIT_INTERNAL_ERROR           ? KVM_DOES_NOT_RUN
                                                                   : KVM_UNTRIED;
}

/* The default action of both signals ends the process, and with it the guest. */
static void limit_time(void)
{
    const struct itimerval cpu = {.it_value = {.tv_usec = CPU_LIMIT_US}};
    const struct itimerval all = {.it_value = {.tv_sec = TIME_LIMIT_S}};

    (void)signal(SIGPROF, SIG_DFL);
    (void)signal(SIGALRM, SIG_DFL);
    (void)setitimer(ITIMER_PROF, &cpu, NULL);
    (void)setitimer(ITIMER_REAL, &all, NULL);
}

/* In a process of its own, as nothing but a signal ends a guest that does not. */
enum kvm_verdict kvm_try(int fd)
{
    pid_t pid = fork();
    pid_t ended;
    int status;

    if (pid == 0) {
        limit_time();
        _exit((int)run_guest(fd));
    }
    if (pid < 0)
        return KVM_UNTRIED;
    do
        ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended != pid)
        return KVM_UNTRIED;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM ? KVM_DOES_NOT_RUN
                                                                          : KVM_UNTRIED;
    return (enum kvm_verdict)WEXITSTATUS(status);
}

#else

enum kvm_verdict kvm_try(int fd)
{
    (void)fd;
    return KVM_UNTRIED;
}

#endif
