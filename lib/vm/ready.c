/* The loop around probes, the serial line, QEMU's life and the clock. */
#include "vm/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "vm/clock.h"
#include "vm/knock.h"

#define TICK_MS 100
/* The first request goes when the guest has answered a knock; or, as a firewall may swallow
 * these, after so long.  It is then held, and nobody is called a second time meanwhile. */
#define KNOCK_ONLY_MS 15000
#define KNOCK_ONLY_TCG_MS 45000
/* How soon after its start a request is looked after in QEMU's table. */
#define LOOK_AFTER_MS 80
/* Attempts that nobody took cost the guest one packet; wrong answers cost its server more. */
#define CLOSED_PAUSE_MS 50
#define CLOSED_PAUSE_MAX_MS 200
#define WRONG_PAUSE_MS 500
#define WRONG_PAUSE_MAX_MS 8000
/* Of a 200, the rest is read to its end, but not for longer than this. */
#define BODY_PATIENCE_MS 2000
#define OBSERVE_PATIENCE_MS 1000
#define OBSERVE_EACH_MS 100
#define OBSERVE_PAUSE_MS 3000 /* after QEMU did not answer: another client may be at it */
#define SERIAL_TAIL 65536

unsigned vm_default_timeout(const char *accel)
{
    return strcmp(accel, "tcg") == 0 ? 300 : 90;
}

int64_t vm_probe_patience_ms(const char *accel)
{
    return strcmp(accel, "tcg") == 0 ? 60000 : 10000;
}

void vm_read_tail(const char *path, char *text, size_t size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t start = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t n = end > 0 ? pread(fd, text, size - 1, start) : 0;

    text[n > 0 ? n : 0] = '\0';
    for (ssize_t i = 0; i < n; i++)
        if (text[i] == '\0')
            text[i] = ' ';
}

struct waiting {
    const struct vm_record *record;
    const struct vm_process *process;
    const struct vm_wait *wait;
    struct vm_seen *seen;
    struct vm_probe probe;
    struct vm_knock knock;
    int64_t start;
    int64_t next_probe;
    int64_t next_look;
    int64_t pause;
    bool answered; /* this probe's connection has been taken by the guest */
    regex_t pattern;
    char *serial; /* SERIAL_TAIL bytes, for the pattern */
};

/* ---- probes ---- */

static bool is_probing(const struct waiting *waiting)
{
    return waiting->wait->port != 0 && (waiting->wait->ready == CHR_READY_HTTP ||
                                        waiting->wait->ready == CHR_READY_TCP);
}

static void pause_after(struct waiting *waiting, int64_t first, int64_t most)
{
    waiting->pause = waiting->pause < first ? first : waiting->pause * 2;
    if (waiting->pause > most)
        waiting->pause = most;
    waiting->next_probe = clock_ms() + waiting->pause;
}

/* Take note of how the attempt ended. */
static void end_probe(struct waiting *waiting, enum vm_probe_state state)
{
    if (state == VM_PROBE_WRONG) {
        waiting->seen->wrong++;
        vm_probe_describe(&waiting->probe, waiting->seen->answer, sizeof waiting->seen->answer);
        pause_after(waiting, WRONG_PAUSE_MS, WRONG_PAUSE_MAX_MS);
    } else {
        waiting->seen->closed += state == VM_PROBE_CLOSED;
        /* Taken by the server and closed without a word is a wrong answer, too. */
        pause_after(waiting, waiting->answered ? WRONG_PAUSE_MS : CLOSED_PAUSE_MS,
                    waiting->answered ? WRONG_PAUSE_MAX_MS : CLOSED_PAUSE_MAX_MS);
    }
    vm_probe_stop(&waiting->probe);
}

static void start_probe(struct waiting *waiting)
{
    waiting->answered = false;
    vm_probe_start(&waiting->probe, waiting->wait->address, waiting->wait->port);
    waiting->next_look = clock_ms() + LOOK_AFTER_MS;
}

