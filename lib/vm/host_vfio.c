/* A PCI device as sysfs shows it (Documentation/ABI/testing/sysfs-bus-pci of Linux). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/host_parts.h"

#define PATH_SIZE 512

/* The last part of what a link points to, "" when there is none. */
static void link_name(const char *path, char *out, size_t size)
{
    char target[PATH_SIZE];
    ssize_t length = readlink(path, target, sizeof target - 1);
    const char *slash;

    out[0] = '\0';
    if (length <= 0)
        return;
    target[length] = '\0';
    slash = strrchr(target, '/');
    (void)snprintf(out, size, "%.63s", slash != NULL ? slash + 1 : target);
}

/* "0x8086" as "8086" */
static void read_id(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "re");
    unsigned value;

    out[0] = '\0';
    if (file == NULL)
        return;
    if (fscanf(file, "%8x", &value) == 1)
        (void)snprintf(out, size, "%04x", value);
    (void)fclose(file);
}

static int parse_address(const char *text, char *out, size_t size, struct chr_error *err)
{
    unsigned domain;
    unsigned bus;
    unsigned device;
    unsigned function;
    int end = 0;

    if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 ||
        text[end] != '\0') {
        domain = 0;
        end = 0;
        if (sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3 ||
            text[end] != '\0')
            bus = 256;
    }
    if (bus > 255 || device > 31 || function > 7) {
        (void)err_set(err, CHR_E_USAGE, "--vfio %s: no PCI address", text);
        return err_hint(err, "as lspci shows it: 01:00.0 or 0000:01:00.0");
    }
    (void)snprintf(out, size, "%04x:%02x:%02x.%x", domain & 0xFFFF, bus, device, function);
    return 0;
}

/* PCI bridges stay with the host's driver; everything else has to be the guest's, or nobody's. */
static bool stands_in_the_way(const char *root, const char *address)
{
    char path[PATH_SIZE];
    char driver[64];
    char class[16];

    (void)snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%s/driver", root, address);
    link_name(path, driver, sizeof driver);
    (void)snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%s/class", root, address);
    read_id(path, class, sizeof class);
    return driver[0] != '\0' && strcmp(driver, "vfio-pci") != 0 && strncmp(class, "604", 3) != 0;
}

static void read_group(const char *root, struct vm_vfio *out)
{
    char path[PATH_SIZE];
    DIR *dir;
    const struct dirent *entry;

    (void)snprintf(path, sizeof path, "%s/sys/kernel/iommu_groups/%d/devices", root, out->group);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL && out->other_count < 8)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < sizeof out->others[0] &&
            strcmp(entry->d_name, out->address) != 0 && stands_in_the_way(root, entry->d_name))
            (void)snprintf(out->others[out->other_count++], sizeof out->others[0], "%.15s",
                           entry->d_name);
    if (dir != NULL)
        (void)closedir(dir);
    (void)snprintf(path, sizeof path, "%s/dev/vfio/%d", root, out->group);
    out->group_exists = access(path, F_OK) == 0;
    out->group_usable = access(path, R_OK | W_OK) == 0;
}

int host_probe_vfio(const char *root, const char *address, struct vm_vfio *out,
                    struct chr_error *err)
{
    char folder[PATH_SIZE];
    char path[PATH_SIZE + 32];
    char group[64];

    *out = (struct vm_vfio){.group = -1};
    if (parse_address(address, out->address, sizeof out->address, err) < 0)
        return -1;
    (void)snprintf(folder, sizeof folder, "%s/sys/bus/pci/devices/%s", root, out->address);
    out->exists = access(folder, F_OK) == 0;
    (void)snprintf(path, sizeof path, "%s/driver", folder);
    link_name(path, out->driver, sizeof out->driver);
    (void)snprintf(path, sizeof path, "%s/vendor", folder);
    read_id(path, out->vendor, sizeof out->vendor);
    (void)snprintf(path, sizeof path, "%s/device", folder);
    read_id(path, out->device, sizeof out->device);
    (void)snprintf(path, sizeof path, "%s/iommu_group", folder);
    link_name(path, group, sizeof group);
    if (group[0] == '\0')
        return 0;
    out->group = (int)strtol(group, NULL, 10);
    read_group(root, out);
    return 0;
}

void host_probe_iommu(const char *root, struct vm_host *host)
{
    char path[PATH_SIZE];
    const struct dirent *entry;
    DIR *groups;

    (void)snprintf(path, sizeof path, "%s/dev/vfio/vfio", root);
    host->vfio_loaded = access(path, F_OK) == 0;
    (void)snprintf(path, sizeof path, "%s/sys/kernel/iommu_groups", root);
    groups = opendir(path);
    while (groups != NULL && (entry = readdir(groups)) != NULL)
        host->iommu_groups += entry->d_name[0] != '.';
    if (groups != NULL)
        (void)closedir(groups);
}
