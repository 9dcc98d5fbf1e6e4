/* Probes: connect, ask, read to the end. */
#include "vm/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compat.h"
#include "vm/clock.h"

/* A page of WebFig's has some KiB; who sends more is not waited for. */
#define BODY_MAX ((uint64_t)1 << 20)

static const char request[] = "GET / HTTP/1.0\r\nHost: router\r\nUser-Agent: chrimg\r\n"
                              "Accept: */*\r\nConnection: close\r\n\r\n";

void vm_probe_init(struct vm_probe *probe, bool http)
{
    *probe = (struct vm_probe){.http = http, .fd = -1, .state = VM_PROBE_IDLE};
}

void vm_probe_stop(struct vm_probe *probe)
{
    if (probe->fd >= 0)
        (void)close(probe->fd);
    probe->fd = -1;
    probe->state = VM_PROBE_IDLE;
}

static enum vm_probe_state finish(struct vm_probe *probe, enum vm_probe_state state)
{
    vm_probe_stop(probe);
    probe->state = state;
    return state;
}

void vm_probe_start(struct vm_probe *probe, const char *address, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

    vm_probe_stop(probe);
    probe->started = clock_ms();
    probe->heard = 0;
    probe->connected = false;
    probe->head_length = 0;
    probe->head[0] = '\0';
    probe->received = 0;
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || to.sin_addr.s_addr == INADDR_ANY)
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    probe->fd = socket_cloexec(AF_INET, SOCK_STREAM, true);
    probe->state = VM_PROBE_WAITING;
    if (probe->fd < 0 || (connect(probe->fd, (const struct sockaddr *)&to, sizeof to) < 0 &&
                          errno != EINPROGRESS))
        (void)finish(probe, VM_PROBE_REFUSED);
}

short vm_probe_events(const struct vm_probe *probe)
{
    return probe->connected ? POLLIN : POLLOUT;
}

/* The request is shorter than any socket's buffer: it goes as a whole or not at all. */
static bool connect_done(struct vm_probe *probe)
{
    struct pollfd poll_fd = {.fd = probe->fd, .events = POLLOUT};
    int number = 0;
    socklen_t length = sizeof number;

    if (probe->connected)
        return true;
    if (poll(&poll_fd, 1, 0) <= 0)
        return false;
    if (getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &number, &length) < 0 || number != 0 ||
        (probe->http && send(probe->fd, request, sizeof request - 1, MSG_NOSIGNAL) !=
                            (ssize_t)sizeof request - 1)) {
        (void)finish(probe, VM_PROBE_REFUSED);
        return false;
    }
    probe->connected = true;
    return true;
}

static bool is_status_200(const struct vm_probe *probe)
{
    return strncmp(probe->head, "HTTP/1.", 7) == 0 && strncmp(probe->head + 8, " 200", 4) == 0;
}

/* Whether Content-Length (RFC 1945, section 10.4) says that all of it is there. */
static bool is_complete(const struct vm_probe *probe)
{
    const char *end = strstr(probe->head, "\r\n\r\n");
    const char *field = strcasestr(probe->head, "\r\nContent-Length:");
    uint64_t length;

    if (end == NULL || field == NULL || field > end)
        return false;
    length = strtoull(field + 17, NULL, 10);
    return probe->received >= (uint64_t)(end + 4 - probe->head) + length;
}

static enum vm_probe_state judge(struct vm_probe *probe)
{
    if (probe->received == 0)
        return finish(probe, VM_PROBE_CLOSED);
    return finish(probe, !probe->http || is_status_200(probe) ? VM_PROBE_GOOD : VM_PROBE_WRONG);
}

static void keep_head(struct vm_probe *probe, const char *bytes, size_t count)
{
    size_t room = VM_PROBE_HEAD_SIZE - probe->head_length;
    size_t n = count < room ? count : room;

    memcpy(probe->head + probe->head_length, bytes, n);
    for (size_t i = 0; i < n; i++) /* it is read as text */
        if (probe->head[probe->head_length + i] == '\0')
            probe->head[probe->head_length + i] = ' ';
    probe->head_length += n;
    probe->head[probe->head_length] = '\0';
    probe->received += count;
    if (probe->heard == 0 && (!probe->http || strchr(probe->head, '\n') != NULL))
        probe->heard = clock_ms();
}

enum vm_probe_state vm_probe_advance(struct vm_probe *probe)
{
    if (probe->fd < 0 || !connect_done(probe))
        return probe->state;
    for (;;) {
        char bytes[4096];
        ssize_t n = recv(probe->fd, bytes, sizeof bytes, MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return probe->state;
        if (n <= 0)
            return judge(probe);
        probe->state = VM_PROBE_HEARING;
        keep_head(probe, bytes, (size_t)n);
        if (!probe->http || is_complete(probe) || probe->received > BODY_MAX)
            return judge(probe);
    }
}

void vm_probe_describe(const struct vm_probe *probe, char *text, size_t size)
{
    int length = (int)strcspn(probe->head, "\r\n");

    (void)snprintf(text, size, "%.*s", length > 60 ? 60 : length, probe->head);
}
