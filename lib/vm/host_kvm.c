/*
 * KVM on this host: whether /dev/kvm opens, whether it runs guests, and what was found
 * out about that, which is remembered until the host is booted again.
 */
#include "vm/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#ifdef __linux__
#include <linux/kvm.h>
#endif

#include "base/cleanup.h"
#include "vm/host_parts.h"
#include "vm/kvm_trial.h"
#include "vm/process.h"

/* ---- what is remembered: "BOOT-ID runs" or "BOOT-ID broken" ---- */

#define BOOT_ID_SIZE 64
#define MARK_SIZE (BOOT_ID_SIZE + 16)

/* This boot of the host, and where its mark is kept; false where nothing tells boots apart. */
static bool find_mark(const struct vm_host *host, char boot_id[BOOT_ID_SIZE],
                      char path[VM_PATH_SIZE + 16])
{
    (void)snprintf(path, VM_PATH_SIZE + 16, "%s/kvm", host->cache_folder);
    return vm_host_boot_id(boot_id, BOOT_ID_SIZE);
}

static enum kvm_verdict recall(const struct vm_host *host)
{
    char path[VM_PATH_SIZE + 16];
    char boot_id[BOOT_ID_SIZE];
    char line[MARK_SIZE];
    size_t length;

    if (!find_mark(host, boot_id, path))
        return KVM_UNTRIED;
    host_read_line(path, line, sizeof line);
    length = strlen(boot_id);
    if (strncmp(line, boot_id, length) != 0)
        return KVM_UNTRIED;
    return strcmp(line + length, " runs") == 0     ? KVM_RUNS
           : strcmp(line + length, " broken") == 0 ? KVM_DOES_NOT_RUN
                                                   : KVM_UNTRIED;
}

bool vm_host_kvm_is_broken(const struct vm_host *host)
{
    return recall(host) == KVM_DOES_NOT_RUN;
}

int vm_host_kvm_seen(const struct vm_host *host, bool runs, struct chr_error *err)
{
    char path[VM_PATH_SIZE + 16];
    char boot_id[BOOT_ID_SIZE];
    char mark[MARK_SIZE];

    if (!find_mark(host, boot_id, path))
        return err_set(err, CHR_E_UNSUPPORTED, "nothing tells one boot of this host from the next");
    if (recall(host) == (runs ? KVM_RUNS : KVM_DOES_NOT_RUN))
        return 0;
    if (host_make_folder(host->cache_folder, err) < 0)
        return -1;
    (void)snprintf(mark, sizeof mark, "%s %s", boot_id, runs ? "runs" : "broken");
    return host_write_file(path, mark, strlen(mark), err);
}

/* ---- looking ---- */

#ifdef __linux__
static void explain(struct vm_host *host, int number)
{
    if (number == ENOENT || number == ENODEV || number == ENXIO) {
        (void)snprintf(host->kvm_reason, sizeof host->kvm_reason, "there is no /dev/kvm");
        (void)snprintf(host->kvm_remedy, sizeof host->kvm_remedy,
                       "sudo modprobe kvm_intel or kvm_amd; virtualization may be off in the host's setup");
    } else if (number == EACCES || number == EPERM) {
        (void)snprintf(host->kvm_reason, sizeof host->kvm_reason, "no permission to open /dev/kvm");
        (void)snprintf(host->kvm_remedy, sizeof host->kvm_remedy,
                       "sudo usermod -aG kvm %s, then log in anew",
                       host->user[0] != '\0' ? host->user : "USER");
    } else {
        (void)snprintf(host->kvm_reason, sizeof host->kvm_reason, "/dev/kvm: %s", strerror(number));
    }
}

/* Once for each boot of the host; where it cannot be remembered, each time anew. */
static enum kvm_verdict try_out(const struct vm_host *host, int fd)
{
    enum kvm_verdict verdict = kvm_try(fd);
    struct chr_error ignored;

    if (verdict != KVM_UNTRIED)
        (void)vm_host_kvm_seen(host, verdict == KVM_RUNS, &ignored);
    return verdict;
}

void host_probe_kvm(struct vm_host *host)
{
    AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    enum kvm_verdict verdict;

    if (fd < 0 || ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        explain(host, fd < 0 ? errno : ENOTTY);
        return;
    }
    host->kvm_usable = true;
    verdict = recall(host);
    if (verdict == KVM_UNTRIED)
        verdict = try_out(host, fd);
    host->kvm_runs = verdict == KVM_RUNS;
    host->kvm_broken = verdict == KVM_DOES_NOT_RUN;
}
#else
void host_probe_kvm(struct vm_host *host)
{
    (void)snprintf(host->kvm_reason, sizeof host->kvm_reason, "KVM is there on Linux only");
}
#endif
