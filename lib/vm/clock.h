/* Deadlines: milliseconds of a clock that nobody sets (CLOCK_MONOTONIC). */
#ifndef CHRIMG_VM_CLOCK_H
#define CHRIMG_VM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What poll() is to wait until DEADLINE, at most LIMIT ms; 0 when it is over. */
static inline int clock_left(int64_t deadline, int64_t limit)
{
    int64_t left = deadline - clock_ms();

    return (int)(left < 0 ? 0 : left > limit ? limit : left);
}

static inline void clock_sleep(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&time, NULL);
}

#endif