/* Whether it is time for requests; true from then on. */
static bool may_ask(struct waiting *waiting)
{
    struct vm_knock *knock = &waiting->knock;
    bool tcg = strcmp(waiting->record->accel, "tcg") == 0;
    bool before = knock->answered;

    if (!vm_knock_step(knock))
        return knock->useless || clock_ms() - waiting->start >=
                                     (tcg ? KNOCK_ONLY_TCG_MS : KNOCK_ONLY_MS);
    waiting->seen->up = true;
    /* What was called before the guest was up would be repeated late: this once, anew. */
    if (!before && waiting->probe.state == VM_PROBE_WAITING && !waiting->answered)
        start_probe(waiting);
    return true;
}

/* A probe that the guest's server has taken gets all its time; true when it proves life. */
static bool step_probe(struct waiting *waiting)
{
    struct vm_probe *probe = &waiting->probe;
    int64_t now = clock_ms();
    enum vm_probe_state state;

    if (may_ask(waiting) && probe->state == VM_PROBE_IDLE && now >= waiting->next_probe)
        start_probe(waiting);
    if (probe->state == VM_PROBE_IDLE)
        return false;
    state = vm_probe_advance(probe);
    if (state == VM_PROBE_GOOD)
        return true;
    if (state == VM_PROBE_HEARING && probe->heard != 0 &&
        now - probe->heard > BODY_PATIENCE_MS) {
        bool good = strncmp(probe->head, "HTTP/1.", 7) == 0 &&
                    strncmp(probe->head + 8, " 200", 4) == 0;

        end_probe(waiting, VM_PROBE_WRONG);
        return good;
    }
    if (state != VM_PROBE_WAITING && state != VM_PROBE_HEARING)
        end_probe(waiting, state);
    else if (now - probe->started > waiting->wait->probe_ms)
        end_probe(waiting, VM_PROBE_IDLE);
    return false;
}

/* ---- QEMU's own view ---- */

/* Look at the machine now and then; true when it stopped for good: its accelerator or its disk. */
static bool look(struct waiting *waiting)
{
    struct vm_observation *last = &waiting->seen->last;
    bool calls = waiting->probe.state == VM_PROBE_WAITING;

    if (clock_ms() < waiting->next_look)
        return false;
    vm_observe(waiting->record->qmp_socket, calls ? waiting->wait->port : 0, OBSERVE_PATIENCE_MS,
               last);
    waiting->next_look = clock_ms() + (last->seen ? OBSERVE_EACH_MS : OBSERVE_PAUSE_MS);
    if (!last->seen && clock_ms() - waiting->start < OBSERVE_PAUSE_MS)
        waiting->next_look = clock_ms() + OBSERVE_EACH_MS; /* it is only starting */
    if (last->seen && is_probing(waiting) && waiting->knock.port == 0 && !waiting->knock.useless)
        vm_knock_open(&waiting->knock, waiting->record->qmp_socket);
    if (last->reach == VM_REACH_ANSWERED)
        waiting->answered = waiting->seen->reached = true;
    return strcmp(last->status, "internal-error") == 0 || strcmp(last->status, "io-error") == 0;
}

/* ---- the rest ---- */

static bool serial_matches(const struct waiting *waiting)
{
    vm_read_tail(waiting->record->serial_log, waiting->serial, SERIAL_TAIL);
    return regexec(&waiting->pattern, waiting->serial, 0, NULL, 0) == 0;
}

/* Nothing is waited for but a firmware that runs: what it says proves that its accelerator works. */
static bool has_settled(const struct waiting *waiting)
{
    char serial[8];

    if (!waiting->seen->last.seen || strcmp(waiting->seen->last.status, "running") != 0)
        return false;
    if (clock_ms() - waiting->start >= waiting->wait->settle_ms)
        return true;
    vm_read_tail(waiting->record->serial_log, serial, sizeof serial);
    return serial[0] != '\0';
}

/* A guest that has answered the handshake is there, even if its server lets us speak first. */
static bool is_ready(struct waiting *waiting)
{
    if (waiting->wait->ready == CHR_READY_SERIAL)
        return serial_matches(waiting);
    if (!is_probing(waiting))
        return has_settled(waiting);
    return step_probe(waiting) ||
           (waiting->wait->ready == CHR_READY_TCP && waiting->answered);
}

