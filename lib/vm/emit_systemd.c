/*
 * A plan as a systemd service: systemd.exec(5), systemd.service(5).
 *
 * The unit starts and stops the machine through chrimg, so that it is an instance
 * like any other: KVM that breaks, an overlay that no longer fits and a guest that
 * does not hear its power button are dealt with as ever.  It lives in folders that
 * systemd makes with mode 0700 for the service's user before anything runs, so
 * nobody else ever gets at a socket; and everything runs as that user from its
 * first instruction, without any capability.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/decide.h"
#include "vm/emit_parts.h"

/* ---- words of Exec lines ---- */

/* systemd runs nothing whose path holds one of these, or a control character, however it is escaped. */
#define NOT_IN_PROGRAMS "\"'\\\177"

/* In double quotes with C escapes; '%' and each of DOLLARS are doubled (systemd.service(5), "Command lines"). */
static void add_quoted(struct text *out, const char *word, const char *dollars)
{
    text_add(out, "\"");
    for (const unsigned char *p = (const unsigned char *)word; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            text_add(out, "\\%c", *p);
        else if (*p == '%' || strchr(dollars, *p) != NULL)
            text_add(out, "%c%c", *p, *p);
        else if (*p < ' ' || *p == 127)
            text_add(out, "\\x%02x", *p);
        else
            text_add(out, "%c", *p);
    }
    text_add(out, "\"");
}

static void add_word(struct text *out, const char *word)
{
    add_quoted(out, word, "$");
}

/* The first word of a command: variables are not replaced in it, so its '$' are single. */
static void add_program(struct text *out, const char *path)
{
    add_quoted(out, path, "");
}

/* A path in a list of paths: specifiers are read there as well. */
static void add_path_setting(struct text *out, const char *setting, const char *path)
{
    text_add(out, "%s=", setting);
    for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++) {
        if (*p == ' ' || *p == '"' || *p == '\'' || *p == '\\' || *p < ' ')
            text_add(out, "\\x%02x", *p);
        else if (*p == '%')
            text_add(out, "%%%%");
        else
            text_add(out, "%c", *p);
    }
    text_add(out, "\n");
}

static void add_option(struct text *out, const char *option, const char *value)
{
    text_add(out, " \\\n    %s", option);
    if (value == NULL)
        return;
    text_add(out, " ");
    add_word(out, value);
}

static void add_net_options(struct text *out, const struct vm_plan *plan)
{
    static const char *const kinds[] = {
        [CHR_NET_USER] = "user",
        [CHR_NET_TAP] = "tap:",
        [CHR_NET_BRIDGE] = "bridge:",
        [CHR_NET_SOCKET] = "socket:",
        [CHR_NET_VMNET_SHARED] = "vmnet-shared",
        [CHR_NET_VMNET_HOST] = "vmnet-host",
        [CHR_NET_VMNET_BRIDGED] = "vmnet-bridged:",
    };

    if (plan->net_count == 0)
        add_option(out, "--net none", NULL);
    for (size_t i = 0; i < plan->net_count; i++) {
        AUTO_TEXT struct text net = {0};

        text_add(&net, "%s%s", kinds[plan->nets[i].kind], plan->nets[i].name);
        add_option(out, "--net", net.bytes != NULL ? net.bytes : "");
        out->failed = out->failed || net.failed;
    }
}

/* The ports that were found free, so that they stay the same; many of them as they were asked for. */
static void add_forward_options(struct text *out, const struct vm_plan *plan)
{
    if (plan->forward_count == 0)
        return;
    if (plan->asked.listen != NULL)
        add_option(out, "--listen", plan->asked.listen);
    if (plan->forward_count <= CHR_FORWARDS_MAX) {
        add_option(out, "--forward none", NULL);
        for (size_t i = 0; i < plan->forward_count; i++) {
            const struct vm_forward *forward = &plan->forwards[i];

            text_add(out, " \\\n    --forward %s%s%u:%u%s", forward->name,
                     forward->name[0] != '\0' ? "=" : "", forward->host_port, forward->guest_port,
                     forward->udp ? "/udp" : "");
        }
        return;
    }
    if (plan->asked.no_default_forwards)
        add_option(out, "--forward none", NULL);
    for (size_t i = 0; i < plan->asked.forward_count; i++) {
        const struct chr_forward *forward = &plan->asked.forwards[i];
        unsigned host_last = forward->host_port != 0 ? forward->host_port + forward->count - 1u : 0;

        text_add(out, " \\\n    --forward %s%s%u", forward->name,
                 forward->name[0] != '\0' ? "=" : "", forward->host_port);
        if (host_last > forward->host_port)
            text_add(out, "-%u", host_last);
        text_add(out, ":%u-%u%s", forward->guest_port, forward->guest_port + forward->count - 1u,
                 forward->udp ? "/udp" : "");
    }
}

