/* Signals into a pipe. */
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static int ends[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    ssize_t n;

    if (caught == 0)
        caught = number;
    n = write(ends[1], "s", 1);
    (void)n; /* full is readable, too */
    errno = saved;
}

/* pipe2() is not everywhere; there is one thread yet. */
static int make_pipe(void)
{
    if (pipe(ends) < 0)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

int interrupt_begin(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (ends[0] >= 0 || make_pipe() < 0)
        return ends[0];
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction old;

        /* What was ignored for us (nohup) stays so. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
    return ends[0];
}

int interrupt_signal(void)
{
    return caught;
}
