/*
 * A process that is not our child: QEMU, which goes on when we are gone.
 *
 * It is known by its number and the time it started, so that a number which the
 * system has given to somebody else is never taken for it.
 */
#ifndef CHRIMG_VM_PROCESS_H
#define CHRIMG_VM_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

struct vm_process {
    pid_t pid;
    uint64_t start_time; /* in units of the system's own; counts since its boot on Linux */
    int fd;              /* a pidfd: readable when it is gone; -1 where there is no such thing */
};

#define VM_NO_PROCESS ((struct vm_process){.fd = -1})

struct vm_start {
    char *const *argv;  /* argv[0] is looked for in PATH if it has no slash */
    const char *log;    /* gets what it prints, appended; mode 0600 */
    const char *folder; /* that it works in */
    /*
     * Called when the process is there and has not become the program yet, to write
     * its number down: when this fails, or we die before it is done, the program never
     * runs.  So there is none that nobody knows of.
     */
    int (*announce)(const struct vm_process *process, void *context, struct chr_error *err);
    void *context;
};

/*
 * Start a program in a session of its own, with no input and none of our descriptors.
 * What it creates is for its owner alone.  CHR_E_MISSING when there is no such
 * program.  Release with vm_process_release().
 */
int vm_process_start(const struct vm_start *start, struct vm_process *process,
                     struct chr_error *err);

/* The running process PID that started at START_TIME; false when there is none. */
bool vm_process_find(pid_t pid, uint64_t start_time, struct vm_process *process);

/* When PID started; false when there is no such process, or it is a zombie. */
bool vm_process_start_time(pid_t pid, uint64_t *start_time);

bool vm_process_is_alive(const struct vm_process *process);

/* Wait until it is gone: true, or false at DEADLINE (clock.h). */
bool vm_process_wait(const struct vm_process *process, int64_t deadline);

/* Send SIGNAL to it and to nobody else; that it is gone already is fine. */
int vm_process_signal(const struct vm_process *process, int number, struct chr_error *err);

void vm_process_release(struct vm_process *process);
#define AUTO_VM_PROCESS CLEANUP(vm_process_release)

/* A word that is another one after each boot of the host; false where there is none. */
bool vm_host_boot_id(char *id, size_t size);

#endif