static void add_machine_options(struct text *out, const struct vm_plan *plan)
{
    static const char *const accels[] = {
        [CHR_ACCEL_KVM] = "kvm", [CHR_ACCEL_HVF] = "hvf", [CHR_ACCEL_TCG] = "tcg"};
    static const char *const buses[] = {"virtio", "scsi", "nvme", "sata", "ide"};
    const struct chr_boot_options *asked = &plan->asked;

    add_option(out, "--qemu", plan->binary);
    if (asked->firmware != CHR_FIRMWARE_AUTO)
        add_option(out, asked->firmware == CHR_FIRMWARE_UEFI ? "--uefi" : "--bios", NULL);
    if (plan->is_uefi && plan->firmware.given) {
        AUTO_TEXT struct text files = {0};

        text_add(&files, "%s%s%s", plan->firmware.code, plan->firmware.vars[0] != '\0' ? "," : "",
                 plan->firmware.vars);
        add_option(out, "--firmware", files.bytes != NULL ? files.bytes : "");
        out->failed = out->failed || files.failed;
    }
    if (asked->accel != CHR_ACCEL_AUTO)
        add_option(out, "--accel", accels[asked->accel]);
    if (asked->cpu != NULL)
        add_option(out, "--cpu", asked->cpu);
    text_add(out, " \\\n    --mem %" PRIu64 "M", plan->memory >> 20);
    if (asked->disk_bus != CHR_DISK_VIRTIO)
        add_option(out, "--disk-bus", buses[asked->disk_bus]);
    if (asked->write)
        add_option(out, "--write", NULL);
    if (asked->throwaway)
        add_option(out, "--throwaway", NULL);
}

static void add_smp_option(struct text *out, const struct chr_smp *smp)
{
    const struct {
        const char *key;
        unsigned value;
    } parts[] = {{"cpus", smp->cpus}, {"sockets", smp->sockets}, {"cores", smp->cores},
                 {"threads", smp->threads}};
    const char *before = " \\\n    --smp ";

    for (size_t i = 0; i < 4; i++)
        if (parts[i].value != 0) {
            text_add(out, "%s%s=%u", before, parts[i].key, parts[i].value);
            before = ",";
        }
}

static void add_start(struct text *out, const struct vm_host *host, const struct vm_plan *plan)
{
    text_add(out, "ExecStart=");
    add_program(out, host->program);
    text_add(out, " boot --name %s --ready none", plan->name);
    add_machine_options(out, plan);
    add_smp_option(out, &plan->asked.smp);
    add_net_options(out, plan);
    add_forward_options(out, plan);
    for (size_t i = 0; i < plan->asked.vfio_count; i++)
        add_option(out, "--vfio", host->vfio[i].address);
    add_option(out, "--", plan->image);
    text_add(out, "\n");
}

/* ---- who it runs as, and what it may touch ---- */

static bool is_below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static bool is_in_tmp(const struct vm_plan *plan)
{
    return is_below(plan->image, "/tmp") || is_below(plan->image, "/var/tmp");
}

/*
 * Whoever asks owns the image; for root it is a user that exists while the service runs,
 * at least.  Such a one would always have a /tmp of its own (systemd.exec(5)).
 */
static void add_user(struct text *out, const struct vm_host *host, const struct vm_plan *plan)
{
    if (host->uid != 0 && host->user[0] != '\0')
        text_add(out, "User=%s\n", host->user);
    else
        text_add(out, "User=chrimg\n%s", is_in_tmp(plan) ? "" : "DynamicUser=yes\n");
}

static void add_devices(struct text *out, const struct vm_host *host, const struct vm_plan *plan)
{
    text_add(out, "DevicePolicy=closed\n");
    if (plan->accel == CHR_ACCEL_KVM)
        text_add(out, "DeviceAllow=/dev/kvm rw\nSupplementaryGroups=kvm\n");
    for (size_t i = 0; i < plan->net_count; i++)
        if (plan->nets[i].kind == CHR_NET_TAP || plan->nets[i].kind == CHR_NET_BRIDGE) {
            text_add(out, "DeviceAllow=/dev/net/tun rw\n");
            break;
        }
    if (is_below(plan->image, "/dev"))
        add_path_setting(out, "DeviceAllow", plan->image);
    if (plan->asked.vfio_count == 0)
        return;
    text_add(out, "DeviceAllow=/dev/vfio/vfio rw\n");
    for (size_t i = 0; i < host->vfio_count; i++)
        text_add(out, "DeviceAllow=/dev/vfio/%d rw\n", host->vfio[i].group);
    text_add(out, "LimitMEMLOCK=%" PRIu64 "\n", vfio_locked_bytes(plan));
}

static bool has_low_port(const struct vm_plan *plan)
{
    for (size_t i = 0; i < plan->forward_count; i++)
        if (plan->forwards[i].host_port < 1024)
            return true;
    return false;
}

