/* pthread_sigmask(): a library does not know whether there are other threads. */
#include "base/signals.h"

#include <errno.h>
#include <stddef.h>

static const int held[] = {SIGINT, SIGTERM, SIGHUP};
#define HELD_COUNT (sizeof held / sizeof held[0])

void signals_hold(sigset_t *saved)
{
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < HELD_COUNT; i++)
        (void)sigaddset(&set, held[i]);
    (void)pthread_sigmask(SIG_BLOCK, &set, saved);
}

void signals_release(const sigset_t *saved)
{
    int number = errno;

    (void)pthread_sigmask(SIG_SETMASK, saved, NULL);
    errno = number;
}

/* One that is blocked waits on Linux even if it is ignored, as SIGHUP is under nohup. */
static bool is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_IGN;
}

bool signals_waiting(void)
{
    sigset_t pending;

    if (sigpending(&pending) < 0)
        return false;
    for (size_t i = 0; i < HELD_COUNT; i++)
        if (sigismember(&pending, held[i]) == 1 && !is_ignored(held[i]))
            return true;
    return false;
}
