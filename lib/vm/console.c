/* Terminal to serial line and back. */
#include "vm/console.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include "base/compat.h"
#include "vm/clock.h"
#include "vm/observe.h"

#define BUFFER_SIZE 4096
#define CTRL_A '\x01'
#define CTRL_BRACKET '\x1d'
#define WRITE_PATIENCE_MS 10000
/* QEMU takes one client and lets others wait; whether it took us cannot be heard.  So
 * that nobody types at nothing, consoles lock a file beside the socket. */
#define LOCK_ENDING ".lock"
/* How often QEMU is asked whether the guest runs; keys wait for its answer, so not for long. */
#define LOOK_EACH_MS 500
#define LOOK_PATIENCE_MS 200
#define LOOK_PAUSE_MS 3000 /* after it did not answer: another client may be at it */

/* ---- the terminal ---- */

struct terminal {
    int fd;
    bool raw;
    struct termios saved;
};

static int terminal_take(struct terminal *terminal, int input, struct chr_error *err)
{
    struct termios raw;

    *terminal = (struct terminal){.fd = input};
    if (isatty(input) == 0)
        return 0;
    if (tcgetattr(input, &terminal->saved) < 0)
        return err_errno(err, errno, "cannot read the terminal's settings");
    raw = terminal->saved;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST; /* messages of ours go to the same terminal; CR LF is left alone */
    if (tcsetattr(input, TCSANOW, &raw) < 0)
        return err_errno(err, errno, "cannot set the terminal");
    terminal->raw = true;
    return 0;
}

/*
 * What firmware and routers switch and leave so: no wrapping (SeaBIOS), application cursor
 * keys, a hidden cursor, colours, bracketed paste; back as a shell expects it (xterm's ctlseqs).
 */
static const char usual_modes[] = "\x1b[?7h\x1b[?1l\x1b[?25h\x1b[0m\x1b[?2004l";

static void terminal_restore(struct terminal *terminal, int output)
{
    ssize_t n;

    if (terminal->raw && isatty(output) != 0) {
        n = write(output, usual_modes, sizeof usual_modes - 1);
        (void)n; /* a terminal that is gone needs no mode */
    }
    if (terminal->raw)
        (void)tcsetattr(terminal->fd, TCSADRAIN, &terminal->saved);
}

/* ---- the line ---- */

static int write_all(int fd, const char *bytes, size_t length)
{
    int64_t deadline = clock_ms() + WRITE_PATIENCE_MS;

    while (length > 0) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
        ssize_t n;

        if (poll(&poll_fd, 1, clock_left(deadline, WRITE_PATIENCE_MS)) == 0)
            return -1;
        n = write(fd, bytes, length);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -1;
        bytes += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int connect_line(const char *path, struct chr_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = socket_cloexec(AF_UNIX, SOCK_STREAM, false);
    int connected;

    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, CHR_E_USAGE, "%s is too long for a socket's name", path);
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return err_errno(err, errno, "cannot connect to the serial line %s", path);
    connected = fd;
    fd = -1;
    return connected;
}

static int lock_line(const char *path, struct chr_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[1100];
    int fd;

    (void)snprintf(name, sizeof name, "%s" LOCK_ENDING, path);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot write %s", name);
    if (fcntl(fd, F_SETLK, &lock) == 0)
        return fd;
    (void)fcntl(fd, F_GETLK, &lock);
    (void)close(fd);
    return err_set(err, CHR_E_BUSY, "another console is attached to it (process %ld)",
                   (long)lock.l_pid);
}

/* ---- keys ---- */

struct keys {
    enum vm_console_keys kind;
    bool terminal; /* else nothing is a command */
    bool escaped;  /* Ctrl-A came last */
};

static const char help[] = "\r\n"
                           "Ctrl-A H       this\r\n"
                           "Ctrl-A X       end the machine at once\r\n"
                           "Ctrl-A Ctrl-A  send Ctrl-A\r\n";

/* Take commands out of the LENGTH bytes of TEXT; true when one ends the console. */
static bool take_keys(struct keys *keys, char *text, size_t *length, int output,
                      enum vm_console_end *end)
{
    size_t kept = 0;

    for (size_t i = 0; i < *length; i++) {
        char c = text[i];

        if (keys->kind == VM_KEYS_DETACH && c == CTRL_BRACKET) {
            *end = VM_CONSOLE_DETACHED;
            *length = kept;
            return true;
        }
        if (keys->kind == VM_KEYS_QEMU && !keys->escaped && c == CTRL_A) {
            keys->escaped = true;
            continue;
        }
        if (keys->escaped && tolower((unsigned char)c) == 'x') {
            *end = VM_CONSOLE_QUIT;
            *length = kept;
            return true;
        }
        if (keys->escaped && (tolower((unsigned char)c) == 'h' || c == '?'))
            (void)write_all(output, help, sizeof help - 1);
        else if (!keys->escaped || c == CTRL_A)
            text[kept++] = c;
        keys->escaped = false;
    }
    *length = kept;
    return false;
}

