/*
 * QMP's line protocol as a state machine: bytes in, messages out, no I/O.
 *
 * Format: QEMU, docs/interop/qmp-spec.txt: JSON objects, each of them on a line of
 * its own as QEMU sends it (CR LF).  A message is the greeting, an answer ("return"
 * or "error", with the command's id), or an event.  Everything else is an error, and
 * so is a line longer than QMP_LINE_MAX: memory stays bounded whatever comes.
 */
#ifndef CHRIMG_VM_QMP_PARSER_H
#define CHRIMG_VM_QMP_PARSER_H

#include <jansson.h>

#include "base/error.h"

/* Longest line.  QEMU's longest answers (query-qmp-schema) have some 200 KiB. */
#define QMP_LINE_MAX ((size_t)1 << 20)

struct qmp_parser {
    char *line; /* what has come of a line that is not complete */
    size_t used;
    size_t capacity;
};

enum qmp_kind { QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT };

struct qmp_message {
    enum qmp_kind kind;
    json_t *root;     /* owned: qmp_message_release() */
    uint64_t id;      /* of an answer; 0 where there is none */
    const char *name; /* of an event; lives as long as root */
    json_t *body;     /* the greeting's "QMP", "return", "error", the event's "data" or NULL */
};

/*
 * Take bytes from BYTES up to the end of one line.  Returns 1 with *MESSAGE filled, 0
 * when more bytes are needed, -1 when this is no QMP.  *CONSUMED says how many bytes
 * were taken; after 1 the rest is for the next call.  Nothing may be fed after -1.
 */
int qmp_parser_feed(struct qmp_parser *parser, const char *bytes, size_t count, size_t *consumed,
                    struct qmp_message *message, struct chr_error *err);

void qmp_parser_release(struct qmp_parser *parser);
void qmp_message_release(struct qmp_message *message);
#define AUTO_QMP_MESSAGE CLEANUP(qmp_message_release)

#endif
