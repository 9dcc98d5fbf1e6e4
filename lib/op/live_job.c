/* Snapshot jobs of QEMU over all disks of a machine that are written to. */
#include <string.h>

#include "op/live_work.h"

#define JOB_ID "chrimg-snapshot"
#define JOB_PATIENCE_MS 300000 /* memory of a machine, on a slow disk */
#define JOB_STEP_MS 20

/* ---- the machine's disks ---- */

static bool holds(const json_t *inserted, const char *tag)
{
    const json_t *list = json_object_get(json_object_get(inserted, "image"), "snapshots");
    const json_t *snapshot;
    size_t i;

    json_array_foreach(list, i, snapshot) {
        const char *name = json_string_value(json_object_get(snapshot, "name"));

        if (name != NULL && strcmp(name, tag) == 0)
            return true;
    }
    return false;
}

/* Firmware variables are a disk of the machine, which only a machine with UEFI has. */
static int refuse_other_disks(const char *device, const char *node, const char *tag,
                              struct chr_error *err)
{
    if (strncmp(device, "pflash", 6) == 0) {
        (void)err_set(err, CHR_E_REFUSED, "the snapshot %s was taken with BIOS, or with other "
                      "firmware variables, and this machine runs UEFI", tag);
        return err_hint(err, "chrimg boot --bios starts one that it may fit; applied while the "
                        "machine is off, it is the disk's alone");
    }
    (void)err_set(err, CHR_E_REFUSED, "disk %s of the machine holds no snapshot %s: it was taken of "
                  "a machine with other disks", node, tag);
    return err_hint(err, "applied while the machine is off, it is the disk's alone");
}

/* A disk that is written to must be a qcow2 for its memory to be kept, and hold TAG (or NULL). */
static int check_disk(const json_t *block, const char *node, const char *tag,
                      struct chr_error *err)
{
    const json_t *inserted = json_object_get(block, "inserted");
    const char *driver = json_string_value(json_object_get(inserted, "drv"));
    const char *device = json_string_value(json_object_get(block, "device"));

    if (driver == NULL || strcmp(driver, "qcow2") != 0)
        return err_set(err, CHR_E_REFUSED, "disk %s of the machine is %s, which holds no snapshots",
                       node, driver != NULL ? driver : "of no known format");
    return tag == NULL || holds(inserted, tag)
               ? 0
               : refuse_other_disks(device != NULL ? device : "", node, tag, err);
}

/* Node names of all disks that are written to, after check_disk() of each. */
static int writable_nodes(struct qmp *qmp, const char *tag, json_t **nodes, struct chr_error *err)
{
    json_t *blocks = NULL;
    const json_t *block;
    size_t i;

    *nodes = json_array();
    if (qmp_command(qmp, "query-block", NULL, live_soon(), &blocks, err) < 0)
        return -1;
    json_array_foreach(blocks, i, block) {
        const json_t *inserted = json_object_get(block, "inserted");
        const char *node = json_string_value(json_object_get(inserted, "node-name"));

        if (node == NULL || json_is_true(json_object_get(inserted, "ro")))
            continue;
        if (check_disk(block, node, tag, err) < 0) {
            json_decref(blocks);
            return -1;
        }
        (void)json_array_append_new(*nodes, json_string(node));
    }
    json_decref(blocks);
    return 0;
}

static int disk_node(struct qmp *qmp, char node[64], struct chr_error *err)
{
    json_t *blocks = NULL;
    const json_t *block;
    size_t i;

    node[0] = '\0';
    if (qmp_command(qmp, "query-block", NULL, live_soon(), &blocks, err) < 0)
        return -1;
    json_array_foreach(blocks, i, block) {
        const char *device = json_string_value(json_object_get(block, "device"));
        const char *name = json_string_value(
            json_object_get(json_object_get(block, "inserted"), "node-name"));

        if (device != NULL && name != NULL && strcmp(device, LIVE_DISK) == 0)
            (void)snprintf(node, 64, "%s", name);
    }
    json_decref(blocks);
    return node[0] != '\0' ? 0 : err_set(err, CHR_E_IO, "the machine has no disk " LIVE_DISK);
}

/* ---- jobs ---- */

