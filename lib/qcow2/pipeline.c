/* A ring of jobs: submitted by one thread, worked on by some, collected in order. */
#include "qcow2/pipeline.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct slot {
    void *job;
    bool finished;
    int result;
    struct chr_error error;
};

struct crew_member {
    struct pipeline *pipeline;
    pthread_t thread;
    void *worker;
};

struct pipeline {
    pthread_mutex_t lock;
    pthread_cond_t submitted_more;
    pthread_cond_t finished_one;
    pipeline_fn *fn;
    bool stop;
    /* Counters of jobs since the start; job N is in slot N % slots_count. */
    uint64_t submitted;
    uint64_t taken;
    uint64_t collected;
    unsigned slots_count;
    struct slot *slots;
    unsigned crew_count; /* threads that run */
    struct crew_member *crew;
};

/* The next job, or NULL when it is time to stop.  With the lock held. */
static struct slot *take(struct pipeline *pipeline)
{
    while (!pipeline->stop && pipeline->taken == pipeline->submitted)
        (void)pthread_cond_wait(&pipeline->submitted_more, &pipeline->lock);
    if (pipeline->stop)
        return NULL;
    return &pipeline->slots[pipeline->taken++ % pipeline->slots_count];
}

static void *work(void *context)
{
    struct crew_member *member = context;
    struct pipeline *pipeline = member->pipeline;
    struct slot *slot;

    (void)pthread_mutex_lock(&pipeline->lock);
    while ((slot = take(pipeline)) != NULL) {
        (void)pthread_mutex_unlock(&pipeline->lock);
        slot->result = pipeline->fn(member->worker, slot->job, &slot->error);
        (void)pthread_mutex_lock(&pipeline->lock);
        slot->finished = true;
        (void)pthread_cond_signal(&pipeline->finished_one);
    }
    (void)pthread_mutex_unlock(&pipeline->lock);
    return NULL;
}

static int start_crew(struct pipeline *pipeline, unsigned threads, void *const *workers,
                      struct chr_error *err)
{
    for (unsigned i = 0; i < threads; i++) {
        struct crew_member *member = &pipeline->crew[i];
        int number;

        *member = (struct crew_member){.pipeline = pipeline, .worker = workers[i]};
        number = pthread_create(&member->thread, NULL, work, member);
        if (number != 0)
            return err_errno(err, number, "cannot start a thread");
        pipeline->crew_count++;
    }
    return 0;
}

int pipeline_new(unsigned threads, void *const *workers, unsigned slots, void *const *jobs,
                 pipeline_fn *fn, struct pipeline **out, struct chr_error *err)
{
    struct pipeline *pipeline = mem_new(1, sizeof *pipeline, err);

    if (pipeline == NULL)
        return -1;
    (void)pthread_mutex_init(&pipeline->lock, NULL);
    (void)pthread_cond_init(&pipeline->submitted_more, NULL);
    (void)pthread_cond_init(&pipeline->finished_one, NULL);
    pipeline->fn = fn;
    pipeline->slots_count = slots;
    pipeline->slots = mem_new(slots, sizeof *pipeline->slots, err);
    pipeline->crew = mem_new(threads, sizeof *pipeline->crew, err);
    if (pipeline->slots == NULL || pipeline->crew == NULL ||
        start_crew(pipeline, threads, workers, err) < 0) {
        pipeline_free(pipeline);
        return -1;
    }
    for (unsigned i = 0; i < slots; i++)
        pipeline->slots[i].job = jobs[i];
    *out = pipeline;
    return 0;
}

void pipeline_free(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    (void)pthread_mutex_lock(&pipeline->lock);
    pipeline->stop = true;
    (void)pthread_cond_broadcast(&pipeline->submitted_more);
    (void)pthread_mutex_unlock(&pipeline->lock);
    for (unsigned i = 0; i < pipeline->crew_count; i++)
        (void)pthread_join(pipeline->crew[i].thread, NULL);
    (void)pthread_cond_destroy(&pipeline->submitted_more);
    (void)pthread_cond_destroy(&pipeline->finished_one);
    (void)pthread_mutex_destroy(&pipeline->lock);
    free(pipeline->slots);
    free(pipeline->crew);
    free(pipeline);
}

void *pipeline_next(struct pipeline *pipeline)
{
    if (pipeline->submitted - pipeline->collected == pipeline->slots_count)
        return NULL;
    return pipeline->slots[pipeline->submitted % pipeline->slots_count].job;
}

void pipeline_submit(struct pipeline *pipeline)
{
    (void)pthread_mutex_lock(&pipeline->lock);
    pipeline->slots[pipeline->submitted++ % pipeline->slots_count].finished = false;
    (void)pthread_cond_signal(&pipeline->submitted_more);
    (void)pthread_mutex_unlock(&pipeline->lock);
}

int pipeline_collect(struct pipeline *pipeline, void **job, struct chr_error *err)
{
    struct slot *slot = &pipeline->slots[pipeline->collected % pipeline->slots_count];

    *job = NULL;
    if (pipeline->collected == pipeline->submitted)
        return 0;
    (void)pthread_mutex_lock(&pipeline->lock);
    while (!slot->finished)
        (void)pthread_cond_wait(&pipeline->finished_one, &pipeline->lock);
    (void)pthread_mutex_unlock(&pipeline->lock);
    pipeline->collected++;
    *job = slot->job;
    if (slot->result < 0)
        *err = slot->error;
    return slot->result;
}
