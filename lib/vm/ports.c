/*
 * Forwards: what is asked for, and by default the services of RouterOS in a free
 * block of ports, so that the second instance's are ten further on.
 */
#include "vm/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/decide.h"

static const struct ports_wish defaults[] = {
    {.name = "http", .guest_port = 80},      {.name = "https", .guest_port = 443},
    {.name = "ssh", .guest_port = 22},       {.name = "api", .guest_port = 8728},
    {.name = "api-ssl", .guest_port = 8729}, {.name = "winbox", .guest_port = 8291},
};

#define DEFAULT_COUNT (sizeof defaults / sizeof defaults[0])

/* ---- wishes ---- */

const char *ports_usual_name(bool udp, uint16_t guest_port)
{
    for (size_t i = 0; i < DEFAULT_COUNT; i++)
        if (!udp && defaults[i].guest_port == guest_port)
            return defaults[i].name;
    return "";
}

static int add_forward(const struct chr_forward *forward, struct ports_wish *wishes, size_t *count,
                       struct chr_error *err)
{
    if (forward->count == 0 || forward->guest_port == 0 ||
        forward->guest_port + forward->count - 1 > UINT16_MAX ||
        forward->host_port + forward->count - 1 > UINT16_MAX)
        return err_set(err, CHR_E_USAGE, "--forward %u:%u: ports are 1 to 65535",
                       forward->host_port, forward->guest_port);
    if (*count + forward->count > CHR_FORWARD_PORTS_MAX)
        return err_set(err, CHR_E_USAGE, "--forward: more than %d ports", CHR_FORWARD_PORTS_MAX);
    for (unsigned i = 0; i < forward->count; i++) {
        uint16_t guest_port = (uint16_t)(forward->guest_port + i);
        bool named = forward->name[0] != '\0' && forward->count == 1;

        wishes[(*count)++] = (struct ports_wish){
            .name = named ? forward->name : ports_usual_name(forward->udp, guest_port),
            .udp = forward->udp,
            .host_port = forward->host_port != 0 ? (uint16_t)(forward->host_port + i) : 0,
            .guest_port = guest_port,
        };
    }
    return 0;
}

static bool is_wished(const struct ports_wish *wishes, size_t count, uint16_t guest_port)
{
    for (size_t i = 0; i < count; i++)
        if (!wishes[i].udp && wishes[i].guest_port == guest_port)
            return true;
    return false;
}

static int check_twice(const struct ports_wish *wishes, size_t count, struct chr_error *err)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) {
            if (wishes[i].udp == wishes[j].udp && wishes[i].host_port != 0 &&
                wishes[i].host_port == wishes[j].host_port)
                return err_set(err, CHR_E_USAGE, "--forward: port %u of the host is there twice",
                               wishes[i].host_port);
            if (wishes[i].name[0] != '\0' && strcmp(wishes[i].name, wishes[j].name) == 0 &&
                wishes[i].guest_port != wishes[j].guest_port)
                return err_set(err, CHR_E_USAGE, "--forward: the name %s is there twice",
                               wishes[i].name);
        }
    return 0;
}

int ports_wishes(const struct chr_boot_options *options, struct ports_wish *wishes, size_t *count,
                 struct chr_error *err)
{
    size_t asked;

    *count = 0;
    for (size_t i = 0; i < options->forward_count; i++)
        if (add_forward(&options->forwards[i], wishes, count, err) < 0)
            return -1;
    asked = *count;
    for (size_t i = 0; i < DEFAULT_COUNT && !options->no_default_forwards; i++)
        if (!is_wished(wishes, asked, defaults[i].guest_port))
            wishes[(*count)++] = defaults[i];
    return check_twice(wishes, *count, err);
}

uint16_t ports_block_size(const struct ports_wish *wishes, size_t count)
{
    unsigned free_choice = 0;

    for (size_t i = 0; i < count; i++)
        free_choice += wishes[i].host_port == 0;
    return (uint16_t)((free_choice + 9) / 10 * 10);
}

/* ---- decisions ---- */

static int by_number(const void *a, const void *b)
{
    return *(const uint16_t *)a - *(const uint16_t *)b;
}

static bool is_busy(const struct vm_host *host, bool udp, uint16_t port)
{
    const uint16_t *busy = udp ? host->udp_busy : host->tcp_busy;
    size_t count = udp ? host->udp_busy_count : host->tcp_busy_count;

    return count > 0 && bsearch(&port, busy, count, sizeof *busy, by_number) != NULL;
}

static int check_port(const struct vm_host *host, const struct ports_wish *wish,
                      struct chr_error *err)
{
    if (wish->host_port < host->first_open_port) {
        (void)err_set(err, CHR_E_REFUSED, "--forward: port %u of the host is for root alone",
                      wish->host_port);
        return err_hint(err, "a port from %u on, as %u:%u", host->first_open_port,
                        wish->host_port + 8000, wish->guest_port);
    }
    if (is_busy(host, wish->udp, wish->host_port)) {
        (void)err_set(err, CHR_E_BUSY, "%s port %u of the host is taken already",
                      wish->udp ? "UDP" : "TCP", wish->host_port);
        return err_hint(err, "another --forward HOST:%u; 0:%u takes a free one", wish->guest_port,
                        wish->guest_port);
    }
    return 0;
}

static bool is_asked_for(const struct ports_wish *wishes, size_t count, bool udp, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        if (wishes[i].udp == udp && wishes[i].host_port == port)
            return true;
    return false;
}