/* 1: still at it; 0: it has ended, or there is none.  QEMU is deaf while it writes memory. */
static int look_at_job(struct qmp *qmp, int64_t deadline, struct live_job *job,
                       struct chr_error *err)
{
    json_t *jobs = NULL;
    const json_t *one;
    int result = 0;
    size_t i;

    *job = (struct live_job){0};
    if (qmp_command(qmp, "query-jobs", NULL, deadline, &jobs, err) < 0)
        return -1;
    json_array_foreach(jobs, i, one) {
        const char *name = json_string_value(json_object_get(one, "id"));
        const char *type = json_string_value(json_object_get(one, "type"));
        const char *status = json_string_value(json_object_get(one, "status"));
        const char *problem = json_string_value(json_object_get(one, "error"));

        if (name == NULL || strcmp(name, JOB_ID) != 0)
            continue;
        job->is_there = true;
        job->is_load = type != NULL && strcmp(type, "snapshot-load") == 0;
        result = status == NULL || strcmp(status, "concluded") != 0;
        if (result == 0 && problem != NULL)
            job->failure = strdup(problem);
    }
    json_decref(jobs);
    return result;
}

int live_job_finish(struct qmp *qmp, struct live_job *job, struct chr_error *err)
{
    int64_t deadline = clock_ms() + JOB_PATIENCE_MS;
    int state;

    while ((state = look_at_job(qmp, deadline, job, err)) == 1) {
        if (clock_ms() >= deadline)
            return err_set(err, CHR_E_BUSY, "QEMU is still at work on a snapshot");
        clock_sleep(JOB_STEP_MS);
    }
    if (state == 0 && job->is_there)
        (void)qmp_command(qmp, "job-dismiss", json_pack("{s:s}", "id", JOB_ID), live_soon(), NULL,
                          &(struct chr_error){0});
    return state;
}

/* A full disk is an Input/output error where QEMU writes memory. */
static int say_failure(const char *command, const char *failure, struct chr_error *err)
{
    (void)err_set(err, CHR_E_IO, "%s: %.800s", command, failure);
    if (strstr(failure, "Input/output error") == NULL && strstr(failure, "No space left") == NULL)
        return -1;
    return err_hint(err, "df shows whether the file system of the image is full");
}

/* Run the job COMMAND to its end.  ARGUMENTS is taken over. */
static int run_job(struct qmp *qmp, const char *command, json_t *arguments, struct chr_error *err)
{
    struct live_job job;
    int result;

    (void)json_object_set_new(arguments, "job-id", json_string(JOB_ID));
    if (qmp_command(qmp, command, arguments, clock_ms() + JOB_PATIENCE_MS, NULL, err) < 0)
        return -1;
    if (live_job_finish(qmp, &job, err) < 0)
        return err_context(err, "%s", command);
    result = job.failure != NULL ? say_failure(command, job.failure, err) : 0;
    free(job.failure);
    return result;
}

/* Of a client that was interrupted: its job has the name that ours is to have. */
static int clear_old_job(struct qmp *qmp, struct chr_error *err)
{
    struct live_job job;

    if (live_job_finish(qmp, &job, err) < 0)
        return err_context(err, "an earlier one");
    free(job.failure);
    return 0;
}

static json_t *job_arguments(const char *tag, const char *vmstate, json_t *nodes)
{
    return vmstate != NULL ? json_pack("{s:s, s:s, s:O}", "tag", tag, "vmstate", vmstate,
                                       "devices", nodes)
                           : json_pack("{s:s, s:O}", "tag", tag, "devices", nodes);
}

int live_job_on_all(struct qmp *qmp, const char *command, const char *tag, bool has_vmstate,
                    struct chr_error *err)
{
    const char *needed = strcmp(command, "snapshot-load") == 0 ? tag : NULL;
    json_t *nodes = NULL;
    char disk[64];
    int result = -1;

    if (clear_old_job(qmp, err) == 0 && writable_nodes(qmp, needed, &nodes, err) == 0 &&
        disk_node(qmp, disk, err) == 0)
        result = run_job(qmp, command, job_arguments(tag, has_vmstate ? disk : NULL, nodes), err);
    json_decref(nodes);
    return result;
}
