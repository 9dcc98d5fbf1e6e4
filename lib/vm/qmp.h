/*
 * A QMP client over a Unix socket.  Everything has a deadline (clock.h, absolute), and
 * a server that says nothing, half a line, garbage or far too much ends in an error.
 *
 * QEMU serves one client of a socket at a time and lets others wait, so connections
 * are kept as short as their work.
 */
#ifndef CHRIMG_VM_QMP_H
#define CHRIMG_VM_QMP_H

#include <jansson.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct qmp;

/* Gets each event; DATA may be NULL.  Called from within the functions below. */
typedef void qmp_event_fn(const char *name, const json_t *data, void *context);

/*
 * Connect to the socket PATH, hear the greeting, leave negotiation mode.
 * CHR_E_MISSING when nobody listens there, CHR_E_BUSY when nothing is said in time.
 */
int qmp_connect(const char *path, int64_t deadline, struct qmp **out, struct chr_error *err);

/* The same over a connected descriptor, which is taken over, on failure too. */
int qmp_from_fd(int fd, int64_t deadline, struct qmp **out, struct chr_error *err);

void qmp_close(struct qmp *qmp);
void qmp_cleanup(struct qmp **qmp);
#define AUTO_QMP CLEANUP(qmp_cleanup)

void qmp_on_event(struct qmp *qmp, qmp_event_fn *function, void *context);

/*
 * Run COMMAND; ARGUMENTS (or NULL) is taken over.  *RESULT, which may be NULL, is the
 * caller's to json_decref().  CHR_E_REFUSED with QEMU's words when QEMU says no;
 * after any other error the connection is of no use any more.
 */
int qmp_command(struct qmp *qmp, const char *command, json_t *arguments, int64_t deadline,
                json_t **result, struct chr_error *err);

/* A command of the human monitor; *TEXT is the caller's to free. */
int qmp_human(struct qmp *qmp, const char *command, int64_t deadline, char **text,
              struct chr_error *err);

#endif