/* Whether the wishes that leave the port open all find one from FIRST on. */
static bool block_is_free(const struct vm_host *host, const struct ports_wish *wishes, size_t count,
                          unsigned first)
{
    unsigned port = first;

    for (size_t i = 0; i < count; i++) {
        if (wishes[i].host_port != 0)
            continue;
        if (is_busy(host, wishes[i].udp, (uint16_t)port) ||
            is_asked_for(wishes, count, wishes[i].udp, (uint16_t)port))
            return false;
        port++;
    }
    return true;
}

static int choose_block(const struct vm_host *host, struct ports_wish *wishes, size_t count,
                        struct chr_error *err)
{
    uint16_t size = ports_block_size(wishes, count);
    unsigned first = PORTS_FIRST;
    unsigned blocks = 0;

    if (size == 0)
        return 0;
    while (blocks < PORTS_BLOCKS && !block_is_free(host, wishes, count, first)) {
        first += size;
        blocks++;
    }
    if (blocks == PORTS_BLOCKS) {
        (void)err_set(err, CHR_E_BUSY, "no %u free ports in a row from %u on", size, PORTS_FIRST);
        return err_hint(err, "name them: --forward none --forward http=HOST:80");
    }
    for (size_t i = 0; i < count; i++)
        if (wishes[i].host_port == 0)
            wishes[i].host_port = (uint16_t)first++;
    return 0;
}

static int take_wishes(const struct ports_wish *wishes, size_t count, struct vm_plan *plan,
                       struct chr_error *err)
{
    plan->forwards = mem_new(count, sizeof *plan->forwards, err);
    if (plan->forwards == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct vm_forward *forward = &plan->forwards[plan->forward_count++];

        *forward = (struct vm_forward){.udp = wishes[i].udp,
                                       .address = plan->listen,
                                       .host_port = wishes[i].host_port,
                                       .guest_port = wishes[i].guest_port};
        (void)snprintf(forward->name, sizeof forward->name, "%s", wishes[i].name);
    }
    return 0;
}

/* The others can be reached by nobody but the guests' own networks. */
static int without_user_net(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    if (vm->options->forward_count > 0)
        return err_set(err, CHR_E_USAGE, "--forward leads through the user network: add --net user");
    if (vm->options->listen != NULL)
        return err_set(err, CHR_E_USAGE, "--listen is for forwards, which need --net user");
    if (vm->options->ready == CHR_READY_TCP ||
        (vm->options->ready == CHR_READY_HTTP && vm->options->ready_asked)) {
        (void)err_set(err, CHR_E_USAGE, "--ready %s needs --net user",
                      vm->options->ready == CHR_READY_TCP ? "tcp" : "http");
        return err_hint(err, "--ready serial:PATTERN waits for what the router says there");
    }
    if (vm->options->ready == CHR_READY_HTTP && vm->options->for_command) {
        (void)err_set(err, CHR_E_USAGE, "without a user network, the router's HTTP cannot be waited "
                      "for");
        return err_hint(err, "--ready serial:PATTERN waits for what the router says, --ready none runs "
                        "the command at once");
    }
    if (vm->options->ready == CHR_READY_HTTP) {
        plan_note(plan, "no user network, so nothing is waited for; --ready serial:PATTERN can");
        plan->ready = CHR_READY_NONE;
    }
    return 0;
}

/* Nothing is to be started that nobody can wait for. */
static int check_ready(const struct vm_case *vm, const struct vm_plan *plan, struct chr_error *err)
{
    unsigned port = plan->ready == CHR_READY_HTTP ? 80 : vm->options->ready_port;

    if (vm->options->show != CHR_SHOW_NONE ||
        (plan->ready != CHR_READY_HTTP && plan->ready != CHR_READY_TCP))
        return 0;
    for (size_t i = 0; i < plan->forward_count; i++)
        if (!plan->forwards[i].udp && plan->forwards[i].guest_port == port)
            return 0;
    (void)err_set(err, CHR_E_USAGE, "no port of this host leads to port %u of the router, which "
                                    "--ready is to wait for", port);
    return err_hint(err, "--forward 0:%u adds it; --ready none does not wait", port);
}

int decide_forwards(const struct vm_case *vm, struct vm_plan *plan, struct chr_error *err)
{
    AUTO_FREE struct ports_wish *wishes = mem_new(PORTS_WISHES_MAX, sizeof *wishes, err);
    size_t count;

    plan->ready = vm->options->ready;
    if (wishes == NULL)
        return -1;
    if (plan->net_count == 0 || plan->nets[0].kind != CHR_NET_USER)
        return without_user_net(vm, plan, err);
    if (vm->host->listen_missing) {
        (void)err_set(err, CHR_E_REFUSED, "--listen %s: no interface of this host has that address",
                      vm->options->listen);
        return err_hint(err, "%s shows those that it has; 0.0.0.0 is all of them",
                        vm->host->os == VM_MACOS ? "ifconfig" : "ip -4 addr");
    }
    if (ports_wishes(vm->options, wishes, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (wishes[i].host_port != 0 && check_port(vm->host, &wishes[i], err) < 0)
            return -1;
    if (choose_block(vm->host, wishes, count, err) < 0)
        return -1;
    if (strcmp(plan->listen, "127.0.0.1") != 0)
        plan_note(plan, "the router's services can be reached on %s from outside of this host; "
                        "a new router has no password", plan->listen);
    return take_wishes(wishes, count, plan, err) < 0 ? -1 : check_ready(vm, plan, err);
}
