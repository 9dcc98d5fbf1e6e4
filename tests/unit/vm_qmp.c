/* The QMP client against servers of every kind: honest, silent, talkative, mad. */
#include "vm/qmp.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "unit.h"
#include "vm/clock.h"
#include "vm/observe.h"
#include "vm/qmp_parser.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define OK_1 "{\"return\": {}, \"id\": 1}\r\n"
/* Deadlines of tests that must run into them, and what may pass until then on a busy machine. */
#define SHORT_MS 300
#define LATE_MS 20000
#define MEMORY_MAX_KIB (64L << 10)

/* ---- the fake server ---- */

struct server {
    int fd;
    const char *text;   /* said at once */
    size_t length;
    size_t repeat;      /* how often; 1 = once */
    int step_ms;        /* between repetitions */
    bool hold;          /* keep the connection until the client closes it */
    pthread_t thread;
};

static void *serve(void *server_)
{
    struct server *server = server_;
    char waste[4096];

    for (size_t i = 0; i < server->repeat; i++) {
        if (send(server->fd, server->text, server->length, MSG_NOSIGNAL) < 0)
            break;
        if (server->step_ms > 0)
            clock_sleep(server->step_ms);
    }
    while (server->hold && recv(server->fd, waste, sizeof waste, 0) > 0)
        ;
    (void)close(server->fd);
    return NULL;
}

/* Begin to serve; returns the client's end. */
static int serve_text(struct server *server, const char *text, size_t repeat, bool hold)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    *server = (struct server){.fd = ends[1], .text = text, .length = strlen(text),
                              .repeat = repeat, .hold = hold};
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    return ends[0];
}

static void join(struct server *server)
{
    assert_int_equal(pthread_join(server->thread, NULL), 0);
}

/* Connecting fails with CODE and TEXT, within time and memory. */
static void refuses(const char *said, size_t repeat, bool hold, enum chr_code code,
                    const char *text)
{
    struct rusage usage;
    struct server server;
    struct chr_error err;
    struct qmp *qmp = NULL;
    int64_t start = clock_ms();
    int fd = serve_text(&server, said, repeat, hold);

    assert_refused(qmp_from_fd(fd, clock_ms() + SHORT_MS, &qmp, &err), &err, code, text);
    assert_null(qmp);
    assert_true(clock_ms() - start < LATE_MS);
    join(&server);
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    /* 100 MB were said; sanitizers keep what is freed for a while. */
    assert_true(usage.ru_maxrss < MEMORY_MAX_KIB);
}

/* ---- connecting ---- */

static void greets(void **state)
{
    struct server server;
    struct chr_error err;
    struct qmp *qmp = NULL;
    int fd = serve_text(&server, GREETING OK_1, 1, true);

    (void)state;
    assert_done(qmp_from_fd(fd, clock_ms() + LATE_MS, &qmp, &err), &err);
    qmp_close(qmp);
    join(&server);
}

static void silence(void **state)
{
    (void)state;
    refuses("", 1, true, CHR_E_BUSY, "did not greet");
}

static void half_a_line(void **state)
{
    (void)state;
    refuses("{\"QMP\": {\"vers", 1, true, CHR_E_BUSY, "did not greet");
}

static void half_a_line_and_end(void **state)
{
    (void)state;
    refuses("{\"QMP\": {\"vers", 1, false, CHR_E_IO, "closed");
}

static void no_answer(void **state)
{
    (void)state;
    refuses(GREETING, 1, true, CHR_E_BUSY, "did not answer");
}

