/* SIGINT, SIGTERM, SIGHUP and SIGQUIT as a descriptor, for commands that must not just end. */
#ifndef CHRIMG_IMGTOOL_INTERRUPT_H
#define CHRIMG_IMGTOOL_INTERRUPT_H

/* From now on these signals make the returned descriptor readable; -1 where it cannot be made. */
int interrupt_begin(void);

/* The first signal that has come, or 0. */
int interrupt_signal(void);

#endif
