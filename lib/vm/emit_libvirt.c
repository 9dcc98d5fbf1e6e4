/*
 * A plan as libvirt's domain XML (https://libvirt.org/formatdomain.html).
 *
 * libvirt has no forwards through QEMU's user network and no local address for a
 * multicast segment, so those two are passed through to QEMU; their cards are put
 * on the root bus, which a guest looks at before the ports that libvirt's own
 * cards are on: ether1 stays the user network.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/argv.h"
#include "vm/emit_parts.h"

#define FIRST_SLOT 0x10 /* on the root bus; libvirt fills it from 1 on */

static void add_escaped(struct text *out, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        if (strchr("&<>'\"", *p) != NULL || *p < ' ')
            text_add(out, "&#%u;", *p);
        else
            text_add(out, "%c", *p);
    }
}

/* BEFORE VALUE AFTER, the value escaped. */
static void add_value(struct text *out, const char *before, const char *value, const char *after)
{
    text_add(out, "%s", before);
    add_escaped(out, value);
    text_add(out, "%s", after);
}

/* XML has no way to write most control characters, and libvirt's schema allows no line ends in paths. */
static int check_characters(const struct vm_plan *plan, struct chr_error *err)
{
    for (size_t i = 0; i < plan->argc; i++)
        for (const unsigned char *p = (const unsigned char *)plan->argv[i]; *p != '\0'; p++)
            if (*p < ' ')
                return err_set(err, CHR_E_REFUSED,
                               "--libvirt: libvirt takes no path with the control character 0x%02x", *p);
    return 0;
}

/* libvirt places firmware that fits its pflash unit as it is. */
static int check_firmware(const struct vm_plan *plan, struct chr_error *err)
{
    const struct vm_firmware *firmware = &plan->firmware;

    if (!plan->is_uefi || firmware->mode == VM_FIRMWARE_STATELESS)
        return 0;
    if (firmware->mode == VM_FIRMWARE_SPLIT && firmware->vars[0] != '\0' &&
        (strcmp(plan->arch, "aarch64") != 0 ||
         (firmware->code_size == firmware->vars_size && firmware->code_size == 64 << 20)))
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "--libvirt: the firmware %s is no pair of code and variables "
                                      "that fill their pflash units", firmware->code);
    return err_hint(err, "--firmware CODE,VARS names such a pair");
}

static int check_plan(const struct vm_plan *plan, struct chr_error *err)
{
    if (plan->asked.disk_bus == CHR_DISK_NVME) {
        (void)err_set(err, CHR_E_REFUSED, "--libvirt: libvirt has no NVMe disks that are files");
        return err_hint(err, "--disk-bus virtio, scsi or sata");
    }
    if (plan->accel == CHR_ACCEL_HVF)
        return err_set(err, CHR_E_REFUSED, "--libvirt is for Linux hosts");
    for (size_t i = 0; i < plan->net_count; i++)
        if (plan->nets[i].kind >= CHR_NET_VMNET_SHARED)
            return err_set(err, CHR_E_REFUSED, "--libvirt: libvirt has no vmnet");
    if (check_firmware(plan, err) < 0)
        return -1;
    return check_characters(plan, err);
}

/* ---- machine ---- */

/* What has to be there before `virsh define`, as a comment; "--" must not occur in one. */
static int add_preparation(struct text *out, const struct vm_host *host,
                           const struct vm_plan *plan, struct chr_error *err)
{
    AUTO_TEXT struct text commands = {0};
    AUTO_FREE char *script = NULL;

    for (size_t i = 0; i < plan->file_count; i++) {
        if (plan->files[i].kind != VM_MAKE_OVERLAY)
            continue;
        text_add(&commands, "mkdir -p ");
        text_add_shell_word(&commands, plan->state_folder);
        text_add(&commands, "\n");
        emit_make_file(&commands, host, &plan->files[i]);
    }
    if (commands.length == 0)
        return 0;
    if (text_take(&commands, &script, err) < 0)
        return -1;
    if (strstr(script, "--") != NULL)
        return err_set(err, CHR_E_REFUSED, "--libvirt: a path with \"--\" does not go into a comment "
                                           "of XML; use another --name or folder");
    text_add(out, "<!-- To be made first, for a user that libvirt's QEMU runs as:\n%s\n-->\n", script);
    return 0;
}

