/*
 * Networks, the first being ether1.
 *
 * The user network always is ether1: RouterOS runs a DHCP client there only, and
 * without 10.0.2.15 the forwarded ports lead nowhere.
 *
 * A named segment is an IPv4 multicast group on the loopback interface, made from
 * the name: there is no listener to be first, any number of instances may come
 * and go, and nothing leaves the host.  The user id is part of it, so that users
 * who choose the same name do not meet; it is no protection against one who
 * wants to listen.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/shell.h"
#include "vm/decide.h"

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001B3);
    return hash;
}

/* ---- what each kind needs ---- */

static const struct vm_interface *find_interface(const struct vm_host *host, const char *name)
{
    for (size_t i = 0; i < host->interface_count; i++)
        if (strcmp(host->interfaces[i].name, name) == 0)
            return &host->interfaces[i];
    return NULL;
}

static int need_linux(const struct vm_case *vm, const char *kind, struct chr_error *err)
{
    if (vm->host->os == VM_LINUX)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "--net %s is there on Linux only", kind);
    return err_hint(err, vm->host->os == VM_MACOS
                             ? "--net vmnet-shared, vmnet-host or vmnet-bridged:IF"
                             : "--net user");
}

static int check_tap(const struct vm_case *vm, const char *name, struct chr_error *err)
{
    const struct vm_interface *tap = find_interface(vm->host, name);

    if (need_linux(vm, "tap", err) < 0)
        return -1;
    if (tap == NULL || !tap->exists) {
        (void)err_set(err, CHR_E_MISSING, "--net tap:%s: there is no such interface", name);
        return err_hint(err, "sudo ip tuntap add dev %s mode tap user %s && sudo ip link set %s up",
                        name, vm->host->user[0] != '\0' ? vm->host->user : "\"$USER\"", name);
    }
    if (!tap->is_tap)
        return err_set(err, CHR_E_REFUSED, "--net tap:%s: that interface is no tap", name);
    if (!tap->usable) {
        (void)err_set(err, CHR_E_REFUSED, "--net tap:%s: the tap belongs to another user", name);
        return err_hint(err, "sudo ip tuntap del dev %s mode tap && "
                             "sudo ip tuntap add dev %s mode tap user %s",
                        name, name, vm->host->user[0] != '\0' ? vm->host->user : "\"$USER\"");
    }
    return 0;
}

static int check_bridge(const struct vm_case *vm, const char *name, struct chr_error *err)
{
    const struct vm_interface *bridge = find_interface(vm->host, name);

    if (need_linux(vm, "bridge", err) < 0)
        return -1;
    if (bridge == NULL || !bridge->exists || !bridge->is_bridge) {
        (void)err_set(err, CHR_E_MISSING, "--net bridge:%s: there is no such bridge", name);
        return err_hint(err, "sudo ip link add %s type bridge && sudo ip link set %s up", name,
                        name);
    }
    if (vm->host->bridge_helper[0] == '\0')
        return err_set(err, CHR_E_MISSING,
                       "--net bridge:%s: QEMU's qemu-bridge-helper is not installed", name);
    if (!vm->host->bridge_helper_setuid && vm->host->uid != 0) {
        (void)err_set(err, CHR_E_REFUSED, "--net bridge:%s: %s is not setuid root, so it may not "
                                          "add to a bridge", name, vm->host->bridge_helper);
        return err_hint(err, "sudo chmod u+s %s; or --net tap:IF",
                        HINT_WORD(vm->host->bridge_helper));
    }
    if (!bridge->usable) {
        (void)err_set(err, CHR_E_REFUSED,
                      "--net bridge:%s: /etc/qemu/bridge.conf does not allow this bridge", name);
        return err_hint(err, "echo 'allow %s' | sudo tee -a /etc/qemu/bridge.conf", name);
    }
    return 0;
}

static int check_vmnet(const struct vm_case *vm, struct chr_error *err)
{
    const struct vm_binary *binary = vm->binary;

    if (vm->host->os != VM_MACOS) {
        (void)err_set(err, CHR_E_REFUSED, "--net vmnet-...: vmnet is there on macOS only");
        return err_hint(err, "--net tap:IF or bridge:BR");
    }
    if (binary->major < 7 || (binary->major == 7 && binary->minor < 1))
        return err_set(err, CHR_E_REFUSED, "--net vmnet-...: QEMU has vmnet from 7.1 on; %s is %u.%u",
                       binary->path, binary->major, binary->minor);
    if (vm->host->uid != 0) {
        (void)err_set(err, CHR_E_REFUSED, "--net vmnet-...: macOS lets only root use vmnet");
        return err_hint(err, "sudo chrimg boot ...; or --net user, or --net socket:NAME");
    }
    return 0;
}

static int check_net(const struct vm_case *vm, const struct chr_net *net, struct chr_error *err)
{
    switch (net->kind) {
    case CHR_NET_TAP:
        return check_tap(vm, net->name, err);
    case CHR_NET_BRIDGE:
        return check_bridge(vm, net->name, err);
    case CHR_NET_VMNET_SHARED:
    case CHR_NET_VMNET_HOST:
    case CHR_NET_VMNET_BRIDGED:
        return check_vmnet(vm, err);
    default:
        return 0;
    }
}

/* ---- order ---- */

