/* Ports that are taken, and the taps and bridges that options name. */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/compat.h"
#include "vm/host_parts.h"
#include "vm/ports.h"

/* ---- ports ---- */

struct port_list {
    uint16_t *items;
    size_t count;
    size_t capacity;
};

/* As QEMU will: SO_REUSEADDR, bind, listen.  The errno, or 0. */
static int try_port(struct in_addr address, bool udp, uint16_t port)
{
    AUTO_CLOSE int fd = socket_cloexec(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, false);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    const int yes = 1;

    if (fd < 0)
        return 0; /* nothing is known then; QEMU will say */
    if (!udp)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0)
        return errno;
    return !udp && listen(fd, 1) < 0 ? errno : 0;
}

static int look_at(struct vm_host *host, struct in_addr address, bool udp, uint16_t port,
                   struct port_list *busy, bool *is_busy, struct chr_error *err)
{
    int result = try_port(address, udp, port);

    *is_busy = result == EADDRINUSE;
    host->listen_missing = host->listen_missing || result == EADDRNOTAVAIL;
    if (!*is_busy)
        return 0;
    if (mem_grow(&busy->items, &busy->capacity, busy->count, sizeof *busy->items, err) < 0)
        return -1;
    busy->items[busy->count++] = port;
    return 0;
}

/* Every port of the block that starts at FIRST, for each protocol that wants one of them. */
static int look_at_block(struct vm_host *host, struct in_addr address,
                         const struct ports_wish *wishes, size_t count, unsigned first,
                         struct port_list busy[2], bool *is_free, struct chr_error *err)
{
    unsigned port = first;

    *is_free = true;
    for (size_t i = 0; i < count; i++) {
        bool taken = false;

        if (wishes[i].host_port != 0)
            continue;
        for (size_t j = 0; j < count && !taken; j++)
            taken = wishes[j].udp == wishes[i].udp && wishes[j].host_port == port;
        *is_free = *is_free && !taken;
        if (look_at(host, address, wishes[i].udp, (uint16_t)port, &busy[wishes[i].udp], &taken,
                    err) < 0)
            return -1;
        *is_free = *is_free && !taken;
        port++;
    }
    return 0;
}

static int look_at_all(struct vm_host *host, struct in_addr address,
                       const struct ports_wish *wishes, size_t count, struct port_list busy[2],
                       struct chr_error *err)
{
    uint16_t size = ports_block_size(wishes, count);
    bool found = size == 0;
    bool ignored;

    for (size_t i = 0; i < count; i++)
        if (wishes[i].host_port != 0 &&
            look_at(host, address, wishes[i].udp, wishes[i].host_port, &busy[wishes[i].udp],
                    &ignored, err) < 0)
            return -1;
    for (unsigned block = 0; block < PORTS_BLOCKS && !found; block++)
        if (look_at_block(host, address, wishes, count, PORTS_FIRST + block * size, busy, &found,
                          err) < 0)
            return -1;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static void sort_ports(struct port_list *list)
{
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, by_number);
}

/* Options that cannot be meant are the plan's to refuse. */
int host_probe_ports(struct vm_host *host, const struct chr_boot_options *options,
                     struct chr_error *err)
{
    AUTO_FREE struct ports_wish *wishes = mem_new(PORTS_WISHES_MAX, sizeof *wishes, err);
    struct port_list busy[2] = {{0}, {0}};
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    struct chr_error ignored;
    size_t count;
    int result;

    if (wishes == NULL)
        return -1;
    if (ports_wishes(options, wishes, &count, &ignored) < 0 ||
        (options->listen != NULL && inet_pton(AF_INET, options->listen, &address) != 1))
        return 0;
    result = look_at_all(host, address, wishes, count, busy, err);
    sort_ports(&busy[0]);
    sort_ports(&busy[1]);
    host->tcp_busy = busy[0].items;
    host->tcp_busy_count = busy[0].count;
    host->udp_busy = busy[1].items;
    host->udp_busy_count = busy[1].count;
    return result;
}

/* ---- taps and bridges ---- */

