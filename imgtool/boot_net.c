/* Values of --net, --forward, --listen and --vfio. */
#include <arpa/inet.h>
#include <string.h>

#include "boot_values.h"

/* ---- networks ---- */

int boot_take_net(const struct command *command, struct chr_boot_options *options)
{
    static const struct {
        const char *name;
        enum chr_net_kind kind;
        bool wants_name;
    } kinds[] = {
        {"user", CHR_NET_USER, false},
        {"tap", CHR_NET_TAP, true},
        {"bridge", CHR_NET_BRIDGE, true},
        {"socket", CHR_NET_SOCKET, true},
        {"vmnet-shared", CHR_NET_VMNET_SHARED, false},
        {"vmnet-host", CHR_NET_VMNET_HOST, false},
        {"vmnet-bridged", CHR_NET_VMNET_BRIDGED, true},
        {"none", CHR_NET_NONE, false},
    };
    size_t length = strcspn(optarg, ":");
    const char *name = optarg[length] == ':' ? optarg + length + 1 : "";
    struct chr_net *net = &options->nets[options->net_count];

    if (options->net_count == CHR_NETS_MAX)
        return usage_error(command, "--net: at most %d networks", CHR_NETS_MAX);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strlen(kinds[i].name) != length || strncmp(optarg, kinds[i].name, length) != 0)
            continue;
        if (kinds[i].wants_name != (name[0] != '\0') ||
            (!kinds[i].wants_name && optarg[length] == ':'))
            return usage_error(command, kinds[i].wants_name ? "--net %s wants a name: %s:NAME"
                                                            : "--net %s has no name behind it",
                               kinds[i].name, kinds[i].name);
        if (strlen(name) >= sizeof net->name)
            return usage_error(command, "--net %s: the name is longer than %zu bytes", optarg,
                               sizeof net->name - 1);
        net->kind = kinds[i].kind;
        memcpy(net->name, name, strlen(name) + 1);
        options->net_count++;
        return 0;
    }
    return usage_error(command, "--net %s: user, tap:IF, bridge:BR, socket:NAME, vmnet-shared, "
                                "vmnet-host, vmnet-bridged:IF or none", optarg);
}

/* ---- ports ---- */

/* N or N-M, up to END; the first port, and how many; false when it is neither. */
static bool parse_ports(const char *text, const char *end, long *first, long *count)
{
    const char *dash = memchr(text, '-', (size_t)(end - text));
    long last;

    *first = boot_number(text, dash != NULL ? dash : end, 65535);
    last = dash != NULL ? boot_number(dash + 1, end, 65535) : *first;
    *count = last - *first + 1;
    return *first >= 0 && last >= *first;
}

/* A word for scripts: it becomes CHR_NAME in the environment of `chrimg run`. */
static bool is_forward_name(const char *name, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    return length > 0 && length < CHR_FORWARD_NAME_SIZE && strchr(letters, name[0]) != NULL &&
           strspn(name, allowed) >= length;
}

/* [NAME=]HOST:GUEST[/udp] */
static bool parse_forward(const char *text, struct chr_forward *forward)
{
    const char *equals = strchr(text, '=');
    const char *host = equals != NULL ? equals + 1 : text;
    const char *colon = strchr(host, ':');
    const char *end = host + strcspn(host, "/");
    long host_first;
    long host_count;
    long guest_first;
    long guest_count;

    *forward = (struct chr_forward){0};
    if (equals != NULL && !is_forward_name(text, (size_t)(equals - text)))
        return false;
    if (equals != NULL)
        memcpy(forward->name, text, (size_t)(equals - text));
    if (colon == NULL || colon > end || !parse_ports(host, colon, &host_first, &host_count) ||
        !parse_ports(colon + 1, end, &guest_first, &guest_count) || guest_first == 0)
        return false;
    /* 0 is any free port, for each of the guest's. */
    if (host_first == 0 ? host_count != 1 : host_count != guest_count)
        return false;
    forward->udp = strcmp(end, "/udp") == 0;
    forward->host_port = (uint16_t)host_first;
    forward->guest_port = (uint16_t)guest_first;
    forward->count = (uint16_t)guest_count;
    return *end == '\0' || forward->udp || strcmp(end, "/tcp") == 0;
}

int boot_take_forward(const struct command *command, struct chr_boot_options *options)
{
    if (strcmp(optarg, "none") == 0) {
        options->no_default_forwards = true;
        return 0;
    }
    if (options->forward_count == CHR_FORWARDS_MAX)
        return usage_error(command, "--forward: at most %d", CHR_FORWARDS_MAX);
    if (!parse_forward(optarg, &options->forwards[options->forward_count]))
        return usage_error(command, "--forward is like 8080:80, web=8080:80, 5000-5009:5000-5009/udp, "
                                    "0:80 or none, not %s", optarg);
    options->forward_count++;
    return 0;
}

int boot_take_listen(const struct command *command, struct chr_boot_options *options)
{
    struct in_addr address;

    if (inet_pton(AF_INET, optarg, &address) != 1)
        return usage_error(command, "--listen is an IPv4 address like 0.0.0.0, not %s", optarg);
    options->listen = optarg;
    return 0;
}

int boot_take_vfio(const struct command *command, struct chr_boot_options *options)
{
    if (options->vfio_count == CHR_VFIO_MAX)
        return usage_error(command, "--vfio: at most %d devices", CHR_VFIO_MAX);
    options->vfio[options->vfio_count++] = optarg;
    return 0;
}
