/*
 * A process that outlives `chrimg run` when that is killed (SIGKILL, out of memory), and
 * ends the command and the machine that it would otherwise leave for good.
 */
#ifndef CHRIMG_IMGTOOL_GUARDIAN_H
#define CHRIMG_IMGTOOL_GUARDIAN_H

#include <sys/types.h>

struct guardian {
    pid_t pid; /* -1: there is none */
    /* Of the pipe that tells it; the one to read is open here, too, so that writing never fails. */
    int ends[2];
};

/* Start it, for a machine NAME that is going to be started; before any thread is there. */
struct guardian guardian_begin(const char *name);

/* The process that is to be ended as well; 0: none (any more). */
void guardian_tell(const struct guardian *guardian, pid_t command);

/* All is in order: it is not needed any more. */
void guardian_end(struct guardian *guardian);

#endif
