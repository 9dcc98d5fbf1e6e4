/* query-status and info usernet. */
#include "vm/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vm/clock.h"
#include "vm/qmp.h"

/*
 * A line of it (libslirp, slirp_connection_info()):
 *   "  TCP[SYN_SENT]     15     127.0.0.1  9180    10.0.2.15    80     0     0"
 * Of connections that came in by a forward, the source is the forward's own address.
 */
enum vm_reach vm_usernet_reach(const char *text, uint16_t port)
{
    enum vm_reach reach = VM_REACH_UNKNOWN;

    for (const char *line = text; line != NULL && *line != '\0';) {
        char state[32];
        unsigned source_port = 0;

        if (sscanf(line, " TCP[%31[^]]] %*d %*s %u", state, &source_port) == 2 &&
            source_port == port) {
            enum vm_reach this = strcmp(state, "HOST_FORWARD") == 0 ? VM_REACH_NONE
                                 : strcmp(state, "SYN_SENT") == 0   ? VM_REACH_CALLING
                                                                    : VM_REACH_ANSWERED;

            reach = this > reach ? this : reach;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return reach;
}

void vm_observe(const char *qmp_socket, uint16_t port, int64_t patience_ms,
                struct vm_observation *observation)
{
    int64_t deadline = clock_ms() + patience_ms;
    AUTO_QMP struct qmp *qmp = NULL;
    AUTO_FREE char *text = NULL;
    struct chr_error ignored;
    json_t *result = NULL;
    const char *status;

    *observation = (struct vm_observation){0};
    if (qmp_connect(qmp_socket, deadline, &qmp, &ignored) < 0 ||
        qmp_command(qmp, "query-status", NULL, deadline, &result, &ignored) < 0)
        return;
    status = json_string_value(json_object_get(result, "status"));
    observation->seen = status != NULL;
    (void)snprintf(observation->status, sizeof observation->status, "%s",
                   status != NULL ? status : "");
    json_decref(result);
    if (port != 0 && qmp_human(qmp, "info usernet", deadline, &text, &ignored) == 0)
        observation->reach = vm_usernet_reach(text, port);
}
