/* The guardian reads process numbers from a pipe until that ends, or says that all is in order. */
#include "guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "chrimg.h"

#define IN_ORDER ((pid_t)-1)
/* As long as a command has after a signal that `run` passes on. */
#define PATIENCE_MS 10000
#define STEP_MS 50

static void end_command(pid_t pid)
{
    if (pid <= 0 || kill(pid, SIGTERM) < 0)
        return;
    for (int waited = 0; waited < PATIENCE_MS; waited += STEP_MS) {
        (void)poll(NULL, 0, STEP_MS);
        if (kill(pid, 0) < 0)
            return;
    }
    (void)kill(pid, SIGKILL);
}

/* One of that name which was there before is another one: `run` was about to be refused. */
static void end_machine(const char *name, int64_t begun)
{
    const struct chr_stop_options options = {.now = true, .forget = true};
    struct chr_vm *vm = NULL;
    enum chr_stopped how;
    struct chr_error ignored;

    if (chr_vm_get(name, true, &vm, &ignored) < 0)
        return;
    if (vm->started >= begun)
        (void)chr_vm_stop(name, &options, &how, &ignored);
    chr_vm_free(vm);
}

static void guard(int messages, const char *name, int64_t begun)
{
    pid_t command = 0;
    ssize_t n;

    do {
        pid_t said;

        n = read(messages, &said, sizeof said);
        if (n == (ssize_t)sizeof said)
            command = said;
    } while ((n == (ssize_t)sizeof command && command != IN_ORDER) || (n < 0 && errno == EINTR));
    if (command == IN_ORDER)
        return;
    end_command(command);
    end_machine(name, begun);
}

struct guardian guardian_begin(const char *name)
{
    struct guardian guardian = {.pid = -1, .ends = {-1, -1}};
    int64_t begun = (int64_t)time(NULL);

    if (pipe(guardian.ends) < 0)
        return guardian;
    for (size_t i = 0; i < 2; i++)
        (void)fcntl(guardian.ends[i], F_SETFD, FD_CLOEXEC);
    (void)fflush(stdout);
    guardian.pid = fork();
    if (guardian.pid != 0)
        return guardian;
    /* Neither the terminal nor who signals the group of `run` reaches it. */
    (void)setsid();
    (void)close(guardian.ends[1]);
    guard(guardian.ends[0], name, begun);
    _exit(0);
}

void guardian_tell(const struct guardian *guardian, pid_t command)
{
    ssize_t n = guardian->pid > 0 ? write(guardian->ends[1], &command, sizeof command) : 0;

    (void)n; /* it is no worse than without a guardian */
}

void guardian_end(struct guardian *guardian)
{
    guardian_tell(guardian, IN_ORDER);
    for (size_t i = 0; i < 2; i++)
        if (guardian->ends[i] >= 0)
            (void)close(guardian->ends[i]);
    while (guardian->pid > 0 && waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    guardian->pid = -1;
}
