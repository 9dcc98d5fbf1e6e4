/* Processes by number and start time; on Linux by pidfd as well. */
#include "vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#else
#include <sys/syscall.h>
#endif

#include "vm/clock.h"

#define POLL_STEP_MS 20

#ifdef __APPLE__

bool vm_process_start_time(pid_t pid, uint64_t *start_time)
{
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
    struct kinfo_proc info;
    size_t size = sizeof info;

    if (sysctl(name, 4, &info, &size, NULL, 0) < 0 || size < sizeof info ||
        info.kp_proc.p_stat == SZOMB)
        return false;
    *start_time = (uint64_t)info.kp_proc.p_starttime.tv_sec * 1000000 +
                  (uint64_t)info.kp_proc.p_starttime.tv_usec;
    return true;
}

bool vm_host_boot_id(char *id, size_t size)
{
    /* Not kern.boottime, which moves when the clock is set. */
    return sysctlbyname("kern.bootsessionuuid", id, &size, NULL, 0) == 0;
}

static int open_pidfd(pid_t pid)
{
    (void)pid;
    return -1;
}

static int send_signal(const struct vm_process *process, int number)
{
    return kill(process->pid, number);
}

#else

static bool read_small_file(const char *path, char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* proc(5): field 22 is starttime, field 3 the state; field 2 is a name in brackets that
 * may hold brackets and blanks itself, so count from the last one. */
bool vm_process_start_time(pid_t pid, uint64_t *start_time)
{
    char path[64];
    char text[1024];
    char state = 0;

    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (!read_small_file(path, text, sizeof text))
        return false;
    const char *rest = strrchr(text, ')');

    return rest != NULL &&
           sscanf(rest + 1,
                  " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                  "%" SCNu64, &state, start_time) == 2 &&
           state != 'Z' && state != 'X';
}

bool vm_host_boot_id(char *id, size_t size)
{
    if (!read_small_file("/proc/sys/kernel/random/boot_id", id, size))
        return false;
    id[strcspn(id, "\n")] = '\0';
    return true;
}

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int send_signal(const struct vm_process *process, int number)
{
    return process->fd >= 0 ? (int)syscall(SYS_pidfd_send_signal, process->fd, number, NULL, 0)
                            : kill(process->pid, number);
}

#endif

bool vm_process_find(pid_t pid, uint64_t start_time, struct vm_process *process)
{
    uint64_t seen = 0;

    *process = VM_NO_PROCESS;
    if (pid <= 0)
        return false;
    /* The descriptor first: what it is bound to is then what the time is read of. */
    *process = (struct vm_process){.pid = pid, .start_time = start_time, .fd = open_pidfd(pid)};
    if (vm_process_start_time(pid, &seen) && seen == start_time)
        return true;
    vm_process_release(process);
    return false;
}

bool vm_process_is_alive(const struct vm_process *process)
{
    uint64_t seen = 0;

    return process->pid > 0 && vm_process_start_time(process->pid, &seen) &&
           seen == process->start_time;
}

bool vm_process_wait(const struct vm_process *process, int64_t deadline)
{
    while (vm_process_is_alive(process)) {
        struct pollfd poll_fd = {.fd = process->fd, .events = POLLIN};
        int step = process->fd >= 0 ? INT32_MAX : POLL_STEP_MS;

        if (clock_ms() >= deadline)
            return false;
        if (poll(&poll_fd, 1, clock_left(deadline, step)) < 0 && errno != EINTR)
            return false;
    }
    return true;
}

int vm_process_signal(const struct vm_process *process, int number, struct chr_error *err)
{
    if (!vm_process_is_alive(process) || send_signal(process, number) == 0 || errno == ESRCH)
        return 0;
    return err_errno(err, errno, "cannot send signal %d to process %ld", number,
                     (long)process->pid);
}

void vm_process_release(struct vm_process *process)
{
    cleanup_close(&process->fd);
    *process = VM_NO_PROCESS;
}
