/*
 * Starting a process that is nobody's child: fork, a session of its own, fork again.
 * What goes wrong up to exec() is told through a pipe that exec() closes; another one
 * says go, or, closed by our death, do not.
 */
#include "vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/compat.h"
#include "base/environment.h"

#define PATH_LIMIT 4096

/* What the new process says: first its number, then, if exec() fails, why. */
struct word {
    pid_t pid;
    int number;
};

/* Everything is made ready before fork(): behind it only what is safe in a signal handler. */
struct launch {
    char program[PATH_LIMIT];
    const struct vm_start *start;
    int log;
    int input;
    int tell;
    int go;      /* its end of the pipe */
    int we_hold; /* ours, which it must not keep open */
};

static int look_for_program(const char *name, char path[PATH_LIMIT], struct chr_error *err)
{
    if (strchr(name, '/') != NULL) {
        (void)snprintf(path, PATH_LIMIT, "%s", name);
        return 0;
    }
    return find_program(name, path, PATH_LIMIT)
               ? 0
               : err_set(err, CHR_E_MISSING, "there is no program %s in PATH", name);
}

/* ---- between fork() and exec() ---- */

/* Where no call closes them all, and the limit is none (-1) or a billion: so many are looked at. */
#define DESCRIPTORS_MAX 65536

static void close_others(int keep)
{
    long limit = sysconf(_SC_OPEN_MAX);

#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3U, (unsigned)keep - 1, 0) == 0 &&
        syscall(SYS_close_range, (unsigned)keep + 1, ~0U, 0) == 0)
        return;
#endif
    if (limit < 0 || limit > DESCRIPTORS_MAX)
        limit = DESCRIPTORS_MAX;
    for (int fd = 3; fd < limit; fd++)
        if (fd != keep)
            (void)close(fd);
}

static void default_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            (void)signal(number, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static __attribute__((noreturn)) void fail(int tell)
{
    struct word word = {.number = errno};
    ssize_t n = write(tell, &word, sizeof word);

    _exit(n == (ssize_t)sizeof word ? 127 : 126);
}

static __attribute__((noreturn)) void become(const struct launch *launch)
{
    struct word word = {.pid = getpid()};
    char go = 0;

    (void)close(launch->we_hold);
    default_signals();
    (void)umask(0177); /* sockets are made by this program, for its owner alone */
    if (write(launch->tell, &word, sizeof word) != (ssize_t)sizeof word ||
        read(launch->go, &go, 1) != 1)
        _exit(126);
    if (chdir(launch->start->folder) < 0 || dup2(launch->input, STDIN_FILENO) < 0 ||
        dup2(launch->log, STDOUT_FILENO) < 0 || dup2(launch->log, STDERR_FILENO) < 0)
        fail(launch->tell);
    close_others(launch->tell);
    (void)execv(launch->program, launch->start->argv);
    fail(launch->tell);
}

/* The child in between: it takes the new session along and leaves. */
static __attribute__((noreturn)) void leave_behind(const struct launch *launch)
{
    pid_t pid;

    if (setsid() < 0)
        fail(launch->tell);
    pid = fork();
    if (pid < 0)
        fail(launch->tell);
    if (pid == 0)
        become(launch);
    _exit(0);
}

/* ---- before and after ---- */

static ssize_t read_word(int fd, struct word *word)
{
    ssize_t n;

    do
        n = read(fd, word, sizeof *word);
    while (n < 0 && errno == EINTR);
    return n;
}

/* The number and start time that exec() is going to keep. */
static int hear_number(int fd, const char *program, struct vm_process *process,
                       struct chr_error *err)
{
    struct word word = {0};
    uint64_t start_time = 0;

    if (read_word(fd, &word) != (ssize_t)sizeof word || word.number != 0)
        return err_errno(err, word.number != 0 ? word.number : EIO, "cannot start %s", program);
    if (!vm_process_start_time(word.pid, &start_time) ||
        !vm_process_find(word.pid, start_time, process))
        return err_set(err, CHR_E_IO, "cannot start %s: its process is gone", program);
    return 0;
}

static int let_go(const struct launch *launch, int hearing, struct vm_process *process,
                  struct chr_error *err)
{
    const struct vm_start *start = launch->start;
    struct word word = {0};

    if (hear_number(hearing, launch->program, process, err) < 0)
        return -1;
    if (start->announce != NULL && start->announce(process, start->context, err) < 0)
        return -1; /* the pipe is closed, and it ends by itself */
    if (write(launch->we_hold, "g", 1) != 1)
        return err_errno(err, errno, "cannot start %s", launch->program);
    if (read_word(hearing, &word) == (ssize_t)sizeof word)
        return err_errno(err, word.number, "cannot start %s", launch->program);
    return 0;
}

static int fork_off(const struct launch *launch, struct chr_error *err)
{
    pid_t pid = fork();

    if (pid == 0)
        leave_behind(launch);
    if (pid < 0)
        return err_errno(err, errno, "cannot make a process for %s", launch->program);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static int start_with_pipes(struct launch *launch, struct vm_process *process,
                            struct chr_error *err)
{
    AUTO_CLOSE int hearing = -1;
    AUTO_CLOSE int holding = -1;
    int tell[2];
    int go[2];
    int result;

    if (pipe_cloexec(tell, false) < 0)
        return err_errno(err, errno, "cannot make a pipe");
    hearing = tell[0];
    if (pipe_cloexec(go, false) < 0) {
        (void)close(tell[1]);
        return err_errno(err, errno, "cannot make a pipe");
    }
    holding = go[1];
    launch->tell = tell[1];
    launch->go = go[0];
    launch->we_hold = go[1];
    result = fork_off(launch, err);
    (void)close(tell[1]); /* now only the new process holds them */
    (void)close(go[0]);
    if (result == 0)
        result = let_go(launch, hearing, process, err);
    if (result < 0)
        vm_process_release(process);
    return result;
}

int vm_process_start(const struct vm_start *start, struct vm_process *process,
                     struct chr_error *err)
{
    AUTO_CLOSE int log =
        open(start->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    AUTO_CLOSE int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct launch launch = {.start = start, .log = log, .input = input};

    *process = VM_NO_PROCESS;
    if (log < 0)
        return err_errno(err, errno, "cannot write %s", start->log);
    if (input < 0)
        return err_errno(err, errno, "cannot open /dev/null");
    if (look_for_program(start->argv[0], launch.program, err) < 0)
        return -1;
    return start_with_pipes(&launch, process, err);
}
