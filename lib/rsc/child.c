/* Running a program whose output is a secret. */
#include "rsc/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/compat.h"
#include "base/signals.h"
#include "base/spawn.h"

#define COMPLAINT_SIZE 400 /* of standard error, what is kept */
#define POLL_MS 50
#define END_POLL_MS 2 /* of a program that has closed both pipes: it ends at once, mostly */

struct child {
    const char *name;
    pid_t pid;
    int output;    /* -1 when it has ended */
    int complaint; /* likewise: standard error */
    char text[COMPLAINT_SIZE];
    size_t length;
};

static int start(struct child *child, char *const argv[], struct chr_error *err)
{
    int output[2];
    int complaint[2];
    int number;

    if (pipe_cloexec(output, false) < 0)
        return err_errno(err, errno, "cannot make a pipe for %s", child->name);
    if (pipe_cloexec(complaint, false) < 0) {
        number = errno;
        (void)close(output[0]);
        (void)close(output[1]);
        return err_errno(err, number, "cannot make a pipe for %s", child->name);
    }
    number = spawn_program(argv, output[1], complaint[1], &child->pid);
    (void)close(output[1]);
    (void)close(complaint[1]);
    child->output = output[0];
    child->complaint = complaint[0];
    (void)fcntl(child->output, F_SETFL, O_NONBLOCK);
    (void)fcntl(child->complaint, F_SETFL, O_NONBLOCK);
    return number == 0 ? 0 : err_errno(err, number, "cannot start %s", child->name);
}

static void close_one(int *fd)
{
    (void)close(*fd);
    *fd = -1;
}

/* Take what is there; the beginning is kept, where the reason usually is. */
static void read_complaint(struct child *child)
{
    char waste[512];

    while (child->complaint >= 0) {
        bool full = child->length + 1 >= sizeof child->text;
        ssize_t n = read(child->complaint, full ? waste : child->text + child->length,
                         full ? sizeof waste : sizeof child->text - 1 - child->length);

        if (n > 0)
            child->length += full ? 0 : (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_one(&child->complaint);
        else if (errno == EAGAIN)
            break;
    }
    explicit_bzero(waste, sizeof waste);
}

static int read_output(struct child *child, size_t limit, struct secret *out, size_t begin,
                       struct chr_error *err)
{
    while (child->output >= 0) {
        ssize_t n;

        if (secret_reserve(out, out->len + 1, err) < 0)
            return -1;
        n = read(child->output, out->data + out->len, out->capacity - out->len);
        if (n > 0)
            out->len += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_one(&child->output);
        else if (errno == EAGAIN)
            break;
        if (out->len - begin > limit)
            return err_set(err, CHR_E_REFUSED, "%s prints more than %zu KiB", child->name,
                           limit >> 10);
    }
    return 0;
}

/* *ENDED once the program has; its exit status then. */
static int look_for_end(const struct child *child, int options, bool *ended, int *status,
                        struct chr_error *err)
{
    int raw_status = 0;
    pid_t pid;

    do {
        pid = waitpid(child->pid, &raw_status, options);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0)
        return err_errno(err, errno, "cannot wait for %s", child->name);
    *ended = pid == child->pid;
    if (*ended)
        *status = WIFEXITED(raw_status) ? WEXITSTATUS(raw_status) : 128 + WTERMSIG(raw_status);
    return 0;
}

/* Nobody is left to read what it would print: a password manager must not go on asking. */
static void end_program(const struct child *child)
{
    struct chr_error ignored;
    bool ended;
    int status;

    (void)kill(child->pid, SIGKILL);
    (void)look_for_end(child, 0, &ended, &status, &ignored);
}

/*
 * Both pipes until the program has ended.  That they are closed is not waited for: a
 * program may leave a server of its own behind that holds them.
 */
static int listen_to(struct child *child, size_t limit, struct secret *out, int *status,
                     struct chr_error *err)
{
    size_t begin = out->len;
    bool ended = false;

    while (!signals_waiting()) {
        struct pollfd fds[2] = {{.fd = child->output, .events = POLLIN},
                                {.fd = child->complaint, .events = POLLIN}};
        bool open = child->output >= 0 || child->complaint >= 0;

        (void)poll(fds, 2, open ? POLL_MS : END_POLL_MS);
        if (look_for_end(child, WNOHANG, &ended, status, err) < 0)
            return -1;
        read_complaint(child);
        if (read_output(child, limit, out, begin, err) < 0) {
            if (!ended)
                end_program(child);
            return -1;
        }
        if (ended)
            return 0;
    }
    end_program(child);
    return err_set(err, CHR_E_CANCELLED, "interrupted while %s ran", child->name);
}

/* One line of what it said, and only text: it goes into a message. */
static const char *complaint_of(struct child *child)
{
    while (child->length > 0 && strchr("\n\r ", child->text[child->length - 1]) != NULL)
        child->length--;
    child->text[child->length] = '\0';
    for (size_t i = 0; i < child->length; i++)
        if (child->text[i] == '\n' || child->text[i] == '\0')
            child->text[i] = ' ';
    return child->text;
}

/* A program that had the value may have said it there, too: a shell does, with set -x. */
static int fail(struct child *child, int status, bool printed, struct chr_error *err)
{
    const char *complaint = complaint_of(child);

    if (complaint[0] == '\0')
        return err_set(err, CHR_E_REFUSED, "%s failed with exit status %d", child->name, status);
    if (!printed)
        return err_set(err, CHR_E_REFUSED, "%s failed with exit status %d: %s", child->name,
                       status, complaint);
    (void)err_set(err, CHR_E_REFUSED, "%s printed something and then failed with exit status %d; "
                  "its messages may hold the value and are not shown", child->name, status);
    return err_hint(err, "run it by hand to see them");
}

int rsc_capture(char *const argv[], size_t limit, struct secret *out, struct chr_error *err)
{
    struct child child = {.name = argv[0], .output = -1, .complaint = -1};
    size_t begin = out->len;
    int status = 0;
    int result = start(&child, argv, err);
    sigset_t saved;

    if (result == 0) {
        signals_hold(&saved); /* not before: the program is to hear them */
        result = listen_to(&child, limit, out, &status, err);
        signals_release(&saved);
    }
    if (child.output >= 0)
        close_one(&child.output);
    if (child.complaint >= 0)
        close_one(&child.complaint);
    if (result == 0 && status != 0)
        result = fail(&child, status, out->len > begin, err);
    explicit_bzero(&child, sizeof child);
    return result;
}
