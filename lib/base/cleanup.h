/*
 * One owner, one release: a variable marked with one of these is released
 * when it goes out of scope, unless it was handed over with STEAL().
 */
#ifndef CHRIMG_BASE_CLEANUP_H
#define CHRIMG_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* The value of the pointer variable P, which is NULL afterwards. */
#define STEAL(p) __extension__({ __typeof__(p) stolen_ = (p); (p) = NULL; stolen_; })

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define AUTO_FREE CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)

#endif
