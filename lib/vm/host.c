/* What this host has: folders, accelerators, and the pieces of host_parts.h put together. */
#include "vm/host.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/personality.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include "base/environment.h"
#include "vm/firmware.h"
#include "vm/host_parts.h"

/* ---- folders (XDG base directory specification 0.8) ---- */

static const char *home_folder(void)
{
    const char *home = getenv("HOME");
    const struct passwd *entry;

    if (home != NULL && home[0] == '/')
        return home;
    entry = getpwuid(getuid());
    return entry != NULL && entry->pw_dir != NULL ? entry->pw_dir : "/";
}

/* A variable with a relative path counts as not set. */
static const char *absolute_variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] == '/' ? value : NULL;
}

static int put_folder(char *out, const char *variable, const char *below_home, const char *name,
                      struct chr_error *err)
{
    const char *value = absolute_variable(variable);
    int length = value != NULL
                     ? snprintf(out, VM_PATH_SIZE, "%s/%s", value, name)
                     : snprintf(out, VM_PATH_SIZE, "%s/%s/%s", home_folder(), below_home, name);

    if (length >= VM_PATH_SIZE)
        return err_set(err, CHR_E_USAGE, "%s: longer than %d bytes", variable, VM_PATH_SIZE - 8);
    return 0;
}

/* Without a session there may be no XDG_RUNTIME_DIR: logind's folder, else one of ours in /tmp. */
static int put_runtime_folder(struct vm_host *host, struct chr_error *err)
{
    const char *value = absolute_variable("XDG_RUNTIME_DIR");
    char session[64];
    struct stat stat_;
    int length;

    (void)snprintf(session, sizeof session, "/run/user/%u", (unsigned)getuid());
    if (value == NULL && stat(session, &stat_) == 0 && stat_.st_uid == getuid())
        value = session;
    length = value != NULL
                 ? snprintf(host->runtime_folder, VM_PATH_SIZE, "%s/chrimg", value)
                 : snprintf(host->runtime_folder, VM_PATH_SIZE, "/tmp/chrimg-%u",
                            (unsigned)getuid());
    if (length >= VM_PATH_SIZE)
        return err_set(err, CHR_E_USAGE, "XDG_RUNTIME_DIR: longer than %d bytes", VM_PATH_SIZE - 8);
    return 0;
}

int vm_host_folders(struct vm_host *host, struct chr_error *err)
{
    if (put_runtime_folder(host, err) < 0 ||
        put_folder(host->state_folder, "XDG_STATE_HOME", ".local/state", "chrimg", err) < 0)
        return -1;
    return put_folder(host->cache_folder, "XDG_CACHE_HOME", ".cache", "chrimg", err);
}

/* ---- who we are ---- */