static bool is_interface_name(const char *name)
{
    size_t length = strlen(name);

    return length > 0 && length < 16 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* A number in the interface's folder in sysfs; -1 where there is none. */
static long attribute(const char *interface, const char *name)
{
    char path[128];
    long value = -1;
    FILE *file;

    (void)snprintf(path, sizeof path, "/sys/class/net/%s/%s", interface, name);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%ld", &value) != 1)
        value = -1;
    (void)fclose(file);
    return value;
}

static bool has(const char *interface, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof path, "/sys/class/net/%s/%s", interface, name);
    return access(path, F_OK) == 0;
}

static bool in_group(gid_t group)
{
    gid_t groups[256];
    int count = getgroups(256, groups);

    for (int i = 0; i < count; i++)
        if (groups[i] == group)
            return true;
    return getegid() == group;
}

/* As drivers/net/tun.c decides: whoever is neither excluded as user nor as group. */
static bool tap_usable(const char *name)
{
    long owner = attribute(name, "owner");
    long group = attribute(name, "group");

    if (getuid() == 0)
        return true;
    return (owner < 0 || (uid_t)owner == getuid()) && (group < 0 || in_group((gid_t)group));
}

bool host_acl_allows(const char *acl, const char *bridge)
{
    bool allowed = false;
    bool denied = false;

    while (*acl != '\0') {
        size_t length = strcspn(acl, "\n");
        char line[256];
        char verb[16];
        char what[64];

        (void)snprintf(line, sizeof line, "%.*s", (int)(length < 255 ? length : 255), acl);
        if (sscanf(line, " %15[a-z] %63s", verb, what) == 2 &&
            (strcmp(what, "all") == 0 || strcmp(what, bridge) == 0)) {
            allowed = allowed || strcmp(verb, "allow") == 0;
            denied = denied || strcmp(verb, "deny") == 0;
        }
        acl += length + (acl[length] == '\n');
    }
    return allowed && !denied;
}

/*
 * NAME NULL: whether any is.  A list that we may not read, or one that includes others, is
 * for the helper to judge.
 */
static bool bridge_allowed(const char *name)
{
    char acl[8192];
    FILE *file = fopen("/etc/qemu/bridge.conf", "re");
    size_t length;

    if (file == NULL)
        return errno != ENOENT;
    length = fread(acl, 1, sizeof acl - 1, file);
    acl[length] = '\0';
    (void)fclose(file);
    return strstr(acl, "include") != NULL || (name != NULL ? host_acl_allows(acl, name) : strstr(acl, "allow") != NULL);
}

static void probe_bridge_helper(struct vm_host *host)
{
    static const char *const paths[] = {"/usr/lib/qemu/qemu-bridge-helper",
                                        "/usr/libexec/qemu-bridge-helper",
                                        "/usr/local/libexec/qemu-bridge-helper"};
    struct stat stat_;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (stat(paths[i], &stat_) == 0) {
            (void)snprintf(host->bridge_helper, sizeof host->bridge_helper, "%s", paths[i]);
            host->bridge_helper_setuid = (stat_.st_mode & S_ISUID) != 0 && stat_.st_uid == 0;
            return;
        }
}

void host_probe_interfaces(struct vm_host *host, const struct chr_boot_options *options)
{
    probe_bridge_helper(host);
    host->bridge_acl = bridge_allowed(NULL);
    for (size_t i = 0; i < options->net_count; i++) {
        const struct chr_net *net = &options->nets[i];
        struct vm_interface *interface = &host->interfaces[host->interface_count];

        if ((net->kind != CHR_NET_TAP && net->kind != CHR_NET_BRIDGE) ||
            !is_interface_name(net->name))
            continue;
        (void)snprintf(interface->name, sizeof interface->name, "%s", net->name);
        interface->exists = has(net->name, "ifindex");
        interface->is_tap = has(net->name, "tun_flags");
        interface->is_bridge = has(net->name, "bridge");
        interface->usable = net->kind == CHR_NET_TAP ? tap_usable(net->name)
                                                     : bridge_allowed(net->name);
        host->interface_count++;
    }
}