/* ---- the loop ---- */

struct console {
    int line;
    int input;
    int output;
    int gone;   /* pidfd, or -1 */
    int cancel; /* or -1 */
    const char *qmp_socket; /* or NULL */
    int64_t next_look;
    struct keys keys;
    bool input_ended;
};

/* Each returns whether the console is over. */
static bool from_line(struct console *console, enum vm_console_end *end)
{
    char text[BUFFER_SIZE];
    ssize_t n = read(console->line, text, sizeof text);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    *end = VM_CONSOLE_CLOSED;
    if (n <= 0)
        return true;
    *end = VM_CONSOLE_DETACHED; /* nobody reads any more */
    return write_all(console->output, text, (size_t)n) < 0;
}

static bool from_input(struct console *console, enum vm_console_end *end)
{
    char text[BUFFER_SIZE];
    ssize_t n = read(console->input, text, sizeof text);
    size_t length;
    bool over;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (n <= 0) {
        console->input_ended = true;
        *end = VM_CONSOLE_INPUT_END;
        return console->keys.kind == VM_KEYS_DETACH;
    }
    length = (size_t)n;
    over = console->keys.terminal &&
           take_keys(&console->keys, text, &length, console->output, end);
    if (write_all(console->line, text, length) < 0 && !over) {
        *end = VM_CONSOLE_CLOSED;
        return true;
    }
    return over;
}

static bool is_stuck(struct console *console)
{
    struct vm_observation seen;

    if (console->qmp_socket == NULL || clock_ms() < console->next_look)
        return false;
    vm_observe(console->qmp_socket, 0, LOOK_PATIENCE_MS, &seen);
    console->next_look = clock_ms() + (seen.seen ? LOOK_EACH_MS : LOOK_PAUSE_MS);
    return seen.seen && strcmp(seen.status, "internal-error") == 0;
}

static int join_ends(struct console *console, enum vm_console_end *end, struct chr_error *err)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = console->cancel, .events = POLLIN},
            {.fd = console->line, .events = POLLIN},
            {.fd = console->input_ended ? -1 : console->input, .events = POLLIN},
            {.fd = console->gone, .events = POLLIN},
        };
        int patience = console->qmp_socket != NULL ? clock_left(console->next_look, LOOK_PAUSE_MS)
                                                   : -1;

        if (poll(fds, sizeof fds / sizeof fds[0], patience) < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot wait for the serial line");
        if (fds[0].revents != 0) {
            *end = VM_CONSOLE_CANCELLED;
            return 0;
        }
        if (fds[1].revents != 0 && from_line(console, end))
            return 0;
        if (fds[1].revents == 0 && fds[3].revents != 0) { /* and all it said has been read */
            *end = VM_CONSOLE_CLOSED;
            return 0;
        }
        if (fds[2].revents != 0 && from_input(console, end))
            return 0;
        if (is_stuck(console)) {
            *end = VM_CONSOLE_STUCK;
            return 0;
        }
    }
}

/* Up to where the log is now: what comes later comes by the line as well. */
static void show_log(const char *log, int output)
{
    AUTO_CLOSE int fd = open(log, O_RDONLY | O_CLOEXEC);
    off_t left = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    char text[BUFFER_SIZE];

    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return;
    while (left > 0) {
        ssize_t n = read(fd, text, left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE);

        if (n <= 0 || write_all(output, text, (size_t)n) < 0)
            return;
        left -= n;
    }
}

int vm_console(const struct vm_line *line, enum vm_console_keys keys, int input, int output,
               int cancel_fd, enum vm_console_end *end, struct chr_error *err)
{
    AUTO_CLOSE int lock = lock_line(line->socket, err);
    AUTO_CLOSE int connection = lock >= 0 ? connect_line(line->socket, err) : -1;
    struct console console = {
        .line = connection,
        .input = input,
        .output = output,
        .gone = line->process->fd,
        .cancel = cancel_fd,
        .qmp_socket = line->qmp_socket,
        .keys = {.kind = keys, .terminal = isatty(input) != 0},
    };
    struct terminal terminal;
    int result;

    if (connection < 0)
        return -1;
    if (line->attached != NULL)
        line->attached(line->name, line->context);
    result = terminal_take(&terminal, input, err);
    if (result == 0 && line->log != NULL)
        show_log(line->log, output);
    if (result == 0)
        result = join_ends(&console, end, err);
    terminal_restore(&terminal, output);
    return result;
}