/* The variables are libvirt's own copy of the template, as it has them for each domain. */
static void add_pflash(struct text *out, const struct vm_plan *plan)
{
    const struct vm_firmware *firmware = &plan->firmware;

    text_add(out, "    <loader readonly='yes' type='pflash'%s%s>",
             firmware->mode == VM_FIRMWARE_STATELESS ? " stateless='yes'" : "",
             firmware->code_is_qcow2 ? " format='qcow2'" : "");
    add_value(out, "", firmware->code, "</loader>\n");
    if (firmware->mode == VM_FIRMWARE_STATELESS)
        return;
    text_add(out, "    <nvram%s", firmware->vars_is_qcow2 ? " format='qcow2'" : "");
    add_value(out, " template='", firmware->vars, "'/>\n");
}

static unsigned cpu_count(const struct chr_smp *smp)
{
    unsigned product = (smp->sockets != 0 ? smp->sockets : 1) * (smp->cores != 0 ? smp->cores : 1) *
                       (smp->threads != 0 ? smp->threads : 1);

    return smp->cpus != 0 ? smp->cpus : product;
}

static void add_cpu(struct text *out, const struct vm_plan *plan)
{
    const struct chr_smp *smp = &plan->asked.smp;
    const char *model = plan->accel == CHR_ACCEL_TCG ? plan->tcg_cpu : plan->native_cpu;
    unsigned cpus = cpu_count(smp);
    unsigned cores = smp->cores != 0 ? smp->cores : 1;
    unsigned threads = smp->threads != 0 ? smp->threads : 1;

    if (strcmp(model, "host") == 0 || strcmp(model, "max") == 0)
        text_add(out, "  <cpu mode='%s'>\n",
                 strcmp(model, "host") == 0 ? "host-passthrough" : "maximum");
    else {
        text_add(out, "  <cpu mode='custom' match='exact' check='none'>\n");
        add_value(out, "    <model fallback='forbid'>", model, "</model>\n");
    }
    if (smp->sockets != 0 || smp->cores != 0 || smp->threads != 0)
        text_add(out, "    <topology sockets='%u' cores='%u' threads='%u'/>\n",
                 cpus / (cores * threads), cores, threads);
    text_add(out, "  </cpu>\n");
}

static void add_machine(struct text *out, const struct vm_plan *plan)
{
    text_add(out, "<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n",
             plan->accel == CHR_ACCEL_KVM ? "kvm" : "qemu");
    add_value(out, "  <name>", plan->name, "</name>\n");
    text_add(out, "  <memory unit='MiB'>%" PRIu64 "</memory>\n  <vcpu>%u</vcpu>\n",
             plan->memory >> 20, cpu_count(&plan->asked.smp));
    text_add(out, "  <os>\n    <type arch='%s' machine='%s'>hvm</type>\n", plan->arch,
             plan->machine);
    if (plan->is_uefi)
        add_pflash(out, plan);
    text_add(out, "  </os>\n  <features>\n    <acpi/>\n  </features>\n");
    add_cpu(out, plan);
    text_add(out, "  <on_reboot>restart</on_reboot>\n  <on_crash>restart</on_crash>\n");
}

/* ---- devices ---- */

static void add_disk(struct text *out, const struct vm_plan *plan)
{
    static const struct {
        const char *device;
        const char *bus;
    } buses[] = {
        [CHR_DISK_VIRTIO] = {"vda", "virtio"},
        [CHR_DISK_SCSI] = {"sda", "scsi"},
        [CHR_DISK_NVME] = {"", ""},
        [CHR_DISK_SATA] = {"sda", "sata"},
        [CHR_DISK_IDE] = {"hda", "ide"},
    };
    const struct vm_option *drive = plan_option(plan, "drive", "id", "disk0");
    const char *file = option_property(drive, "file");
    bool is_device = strncmp(file, "/dev/", 5) == 0;

    text_add(out, "    <disk type='%s' device='disk'>\n", is_device ? "block" : "file");
    text_add(out, "      <driver name='qemu' type='%s' discard='unmap' detect_zeroes='unmap'/>\n",
             option_property(drive, "format"));
    add_value(out, is_device ? "      <source dev='" : "      <source file='", file, "'/>\n");
    text_add(out, "      <target dev='%s' bus='%s'/>\n", buses[plan->asked.disk_bus].device,
             buses[plan->asked.disk_bus].bus);
    if (plan->asked.throwaway)
        text_add(out, "      <transient/>\n");
    text_add(out, "      <boot order='1'/>\n    </disk>\n");
    if (plan->asked.disk_bus == CHR_DISK_SCSI)
        text_add(out, "    <controller type='scsi' model='virtio-scsi'/>\n");
}

