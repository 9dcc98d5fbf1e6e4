/*
 * Work on a stream of jobs by several threads, with the results in the order of the
 * jobs: what comes out does not depend on the number of threads.
 */
#ifndef CHRIMG_QCOW2_PIPELINE_H
#define CHRIMG_QCOW2_PIPELINE_H

#include "base/error.h"

struct pipeline;

/*
 * What a thread does with a job; WORKER is the thread's own state.  Failing is the
 * job's result: pipeline_collect() returns it.
 */
typedef int pipeline_fn(void *worker, void *job, struct chr_error *err);

/*
 * THREADS threads, thread i with the state WORKERS[i]; JOBS[0] to JOBS[SLOTS - 1] are
 * used in turn.  All borrowed.
 */
int pipeline_new(unsigned threads, void *const *workers, unsigned slots, void *const *jobs,
                 pipeline_fn *fn, struct pipeline **out, struct chr_error *err);

/* Stops the threads; NULL is fine.  Jobs under way are finished, the rest is dropped. */
void pipeline_free(struct pipeline *pipeline);

/* The job to fill next, or NULL when all are under way: collect one first. */
void *pipeline_next(struct pipeline *pipeline);

/* Hand the job that pipeline_next() gave to the threads. */
void pipeline_submit(struct pipeline *pipeline);

/* Wait for the oldest job; *JOB is NULL when none is under way. */
int pipeline_collect(struct pipeline *pipeline, void **job, struct chr_error *err);

#endif