static void sleep_a_tick(const struct waiting *waiting, int64_t deadline)
{
    struct pollfd fds[] = {
        {.fd = waiting->process->fd, .events = POLLIN},
        {.fd = waiting->wait->cancel_fd, .events = POLLIN},
        {.fd = waiting->probe.fd, .events = vm_probe_events(&waiting->probe)},
        {.fd = waiting->knock.probe.fd, .events = vm_probe_events(&waiting->knock.probe)},
    };
    int64_t tick = TICK_MS;
    int64_t now = clock_ms();

    if (waiting->knock.answered && waiting->probe.state == VM_PROBE_IDLE)
        tick = waiting->next_probe - now;
    else if (waiting->knock.port != 0 && !waiting->knock.answered)
        tick = waiting->knock.next - now;
    if (waiting->next_look - now < tick)
        tick = waiting->next_look - now;
    tick = tick < 1 ? 1 : tick > TICK_MS ? TICK_MS : tick;
    (void)poll(fds, sizeof fds / sizeof fds[0], clock_left(deadline, tick));
}

static bool is_cancelled(const struct vm_wait *wait)
{
    struct pollfd poll_fd = {.fd = wait->cancel_fd, .events = POLLIN};

    return wait->cancel_fd >= 0 && poll(&poll_fd, 1, 0) > 0;
}

static enum vm_outcome wait_loop(struct waiting *waiting)
{
    const struct vm_wait *wait = waiting->wait;
    int64_t deadline = waiting->start + wait->timeout_ms;

    for (;;) {
        if (is_cancelled(wait))
            return VM_CANCELLED;
        if (is_ready(waiting))
            return VM_READY;
        if (!vm_process_is_alive(waiting->process))
            return VM_DIED;
        if (look(waiting))
            return strcmp(waiting->seen->last.status, "io-error") == 0 ? VM_IO_ERROR : VM_STUCK;
        if (clock_ms() >= deadline)
            return VM_TIMEOUT;
        if (wait->progress != NULL)
            wait->progress(clock_ms() - waiting->start, wait->timeout_ms, wait->context);
        sleep_a_tick(waiting, deadline);
    }
}

static int compile_pattern(struct waiting *waiting, struct chr_error *err)
{
    const struct vm_wait *wait = waiting->wait;
    int number;

    if (wait->ready != CHR_READY_SERIAL)
        return 0;
    number = regcomp(&waiting->pattern, wait->pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE);
    if (number != 0) {
        char why[128];

        (void)regerror(number, &waiting->pattern, why, sizeof why);
        return err_set(err, CHR_E_USAGE, "%s is no regular expression: %s", wait->pattern, why);
    }
    waiting->serial = mem_new(1, SERIAL_TAIL, err);
    return waiting->serial != NULL ? 0 : -1;
}

int vm_wait_ready(const struct vm_record *record, const struct vm_process *process,
                  const struct vm_wait *wait, enum vm_outcome *outcome, struct vm_seen *seen,
                  struct chr_error *err)
{
    struct waiting *waiting = mem_new(1, sizeof *waiting, err);
    int result = waiting != NULL ? 0 : -1;

    *seen = (struct vm_seen){0};
    if (waiting == NULL)
        return -1;
    *waiting = (struct waiting){
        .record = record, .process = process, .wait = wait, .seen = seen, .start = clock_ms()};
    vm_probe_init(&waiting->probe, wait->ready == CHR_READY_HTTP);
    vm_knock_init(&waiting->knock);
    result = compile_pattern(waiting, err);
    if (result == 0)
        *outcome = wait_loop(waiting);
    vm_probe_stop(&waiting->probe);
    vm_knock_close(&waiting->knock, record->qmp_socket);
    if (result == 0 && wait->ready == CHR_READY_SERIAL)
        regfree(&waiting->pattern);
    free(waiting->serial);
    free(waiting);
    return result;
}
