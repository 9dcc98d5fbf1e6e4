/* Signals that wait for the end of what must not be left half done. */
#ifndef CHRIMG_BASE_SIGNALS_H
#define CHRIMG_BASE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/*
 * From here on SIGINT, SIGTERM and SIGHUP wait, for this thread, for those that it makes
 * and for the programs that it starts meanwhile; a signal that another thread of the
 * process does not hold goes there.  SIGQUIT and SIGKILL end the process as ever.
 * *SAVED is for signals_release().
 */
void signals_hold(sigset_t *saved);

/*
 * As it was before.  A signal that has waited is delivered before this returns: where it
 * is not caught, it does not return.  errno stays.  Pairs may be nested, each with its own SAVED.
 */
void signals_release(const sigset_t *saved);

/* Whether a signal that is held waits, and would do something: for waits that may be cut short. */
bool signals_waiting(void);

#endif