/* A stable address of our own making: locally administered, unicast. */
static void make_mac(const struct vm_case *vm, const struct vm_plan *plan, unsigned index,
                     char *mac)
{
    uint8_t number = (uint8_t)index;
    uint64_t hash = hash_bytes(HASH_START, vm->host->identity, strlen(vm->host->identity) + 1);

    hash = hash_bytes(hash, plan->name, strlen(plan->name) + 1);
    hash = hash_bytes(hash, &number, 1);
    hash ^= hash >> 40;
    (void)snprintf(mac, sizeof plan->macs[0], "02:%02x:%02x:%02x:%02x:%02x",
                   (unsigned)(hash >> 32 & 0xFF), (unsigned)(hash >> 24 & 0xFF),
                   (unsigned)(hash >> 16 & 0xFF), (unsigned)(hash >> 8 & 0xFF),
                   (unsigned)(hash & 0xFF));
}

static int check_combination(const struct chr_boot_options *options, struct chr_error *err)
{
    size_t users = 0;

    for (size_t i = 0; i < options->net_count; i++) {
        if (options->nets[i].kind == CHR_NET_NONE && options->net_count > 1)
            return err_set(err, CHR_E_USAGE, "--net none goes with no other --net");
        users += options->nets[i].kind == CHR_NET_USER;
        for (size_t j = 0; j < i; j++)
            if (options->nets[j].kind == CHR_NET_TAP && options->nets[i].kind == CHR_NET_TAP &&
                strcmp(options->nets[i].name, options->nets[j].name) == 0)
                return err_set(err, CHR_E_USAGE, "--net tap:%s is there twice",
                               options->nets[i].name);
    }
    if (users > 1)
        return err_set(err, CHR_E_USAGE, "--net user once: both would be 10.0.2.15");
    return 0;
}

static void place_nets(const struct chr_boot_options *options, struct vm_plan *plan)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < options->net_count; i++)
            if ((options->nets[i].kind == CHR_NET_USER) == (pass == 0) &&
                options->nets[i].kind != CHR_NET_NONE)
                plan->nets[plan->net_count++] = options->nets[i];
    if (plan->net_count > 0 && plan->nets[0].kind == CHR_NET_USER &&
        options->nets[0].kind != CHR_NET_USER)
        plan_note(plan, "the user network is ether1, the others follow: "
                        "RouterOS asks for an address on ether1 only");
}

int decide_nets(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    if (check_combination(vm->options, err) < 0)
        return -1;
    if (vm->options->net_count == 0)
        plan->nets[plan->net_count++] = (struct chr_net){.kind = CHR_NET_USER};
    else
        place_nets(vm->options, plan);
    for (size_t i = 0; i < plan->net_count; i++) {
        if (check_net(vm, &plan->nets[i], err) < 0)
            return -1;
        make_mac(vm, plan, (unsigned)i, plan->macs[i]);
    }
    return 0;
}

/* ---- arguments ---- */

/* 239.255.0.0/16 is for sites to use as they like (RFC 2365); ports below those given out to clients. */
static void add_segment(struct argv_list *list, const struct vm_case *vm, const char *name)
{
    uint64_t hash = hash_bytes(HASH_START, name, strlen(name) + 1);

    hash = hash_bytes(hash, &vm->host->uid, sizeof vm->host->uid);
    hash ^= hash >> 32;
    argv_property(list, "mcast", "239.255.%u.%u:%u", (unsigned)(hash >> 8 & 0xFF),
                  (unsigned)(1 + (hash & 0xFF) % 254), (unsigned)(10000 + (hash >> 16) % 20000));
    argv_property(list, "localaddr", "127.0.0.1");
}

static void add_forwards(struct argv_list *list, const struct vm_plan *plan)
{
    for (size_t i = 0; i < plan->forward_count; i++) {
        const struct vm_forward *forward = &plan->forwards[i];

        argv_property(list, "hostfwd", "%s:%s:%u-:%u", forward->udp ? "udp" : "tcp",
                      forward->address, forward->host_port, forward->guest_port);
    }
}

static void add_netdev(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan,
                       size_t index)
{
    static const char *const types[] = {
        [CHR_NET_USER] = "user",
        [CHR_NET_TAP] = "tap",
        [CHR_NET_BRIDGE] = "bridge",
        [CHR_NET_SOCKET] = "socket",
        [CHR_NET_VMNET_SHARED] = "vmnet-shared",
        [CHR_NET_VMNET_HOST] = "vmnet-host",
        [CHR_NET_VMNET_BRIDGED] = "vmnet-bridged",
    };
    const struct chr_net *net = &plan->nets[index];

    argv_option(list, "netdev", "type", types[net->kind]);
    argv_property(list, "id", "net%zu", index);
    switch (net->kind) {
    case CHR_NET_USER:
        add_forwards(list, plan);
        break;
    case CHR_NET_TAP:
        argv_property(list, "ifname", "%s", net->name);
        argv_property(list, "script", "no");
        argv_property(list, "downscript", "no");
        break;
    case CHR_NET_BRIDGE:
        argv_property(list, "br", "%s", net->name);
        argv_property(list, "helper", "%s", vm->host->bridge_helper);
        break;
    case CHR_NET_SOCKET:
        add_segment(list, vm, net->name);
        break;
    case CHR_NET_VMNET_BRIDGED:
        argv_property(list, "ifname", "%s", net->name);
        break;
    default:
        break;
    }
}

void argv_add_nets(struct argv_list *list, const struct vm_case *vm, const struct vm_plan *plan)
{
    for (size_t i = 0; i < plan->net_count; i++) {
        add_netdev(list, vm, plan, i);
        argv_option(list, "device", "driver", "virtio-net-pci");
        argv_property(list, "netdev", "net%zu", i);
        argv_property(list, "mac", "%s", plan->macs[i]);
        /* No option ROM: nothing is to boot from the network. */
        argv_property(list, "romfile", "%s", "");
    }
}