/* QEMU's bridge helper is setuid root and needs one capability; nothing else needs any. */
static void add_capabilities(struct text *out, const struct vm_plan *plan)
{
    bool has_bridge = false;

    for (size_t i = 0; i < plan->net_count; i++)
        has_bridge = has_bridge || plan->nets[i].kind == CHR_NET_BRIDGE;
    text_add(out, "NoNewPrivileges=%s\n", has_bridge ? "no" : "yes");
    text_add(out, "CapabilityBoundingSet=%s%s%s\n",
             has_bridge ? "CAP_NET_ADMIN CAP_SETUID CAP_SETGID CAP_SETPCAP" : "",
             has_bridge && has_low_port(plan) ? " " : "",
             has_low_port(plan) ? "CAP_NET_BIND_SERVICE" : "");
    text_add(out, "AmbientCapabilities=%s\n", has_low_port(plan) ? "CAP_NET_BIND_SERVICE" : "");
}

static void add_protection(struct text *out, const struct vm_plan *plan)
{
    bool writes = plan_option(plan, "drive", "file", plan->image) != NULL &&
                  !plan->asked.throwaway;

    text_add(out, "ProtectSystem=strict\nProtectHome=read-only\nPrivateTmp=%s\n",
             is_in_tmp(plan) ? "no" : "yes");
    if (writes)
        add_path_setting(out, "ReadWritePaths", plan->image);
    text_add(out, "ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\n"
                  "ProtectControlGroups=yes\nProtectClock=yes\nProtectHostname=yes\n"
                  "RestrictNamespaces=yes\nRestrictRealtime=yes\nLockPersonality=yes\n"
                  "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
                  "SystemCallArchitectures=native\n");
}

/* ---- the unit ---- */

static void add_head(struct text *out, const struct vm_host *host, const struct vm_plan *plan,
                     const char *unit)
{
    text_add(out, "# /etc/systemd/system/%s.service, made by chrimg %s\n", unit, CHR_VERSION);
    if (host->uid == 0)
        text_add(out, "# The user chrimg must be able to read the image, and to write a qcow2: make the\n"
                      "# user (useradd --system chrimg) and give the image to it.\n");
    text_add(out, "\n[Unit]\nDescription=RouterOS CHR %s\nDocumentation=man:chrimg(1)\n"
                  "Wants=network-online.target\nAfter=network-online.target\n\n", plan->name);
}

/* QEMU outlives the command that starts it, and has a pid file by then. */
static void add_service(struct text *out, const struct vm_host *host, const struct vm_plan *plan)
{
    const char *name = plan->name;

    text_add(out, "[Service]\nType=forking\nPIDFile=%s\n", plan->pid_file);
    text_add(out, "RuntimeDirectory=chrimg-%s\nRuntimeDirectoryMode=0700\n"
                  "StateDirectory=chrimg-%s\nStateDirectoryMode=0700\nUMask=0077\n", name, name);
    text_add(out, "Environment=XDG_RUNTIME_DIR=/run/chrimg-%s XDG_STATE_HOME=/var/lib/chrimg-%s "
                  "XDG_CACHE_HOME=/var/lib/chrimg-%s\n", name, name, name);
    add_start(out, host, plan);
    text_add(out, "ExecStop=");
    add_program(out, host->program);
    text_add(out, " stop %s\n", name);
    text_add(out, "TimeoutStopSec=120\nKillMode=mixed\nRestart=on-failure\nRestartSec=5\n\n");
}

static bool is_unit_name(const char *unit)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ":-_.\\";

    return unit[0] != '\0' && strlen(unit) < 200 && unit[strspn(unit, allowed)] == '\0';
}

static int check_program(const char *path, struct chr_error *err)
{
    if (path[0] != '/')
        return err_set(err, CHR_E_REFUSED, "--systemd: where chrimg itself is, cannot be told here");
    for (const char *p = path; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || strchr(NOT_IN_PROGRAMS, *p) != NULL) {
            (void)err_set(err, CHR_E_REFUSED, "--systemd: systemd runs no program whose path has "
                          "quotes, backslashes or control characters: %s", path);
            return err_hint(err, "install chrimg elsewhere, as in /usr/local/bin");
        }
    return 0;
}

int vm_emit_systemd(const struct vm_host *host, const struct vm_plan *plan, const char *unit,
                    char **text, struct chr_error *err)
{
    AUTO_TEXT struct text out = {0};
    AUTO_FREE char *name = text_new(err, "%s%s", unit != NULL ? unit : "chrimg-",
                                    unit != NULL ? "" : plan->name);

    if (name == NULL)
        return -1;
    if (strlen(name) > 8 && strcmp(name + strlen(name) - 8, ".service") == 0)
        name[strlen(name) - 8] = '\0';
    if (!is_unit_name(name))
        return err_set(err, CHR_E_USAGE, "--systemd: %s is no name for a unit", name);
    if (check_program(host->program, err) < 0)
        return -1;
    add_head(&out, host, plan, name);
    add_service(&out, host, plan);
    add_user(&out, host, plan);
    add_capabilities(&out, plan);
    add_devices(&out, host, plan);
    add_protection(&out, plan);
    text_add(&out, "\n[Install]\nWantedBy=multi-user.target\n");
    return text_take(&out, text, err);
}