static void garbage(void **state)
{
    static const char *const lines[] = {
        "220 mail.example ESMTP\r\n", "SSH-2.0-OpenSSH\r\n", "[]\n", "42\n", "\"text\"\n",
        "{}\n", "{\"QMP\": 3}\n", "{\"return\": {}}\n", "{\"event\": 5}\n", "{\"error\": {}}\n",
        "\x01\x02\xff\xfe\n", "{\"QMP\": {}\n", "{\"QMP\": {\"a\": \"\xc3\x28\"}}\n",
        "{\"error\": {\"class\": \"x\", \"desc\": \"y\"}, \"id\": 1}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        refuses(lines[i], 1, true, CHR_E_IO, "no QMP");
}

static void deep_nesting(void **state)
{
    size_t depth = 900000;
    char *text = malloc(depth + 2);

    (void)state;
    assert_non_null(text);
    memset(text, '[', depth);
    memcpy(text + depth, "\n", 2);
    refuses(text, 1, true, CHR_E_IO, "no QMP");
    free(text);
}

static void hundred_megabytes(void **state)
{
    size_t chunk = (size_t)1 << 20;
    char *text = malloc(chunk + 1);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', chunk);
    text[chunk] = '\0';
    refuses(text, 100, false, CHR_E_IO, "more than 1 MiB");
    memset(text, ' ', chunk); /* blank, but no end either */
    refuses(text, 100, false, CHR_E_IO, "more than 1 MiB");
    free(text);
}

/* Valid all the time, and never an answer: the deadline counts for all of it together. */
static void endless_events(void **state)
{
    (void)state;
    refuses(GREETING, 1000000, false, CHR_E_IO, "what was not asked");
    refuses("{\"event\": \"RTC_CHANGE\", \"data\": {}}\r\n", SIZE_MAX, false, CHR_E_IO,
            "does not greet");
}

static void events_past_the_deadline(void **state)
{
    static const char event[] = "{\"event\": \"RTC_CHANGE\"}\r\n";
    struct server server = {.text = event, .length = sizeof event - 1, .repeat = SIZE_MAX};
    struct chr_error err;
    struct qmp *qmp = NULL;
    int64_t start = clock_ms();
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server.fd = ends[1];
    assert_int_equal(send(ends[1], GREETING OK_1, sizeof GREETING OK_1 - 1, MSG_NOSIGNAL),
                     sizeof GREETING OK_1 - 1);
    assert_done(qmp_from_fd(ends[0], clock_ms() + LATE_MS, &qmp, &err), &err);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, &server), 0);
    assert_refused(qmp_command(qmp, "stop", NULL, clock_ms() + SHORT_MS, NULL, &err), &err,
                   CHR_E_BUSY, "stop");
    assert_true(clock_ms() - start < LATE_MS);
    assert_refused(qmp_command(qmp, "cont", NULL, clock_ms() + LATE_MS, NULL, &err), &err,
                   CHR_E_IO, "broken");
    qmp_close(qmp);
    join(&server);
}

/* ---- commands ---- */

struct heard {
    int count;
    char name[32];
};

static void hear_event(const char *name, const json_t *data, void *heard_)
{
    struct heard *heard = heard_;

    (void)data;
    heard->count++;
    (void)snprintf(heard->name, sizeof heard->name, "%s", name);
}

static void answers_and_events(void **state)
{
    static const char said[] = GREETING OK_1
        "{\"event\": \"STOP\", \"data\": {\"a\": 1}}\r\n{\"return\": {\"status\": \"paused\"}, \"id\": 2}\r\n"
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"No such thing\"}, \"id\": 3}\r\n"
        "{\"return\": \"text\\r\\n\", \"id\": 4}\r\n"
        "{\"return\": {}, \"id\": 99}\r\n";
    struct heard heard = {0};
    struct server server;
    struct chr_error err;
    struct qmp *qmp = NULL;
    json_t *result = NULL;
    char *text = NULL;
    int64_t deadline = clock_ms() + LATE_MS;

    (void)state;
    assert_done(qmp_from_fd(serve_text(&server, said, 1, true), deadline, &qmp, &err), &err);
    qmp_on_event(qmp, hear_event, &heard);
    assert_done(qmp_command(qmp, "query-status", NULL, deadline, &result, &err), &err);
    assert_string_equal(json_string_value(json_object_get(result, "status")), "paused");
    json_decref(result);
    assert_int_equal(heard.count, 1);
    assert_string_equal(heard.name, "STOP");
    assert_refused(qmp_command(qmp, "wrong", json_object(), deadline, NULL, &err), &err,
                   CHR_E_REFUSED, "No such thing");
    assert_done(qmp_human(qmp, "info usernet", deadline, &text, &err), &err);
    assert_string_equal(text, "text\r\n");
    free(text);
    /* An answer to something else: nothing can be trusted from here on. */
    assert_refused(qmp_command(qmp, "stop", NULL, deadline, NULL, &err), &err, CHR_E_IO,
                   "not asked");
    assert_refused(qmp_command(qmp, "stop", NULL, deadline, NULL, &err), &err, CHR_E_IO,
                   "broken");
    qmp_close(qmp);
    join(&server);
}

/* What a client has asked that was interrupted, QEMU answers to the next one. */
static void answers_to_another(void **state)
{
    static const char said[] = GREETING
        "{\"return\": {}, \"id\": 4}\r\n{\"error\": {\"class\": \"x\", \"desc\": \"y\"}, \"id\": 9}\r\n" OK_1
        OK_1 "{\"return\": 2, \"id\": 2}\r\n";
    struct server server;
    struct chr_error err;
    struct qmp *qmp = NULL;
    json_t *result = NULL;
    int64_t deadline = clock_ms() + LATE_MS;

    (void)state;
    assert_done(qmp_from_fd(serve_text(&server, said, 1, true), deadline, &qmp, &err), &err);
    assert_done(qmp_command(qmp, "query-status", NULL, deadline, &result, &err), &err);
    assert_int_equal(json_integer_value(result), 2);
    json_decref(result);
    qmp_close(qmp);
    join(&server);
}

