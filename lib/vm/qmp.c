/* The QMP client. */
#include "vm/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/compat.h"
#include "vm/clock.h"
#include "vm/qmp_parser.h"

#define READ_SIZE 16384
#define CONNECT_STEP_MS 10
#define NO_LIMIT INT32_MAX

struct qmp {
    int fd;
    bool broken; /* out of step: answers cannot be told from each other any more */
    bool in_step; /* one of our commands was answered */
    uint64_t last_id;
    struct qmp_parser parser;
    char bytes[READ_SIZE];
    size_t start; /* of what was read and not parsed */
    size_t end;
    qmp_event_fn *on_event;
    void *event_context;
};

/* ---- bytes ---- */

static int late(struct chr_error *err, const char *what)
{
    return err_set(err, CHR_E_BUSY, "QEMU did not %s in time", what);
}

/* 1 when EVENTS are there, 0 when the deadline has passed. */
static int wait_for(const struct qmp *qmp, short events, int64_t deadline, struct chr_error *err)
{
    struct pollfd poll_fd = {.fd = qmp->fd, .events = events};

    for (;;) {
        int n = poll(&poll_fd, 1, clock_left(deadline, NO_LIMIT));

        if (n > 0)
            return 1;
        if (n == 0 && clock_ms() >= deadline)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot wait for QEMU");
    }
}

/* 1 when there are bytes, 0 when the deadline has passed, -1 when the connection is over. */
static int fill(struct qmp *qmp, int64_t deadline, struct chr_error *err)
{
    for (;;) {
        int ready = wait_for(qmp, POLLIN, deadline, err);
        ssize_t n;

        if (ready <= 0)
            return ready;
        n = recv(qmp->fd, qmp->bytes, sizeof qmp->bytes, MSG_DONTWAIT);
        if (n > 0) {
            qmp->start = 0;
            qmp->end = (size_t)n;
            return 1;
        }
        if (n == 0)
            return err_set(err, CHR_E_IO, "QEMU closed its QMP connection");
        if (errno != EAGAIN && errno != EINTR)
            return err_errno(err, errno, "cannot read from QEMU");
    }
}

/* The next message: 1; 0 when the deadline has passed. */
static int next_message(struct qmp *qmp, int64_t deadline, struct qmp_message *message,
                        struct chr_error *err)
{
    for (;;) {
        size_t consumed = 0;
        int result = qmp_parser_feed(&qmp->parser, qmp->bytes + qmp->start, qmp->end - qmp->start,
                                     &consumed, message, err);

        qmp->start += consumed;
        if (result != 0)
            return result;
        /* A server that never stops to talk does not get past the deadline either. */
        if (clock_ms() >= deadline)
            return 0;
        result = fill(qmp, deadline, err);
        if (result <= 0)
            return result;
    }
}

