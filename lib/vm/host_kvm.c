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

/* The mark of this boot of the host, and where it is kept; false where nothing tells boots apart. */
static bool make_mark(const struct vm_host *host, bool runs, char mark[MARK_SIZE],
                      char path[VM_PATH_SIZE + 16])
{
    char boot_id[BOOT_ID_SIZE];

    if (!vm_host_boot_id(boot_id, sizeof boot_id))
        return false;
    (void)snprintf(mark, MARK_SIZE, "%s %s", boot_id, runs ? "runs" : "broken");
    (void)snprintf(path, VM_PATH_SIZE + 16, "%s/kvm", host->cache_folder);
    return true;
}

static bool is_remembered(const struct vm_host *host, bool runs)
{
    char path[VM_PATH_SIZE + 16];
    char mark[MARK_SIZE];
    char line[MARK_SIZE];

    if (!make_mark(host, runs, mark, path))
        return false;
    host_read_line(path, line, sizeof line);
    return strcmp(line, mark) == 0;
}

bool vm_host_kvm_is_broken(const struct vm_host *host)
{
    return is_remembered(host, false);
}

int vm_host_kvm_seen(const struct vm_host *host, bool runs, struct chr_error *err)
{
    char path[VM_PATH_SIZE + 16];
    char mark[MARK_SIZE];

    if (!make_mark(host, runs, mark, path))
        return err_set(err, CHR_E_UNSUPPORTED, "nothing tells one boot of this host from the next");
    if (is_remembered(host, runs))
        return 0;
    if (host_make_folder(host->cache_folder, err) < 0)
        return -1;
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
static void try_out(struct vm_host *host, int fd)
{
    enum kvm_verdict verdict = kvm_try(fd);
    struct chr_error ignored;

    host->kvm_runs = verdict == KVM_RUNS;
    host->kvm_broken = verdict == KVM_DOES_NOT_RUN;
    if (verdict != KVM_UNTRIED)
        (void)vm_host_kvm_seen(host, host->kvm_runs, &ignored);
}

void host_probe_kvm(struct vm_host *host)
{
    AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        explain(host, fd < 0 ? errno : ENOTTY);
        return;
    }
    host->kvm_usable = true;
    host->kvm_runs = is_remembered(host, true);
    host->kvm_broken = is_remembered(host, false);
    if (!host->kvm_runs && !host->kvm_broken)
        try_out(host, fd);
}
#else
void host_probe_kvm(struct vm_host *host)
{
    (void)snprintf(host->kvm_reason, sizeof host->kvm_reason, "KVM is there on Linux only");
}
#endif