static void nobody_listens(void **state)
{
    struct chr_error err;
    struct qmp *qmp = NULL;
    char name[300];

    (void)state;
    assert_refused(qmp_connect("none.sock", clock_ms() + LATE_MS, &qmp, &err), &err, CHR_E_MISSING,
                   "none.sock");
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_refused(qmp_connect(name, clock_ms() + LATE_MS, &qmp, &err), &err, CHR_E_USAGE,
                   "too long");
}

/* A server whose one client is somebody else: nothing is said to us. */
static void somebody_else_is_served(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "busy.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct chr_error err;
    struct qmp *first = NULL;

    (void)state;
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_refused(qmp_connect("busy.sock", clock_ms() + SHORT_MS, &first, &err), &err, CHR_E_BUSY,
                   "did not greet");
    assert_non_null(strstr(err.hint, "is it stopped"));
    (void)close(fd);
}

/* ---- the parser alone: bytes one by one are the same as all at once ---- */

static void any_split(void **state)
{
    static const char bytes[] = GREETING "\r\n" OK_1 "{\"event\": \"RESET\"}\n";
    static const enum qmp_kind wanted[] = {QMP_GREETING, QMP_RETURN, QMP_EVENT};

    (void)state;
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct qmp_parser parser = {0};
        size_t found = 0;

        for (size_t at = 0; at < sizeof bytes - 1;) {
            struct qmp_message message = {0};
            struct chr_error err;
            size_t left = sizeof bytes - 1 - at;
            size_t consumed = 0;
            int result = qmp_parser_feed(&parser, bytes + at, left < step ? left : step,
                                         &consumed, &message, &err);

            assert_true(result >= 0 && consumed > 0);
            at += consumed;
            if (result == 1) {
                assert_true(found < 3);
                assert_int_equal(message.kind, wanted[found++]);
                qmp_message_release(&message);
            }
        }
        assert_int_equal(found, 3);
        qmp_parser_release(&parser);
    }
}

static void longest_line(void **state)
{
    struct qmp_parser parser = {0};
    struct qmp_message message = {0};
    struct chr_error err;
    size_t consumed = 0;
    char *text = malloc(QMP_LINE_MAX + 1);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', QMP_LINE_MAX);
    memcpy(text, "{\"event\": \"E\"}", 14);
    text[QMP_LINE_MAX - 1] = '\n';
    assert_int_equal(qmp_parser_feed(&parser, text, QMP_LINE_MAX, &consumed, &message, &err), 1);
    assert_int_equal(consumed, QMP_LINE_MAX);
    qmp_message_release(&message);
    text[QMP_LINE_MAX - 1] = ' ';
    text[QMP_LINE_MAX] = '\n';
    assert_refused(qmp_parser_feed(&parser, text, QMP_LINE_MAX + 1, &consumed, &message, &err),
                   &err, CHR_E_IO, "1 MiB");
    qmp_parser_release(&parser);
    free(text);
}

/* ---- info usernet ---- */

static void usernet(void **state)
{
    static const char forward[] =
        "Hub -1 (net0):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]  11       127.0.0.1  9180       10.0.2.15    80     0     0\r\n"
        "  UDP[236 sec]       14       10.0.2.15    68        10.0.2.2    67     0     0\r\n";
    char text[1024];

    (void)state;
    assert_int_equal(vm_usernet_reach("", 9180), VM_REACH_UNKNOWN);
    assert_int_equal(vm_usernet_reach(forward, 9180), VM_REACH_NONE);
    assert_int_equal(vm_usernet_reach(forward, 9181), VM_REACH_UNKNOWN);
    (void)snprintf(text, sizeof text, "%s  TCP[SYN_SENT]  15  127.0.0.1  9180  10.0.2.15  80  0  0\r\n",
                   forward);
    assert_int_equal(vm_usernet_reach(text, 9180), VM_REACH_CALLING);
    (void)snprintf(text, sizeof text, "%s  TCP[ESTABLISHED]  15  127.0.0.1  9180  10.0.2.15  80  0  0\r\n"
                   "  TCP[SYN_SENT]  16  127.0.0.1  9180  10.0.2.15  80  0  0\r\n", forward);
    assert_int_equal(vm_usernet_reach(text, 9180), VM_REACH_ANSWERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greets),
        cmocka_unit_test(silence),
        cmocka_unit_test(half_a_line),
        cmocka_unit_test(half_a_line_and_end),
        cmocka_unit_test(no_answer),
        cmocka_unit_test(garbage),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(hundred_megabytes),
        cmocka_unit_test(endless_events),
        cmocka_unit_test(events_past_the_deadline),
        cmocka_unit_test(answers_and_events), cmocka_unit_test(answers_to_another),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(somebody_else_is_served),
        cmocka_unit_test(any_split),
        cmocka_unit_test(longest_line),
        cmocka_unit_test(usernet),
    };

    return cmocka_run_group_tests(tests, enter_work_folder, leave_work_folder);
}
