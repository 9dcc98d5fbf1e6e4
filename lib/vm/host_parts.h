/* The pieces of vm_host_probe(), which look at this host. */
#ifndef CHRIMG_VM_HOST_PARTS_H
#define CHRIMG_VM_HOST_PARTS_H

#include "vm/plan.h"

/* host.c: the first line of a small file, "" when there is none. */
void host_read_line(const char *path, char *out, size_t size);

/* host_kvm.c: whether /dev/kvm opens, and what was seen of it since the host was booted. */
void host_probe_kvm(struct vm_host *host);

/* host_qemu.c: the programs; their versions are remembered in the cache folder. */
int host_find_qemu(struct vm_host *host, const struct chr_boot_options *options, const char *arch,
                   struct chr_error *err);

/* Make the folder and those above it, for us alone. */
int host_make_folder(const char *path, struct chr_error *err);

/* Replace the small file at PATH as a whole. */
int host_write_file(const char *path, const char *bytes, size_t length, struct chr_error *err);

/* "QEMU emulator version 7.2.22 (Debian ...)" */
bool host_parse_version(const char *text, unsigned *major, unsigned *minor);

/* host_net.c: ports that are taken, of those that the plan may choose; taps and bridges. */
int host_probe_ports(struct vm_host *host, const struct chr_boot_options *options,
                     struct chr_error *err);
void host_probe_interfaces(struct vm_host *host, const struct chr_boot_options *options);

/* Whether the text of a bridge.conf lets BRIDGE be used, as QEMU's helper reads it. */
bool host_acl_allows(const char *acl, const char *bridge);

/*
 * host_vfio.c: one PCI device, with sysfs and devices below ROOT ("" for the host).
 * CHR_E_USAGE when ADDRESS is none.
 */
int host_probe_vfio(const char *root, const char *address, struct vm_vfio *out,
                    struct chr_error *err);

/* Whether there is an IOMMU in use, and VFIO; below ROOT as well. */
void host_probe_iommu(const char *root, struct vm_host *host);

#endif