static bool by_libvirt(const struct chr_net *net)
{
    return net->kind == CHR_NET_TAP || net->kind == CHR_NET_BRIDGE;
}

static void add_interfaces(struct text *out, const struct vm_plan *plan)
{
    for (size_t i = 0; i < plan->net_count; i++) {
        const struct chr_net *net = &plan->nets[i];

        if (!by_libvirt(net))
            continue;
        text_add(out, "    <interface type='%s'>\n      <mac address='%s'/>\n",
                 net->kind == CHR_NET_TAP ? "ethernet" : "bridge", plan->macs[i]);
        if (net->kind == CHR_NET_TAP)
            add_value(out, "      <target dev='", net->name, "' managed='no'/>\n");
        else
            add_value(out, "      <source bridge='", net->name, "'/>\n");
        text_add(out, "      <model type='virtio'/>\n      <rom enabled='no'/>\n    </interface>\n");
    }
}

static void add_hostdevs(struct text *out, const struct vm_host *host)
{
    for (size_t i = 0; i < host->vfio_count; i++) {
        unsigned domain;
        unsigned bus;
        unsigned slot;
        unsigned function;

        if (sscanf(host->vfio[i].address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
            continue;
        text_add(out, "    <hostdev mode='subsystem' type='pci' managed='yes'>\n      <source>\n"
                      "        <address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/>\n"
                      "      </source>\n    </hostdev>\n", domain, bus, slot, function);
    }
}

static void add_devices(struct text *out, const struct vm_host *host, const struct vm_plan *plan)
{
    add_value(out, "  <devices>\n    <emulator>", plan->binary, "</emulator>\n");
    add_disk(out, plan);
    add_interfaces(out, plan);
    if (plan->asked.vfio_count > 0)
        add_hostdevs(out, host);
    text_add(out, "    <serial type='pty'>\n      <target port='0'/>\n    </serial>\n"
                  "    <console type='pty'/>\n");
    if (plan->accel == CHR_ACCEL_KVM)
        text_add(out, "    <channel type='unix'>\n"
                      "      <target type='virtio' name='org.qemu.guest_agent.0'/>\n"
                      "    </channel>\n");
    text_add(out, "    <rng model='virtio'>\n      <backend model='builtin'/>\n    </rng>\n"
                  "    <memballoon model='none'/>\n  </devices>\n");
}

/* ---- what is passed through ---- */

static void add_pair(struct text *out, const char *name, const struct vm_option *option)
{
    AUTO_TEXT struct text value = {0};

    argv_add_value(&value, option);
    text_add(out, "    <qemu:arg value='-%s'/>\n", name);
    add_value(out, "    <qemu:arg value='", value.bytes != NULL ? value.bytes : "", "'/>\n");
    out->failed = out->failed || value.failed;
}

static void add_commandline(struct text *out, const struct vm_plan *plan)
{
    const char *root_bus = strcmp(plan->machine, "pc") == 0 ? "pci.0" : "pcie.0";
    bool opened = false;

    for (size_t i = 0; i < plan->net_count; i++) {
        char id[32];

        if (by_libvirt(&plan->nets[i]))
            continue;
        if (!opened)
            text_add(out, "  <qemu:commandline>\n");
        opened = true;
        (void)snprintf(id, sizeof id, "net%zu", i);
        add_pair(out, "netdev", plan_option(plan, "netdev", "id", id));
        text_add(out, "    <qemu:arg value='-device'/>\n"
                      "    <qemu:arg value='virtio-net-pci,netdev=%s,mac=%s,romfile=,bus=%s,addr=0x%zx'/>\n",
                 id, plan->macs[i], root_bus, FIRST_SLOT + i);
    }
    if (opened)
        text_add(out, "  </qemu:commandline>\n");
}

int vm_emit_libvirt(const struct vm_host *host, const struct vm_plan *plan, char **text,
                    struct chr_error *err)
{
    AUTO_TEXT struct text out = {0};

    if (check_plan(plan, err) < 0 || add_preparation(&out, host, plan, err) < 0)
        return -1;
    add_machine(&out, plan);
    add_devices(&out, host, plan);
    add_commandline(&out, plan);
    text_add(&out, "</domain>\n");
    return text_take(&out, text, err);
}