void host_read_line(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");

    out[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(out, (int)size, file) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    (void)fclose(file);
}

static void name_arch(const char *machine, char *arch)
{
    const char *name = machine;

    if (strcmp(machine, "amd64") == 0)
        name = "x86_64";
    else if (strcmp(machine, "arm64") == 0)
        name = "aarch64";
    (void)snprintf(arch, VM_ARCH_SIZE, "%.15s", name);
}

void vm_host_identity(char *identity, size_t size)
{
    host_read_line("/etc/machine-id", identity, size);
    if (identity[0] != '\0')
        return;
    if (gethostname(identity, size) < 0)
        identity[0] = '\0';
    identity[size - 1] = '\0';
}

static void probe_identity(struct vm_host *host)
{
    const struct passwd *entry = getpwuid(getuid());
    struct utsname name;
    ssize_t length;

    host->uid = getuid();
    if (entry != NULL)
        (void)snprintf(host->user, sizeof host->user, "%s", entry->pw_name);
    if (uname(&name) == 0) {
        name_arch(name.machine, host->arch);
        host->os = strcmp(name.sysname, "Linux") == 0    ? VM_LINUX
                   : strcmp(name.sysname, "Darwin") == 0 ? VM_MACOS
                                                         : VM_OTHER_OS;
    }
    vm_host_identity(host->identity, sizeof host->identity);
    length = readlink("/proc/self/exe", host->program, sizeof host->program - 1);
    if (length <= 0)
        (void)snprintf(host->program, sizeof host->program, "chrimg");
    else
        host->program[length] = '\0';
}

static void probe_limits(struct vm_host *host)
{
    struct rlimit limit;
    char start[16];

    host->memlock = getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ? 0
                    : limit.rlim_cur == RLIM_INFINITY      ? UINT64_MAX
                                                           : (uint64_t)limit.rlim_cur;
    if (host->uid == 0)
        return;
    host_read_line("/proc/sys/net/ipv4/ip_unprivileged_port_start", start, sizeof start);
    host->first_open_port = start[0] != '\0' ? (uint16_t)strtoul(start, NULL, 10) : 1024;
}

/* ---- accelerators ---- */

#ifdef __linux__
/* The kernel offers the personality of 32-bit ARM only where a CPU runs it (arch/arm64/kernel/sys.c). */
static void probe_arm32(struct vm_host *host)
{
    int before;

    if (strcmp(host->arch, "aarch64") != 0)
        return;
    before = personality(0xFFFFFFFF);
    host->lacks_arm32 = personality(PER_LINUX32) < 0;
    (void)personality((unsigned long)before);
}
#endif

static void probe_accelerators(struct vm_host *host)
{
    host_probe_kvm(host);
#ifdef __linux__
    probe_arm32(host);
#endif
#ifdef __APPLE__
    int supported = 0;
    size_t size = sizeof supported;

    host->hvf_usable = sysctlbyname("kern.hv_support", &supported, &size, NULL, 0) == 0 && supported;
#endif
}

/* ---- firmware ---- */

static int probe_firmware(struct vm_host *host, const struct chr_boot_options *options,
                          const char *arch, struct chr_error *err)
{
    struct vm_firmwares list = {0};
    char user[VM_PATH_SIZE];
    const char *const folders[] = {
        user,
        "/etc/qemu/firmware",
        "/usr/share/qemu/firmware",
        "/opt/homebrew/share/qemu/firmware",
        "/usr/local/share/qemu/firmware",
    };
    int result;

    if (put_folder(user, "XDG_CONFIG_HOME", ".config", "qemu/firmware", err) < 0)
        return -1;
    result = vm_firmware_read(folders, sizeof folders / sizeof folders[0], &list, err);
    if (result == 0)
        result = vm_firmware_known("", &list, err);
    if (result == 0 && options->firmware_code != NULL)
        result = vm_firmware_given(options->firmware_code, options->firmware_vars,
                                   arch != NULL ? arch : host->arch, &list, err);
    host->firmwares = list.items;
    host->firmware_count = list.count;
    return result;
}

/* ---- the whole ---- */

static int probe(struct vm_host *host, const struct chr_boot_options *options, const char *arch,
                 struct chr_error *err)
{
    probe_identity(host);
    if (vm_host_folders(host, err) < 0)
        return -1;
    probe_limits(host);
    probe_accelerators(host);
    host_probe_interfaces(host, options);
    host_probe_iommu("", host);
    (void)find_program("qemu-img", host->qemu_img, sizeof host->qemu_img);
    if (host_find_qemu(host, options, arch, err) < 0 ||
        probe_firmware(host, options, arch, err) < 0 || host_probe_ports(host, options, err) < 0)
        return -1;
    for (size_t i = 0; i < options->vfio_count; i++)
        if (host_probe_vfio("", options->vfio[i], &host->vfio[host->vfio_count++], err) < 0)
            return -1;
    return 0;
}

int vm_host_probe(const struct chr_boot_options *options, const char *arch,
                  struct vm_host **out, struct chr_error *err)
{
    struct vm_host *host = mem_new(1, sizeof *host, err);

    if (host == NULL)
        return -1;
    if (probe(host, options, arch, err) < 0) {
        vm_host_free(host);
        return -1;
    }
    *out = host;
    return 0;
}

void vm_host_free(struct vm_host *host)
{
    if (host == NULL)
        return;
    free(host->binaries);
    free(host->firmwares);
    free(host->tcp_busy);
    free(host->udp_busy);
    free(host);
}