static int send_all(struct qmp *qmp, const char *text, size_t length, int64_t deadline,
                    struct chr_error *err)
{
    while (length > 0) {
        int ready = wait_for(qmp, POLLOUT, deadline, err);
        ssize_t n;

        if (ready <= 0)
            return ready < 0 ? -1 : late(err, "take a command");
        n = send(qmp->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_errno(err, errno, "cannot write to QEMU");
        if (n > 0) {
            text += n;
            length -= (size_t)n;
        }
    }
    return 0;
}

/* ---- messages ---- */

static void tell_event(const struct qmp *qmp, const struct qmp_message *message)
{
    if (qmp->on_event != NULL)
        qmp->on_event(message->name, message->body, qmp->event_context);
}

/*
 * QEMU serves one client after the other, and what one that is gone has asked is answered to
 * the next: before the first answer to this one, or, where that was taken for it, soon behind.
 */
static bool is_for_another(const struct qmp *qmp, const struct qmp_message *message)
{
    return message->kind != QMP_GREETING && message->id != 0 &&
           (message->id < qmp->last_id || (message->id != qmp->last_id && !qmp->in_step));
}

/* The answer to the last command; events in between are told. */
static int take_answer(struct qmp *qmp, const char *command, int64_t deadline, json_t **result,
                       struct chr_error *err)
{
    for (;;) {
        AUTO_QMP_MESSAGE struct qmp_message message = {0};
        int n = next_message(qmp, deadline, &message, err);

        if (n <= 0)
            return n < 0 ? -1 : late(err, "answer");
        if (message.kind == QMP_EVENT) {
            tell_event(qmp, &message);
            continue;
        }
        if (is_for_another(qmp, &message))
            continue;
        if (message.kind == QMP_GREETING || message.id != qmp->last_id)
            return err_set(err, CHR_E_IO, "QEMU answers what was not asked");
        qmp->in_step = true;
        if (message.kind == QMP_ERROR) {
            (void)err_set(err, CHR_E_REFUSED, "QEMU refuses %s: %s", command,
                          json_string_value(json_object_get(message.body, "desc")));
            return 1;
        }
        if (result != NULL)
            *result = json_incref(message.body);
        return 0;
    }
}

static int ask(struct qmp *qmp, const char *command, json_t *arguments, int64_t deadline,
               json_t **result, struct chr_error *err)
{
    json_t *request = json_pack("{s:s, s:I}", "execute", command, "id",
                                (json_int_t)++qmp->last_id);
    char *text = NULL;
    int outcome;

    if (request != NULL && (arguments == NULL ||
                            json_object_set(request, "arguments", arguments) == 0))
        text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (text == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for a command to QEMU");
    outcome = send_all(qmp, text, strlen(text), deadline, err);
    free(text);
    if (outcome == 0)
        outcome = send_all(qmp, "\n", 1, deadline, err);
    return outcome < 0 ? -1 : take_answer(qmp, command, deadline, result, err);
}

int qmp_command(struct qmp *qmp, const char *command, json_t *arguments, int64_t deadline,
                json_t **result, struct chr_error *err)
{
    int outcome = -1;

    if (result != NULL)
        *result = NULL;
    if (qmp->broken)
        (void)err_set(err, CHR_E_IO, "the QMP connection is broken");
    else
        outcome = ask(qmp, command, arguments, deadline, result, err);
    json_decref(arguments);
    if (outcome < 0) {
        qmp->broken = true;
        return err_context(err, "%s", command);
    }
    return outcome == 0 ? 0 : -1;
}

int qmp_human(struct qmp *qmp, const char *command, int64_t deadline, char **text,
              struct chr_error *err)
{
    json_t *result = NULL;
    int outcome = -1;

    *text = NULL;
    if (qmp_command(qmp, "human-monitor-command", json_pack("{s:s}", "command-line", command),
                    deadline, &result, err) < 0)
        return -1;
    if (!json_is_string(result))
        (void)err_set(err, CHR_E_IO, "QEMU's answer to %s is no text", command);
    else if ((*text = mem_strdup(json_string_value(result), err)) != NULL)
        outcome = 0;
    json_decref(result);
    return outcome;
}

void qmp_on_event(struct qmp *qmp, qmp_event_fn *function, void *context)
{
    qmp->on_event = function;
    qmp->event_context = context;
}

/* ---- connection ---- */

void qmp_close(struct qmp *qmp)
{
    if (qmp == NULL)
        return;
    qmp_parser_release(&qmp->parser);
    (void)close(qmp->fd);
    free(qmp);
}

void qmp_cleanup(struct qmp **qmp)
{
    qmp_close(*qmp);
}

static int hear_greeting(struct qmp *qmp, int64_t deadline, struct chr_error *err)
{
    AUTO_QMP_MESSAGE struct qmp_message message = {0};
    int n = next_message(qmp, deadline, &message, err);

    if (n < 0)
        return -1;
    if (n == 0) {
        (void)late(err, "greet");
        return err_hint(err, "is it stopped (kill -CONT lets it go on; chrimg ps calls it silent), or "
                             "does another program hold its QMP connection?");
    }
    if (message.kind != QMP_GREETING)
        return err_set(err, CHR_E_IO, "what answers is no QMP: it does not greet");
    return 0;
}

int qmp_from_fd(int fd, int64_t deadline, struct qmp **out, struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = mem_new(1, sizeof *qmp, err);

    if (qmp == NULL) {
        (void)close(fd);
        return -1;
    }
    qmp->fd = fd;
    if (hear_greeting(qmp, deadline, err) < 0 ||
        qmp_command(qmp, "qmp_capabilities", NULL, deadline, NULL, err) < 0)
        return -1;
    *out = STEAL(qmp);
    return 0;
}

/* 0, or an errno.  EAGAIN: its backlog is full, that is, others wait already. */
static int connect_once(const struct sockaddr_un *address, int *fd)
{
    *fd = socket_cloexec(AF_UNIX, SOCK_STREAM, true);
    if (*fd < 0)
        return errno;
    if (connect(*fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    int number = errno;

    (void)close(*fd);
    *fd = -1;
    return number;
}

int qmp_connect(const char *path, int64_t deadline, struct qmp **out, struct chr_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int number;
    int fd = -1;

    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, CHR_E_USAGE, "%s is too long for a socket's name", path);
    memcpy(address.sun_path, path, strlen(path));
    while ((number = connect_once(&address, &fd)) != 0) {
        if (number == ENOENT || number == ECONNREFUSED)
            return err_set(err, CHR_E_MISSING, "no QEMU listens on %s", path);
        if (number != EAGAIN && number != EINTR)
            return err_errno(err, number, "cannot connect to %s", path);
        if (clock_ms() >= deadline)
            return late(err, "accept a connection");
        clock_sleep(CONNECT_STEP_MS);
    }
    return qmp_from_fd(fd, deadline, out, err);
}
