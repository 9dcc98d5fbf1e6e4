/* Knocking at the guest's discard port (RFC 863), which nobody serves. */
#include "vm/knock.h"

#include <stdio.h>
#include <string.h>

#include "vm/clock.h"
#include "vm/qmp.h"

#define GUEST_PORT 9
#define QMP_PATIENCE_MS 1000
/* Each unanswered knock is a socket of QEMU's for 75 s: so there must not be too many. */
#define STEP_MS 80
#define STEP_MAX_MS 1000
#define STEP_SHARE 60 /* of the time passed */

uint16_t vm_usernet_forward(const char *text, uint16_t guest_port)
{
    for (const char *line = text; line != NULL && *line != '\0';) {
        unsigned port = 0;
        unsigned to = 0;

        if (sscanf(line, " TCP[HOST_FORWARD] %*d %*s %u %*s %u", &port, &to) == 2 &&
            to == guest_port && port <= UINT16_MAX)
            return (uint16_t)port;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

void vm_knock_init(struct vm_knock *knock)
{
    *knock = (struct vm_knock){.started = clock_ms()};
    vm_probe_init(&knock->probe, false);
}

void vm_knock_open(struct vm_knock *knock, const char *qmp_socket)
{
    int64_t deadline = clock_ms() + QMP_PATIENCE_MS;
    AUTO_QMP struct qmp *qmp = NULL;
    AUTO_FREE char *answer = NULL;
    AUTO_FREE char *text = NULL;
    struct chr_error ignored;
    char command[64];

    (void)snprintf(command, sizeof command, "hostfwd_add tcp:127.0.0.1:0-:%d", GUEST_PORT);
    if (qmp_connect(qmp_socket, deadline, &qmp, &ignored) < 0)
        return; /* later */
    knock->useless = qmp_human(qmp, command, deadline, &answer, &ignored) < 0 ||
                     qmp_human(qmp, "info usernet", deadline, &text, &ignored) < 0 ||
                     (knock->port = vm_usernet_forward(text, GUEST_PORT)) == 0;
}

bool vm_knock_step(struct vm_knock *knock)
{
    int64_t now = clock_ms();
    int64_t step = (now - knock->started) / STEP_SHARE;
    enum vm_probe_state state;

    if (knock->answered || knock->port == 0)
        return knock->answered;
    if (now >= knock->next) {
        vm_probe_start(&knock->probe, "127.0.0.1", knock->port);
        knock->next = now + (step < STEP_MS ? STEP_MS : step > STEP_MAX_MS ? STEP_MAX_MS : step);
    }
    state = vm_probe_advance(&knock->probe);
    if (state == VM_PROBE_CLOSED || state == VM_PROBE_GOOD) {
        knock->answered = true;
        vm_probe_stop(&knock->probe);
    }
    return knock->answered;
}

void vm_knock_close(struct vm_knock *knock, const char *qmp_socket)
{
    int64_t deadline = clock_ms() + QMP_PATIENCE_MS;
    AUTO_QMP struct qmp *qmp = NULL;
    AUTO_FREE char *answer = NULL;
    struct chr_error ignored;
    char command[64];

    vm_probe_stop(&knock->probe);
    if (knock->port == 0 || qmp_connect(qmp_socket, deadline, &qmp, &ignored) < 0)
        return;
    (void)snprintf(command, sizeof command, "hostfwd_remove tcp:127.0.0.1:%u", knock->port);
    (void)qmp_human(qmp, command, deadline, &answer, &ignored);
    knock->port = 0;
}
