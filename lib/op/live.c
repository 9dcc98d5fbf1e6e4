/*
 * Snapshots of a disk that a running machine of ours writes to: through QEMU.
 *
 * Taken: for the disk alone at one instant (blockdev-snapshot-internal-sync), or with
 * the memory, over all disks of the machine (snapshot-save; firmware variables are one
 * of them).  What QEMU says is done is then looked for in the file.
 */
#include "op/live.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "base/shell.h"
#include "op/image.h"
#include "qcow2/qcow2.h"
#include "vm/clock.h"
#include "vm/qmp.h"
#include "vm/stop.h"

#define QMP_PATIENCE_MS 10000
#define JOB_PATIENCE_MS 300000 /* memory of a machine, on a slow disk */
#define JOB_STEP_MS 20
#define DISK "disk0" /* vm/disk.c */
#define SNAPSHOT_LOOKS 10
#define LOOK_STEP_MS 50
#define POWERDOWN_MS 30000

static int64_t soon(void)
{
    return clock_ms() + QMP_PATIENCE_MS;
}

bool live_find(const char *path, struct live *live)
{
    *live = (struct live){.instance = VM_NO_INSTANCE, .process = VM_NO_PROCESS};
    return boot_find_by_image(path, &live->instance, &live->record, &live->process);
}

void live_release(struct live *live)
{
    vm_instance_unlock(&live->instance);
    vm_process_release(&live->process);
    vm_record_release(&live->record);
}

static int connect_to(const struct live *live, struct qmp **qmp, struct chr_error *err)
{
    if (qmp_connect(live->record.qmp_socket, soon(), qmp, err) < 0)
        return err_context(err, "instance %s", live->record.name);
    return 0;
}

/* ---- what is in the file ---- */

/* A table that QEMU is just writing may be torn: then look again. */
static int read_table(const char *path, struct qcow2_snapshot **list, size_t *count,
                      struct chr_error *err)
{
    for (int look = 1;; look++) {
        AUTO_IMAGE struct chr_image *image = NULL;

        if (chr_image_open(path, CHR_OPEN_FORCE_SHARE, &image, err) == 0) {
            if (image->format != CHR_FORMAT_QCOW2)
                return snapshot_refuse_format(path, image->format, err);
            if (qcow2_snapshot_list(image->disk, list, count, err) == 0)
                return 0;
        }
        if (look == SNAPSHOT_LOOKS)
            return -1;
        clock_sleep(LOOK_STEP_MS);
    }
}

enum kind { NO_SNAPSHOT, DISK_ONLY, WITH_MEMORY };

/* What the file holds under TAG (or ID), with the tag itself into NAME. */
static int find_in_file(const char *path, const char *tag, enum kind *kind,
                        char name[CHR_TAG_MAX + 1], struct chr_error *err)
{
    const struct qcow2_snapshot *found;
    struct qcow2_snapshot *list = NULL;
    size_t count = 0;

    if (read_table(path, &list, &count, err) < 0)
        return -1;
    found = snapshot_find(list, count, tag);
    *kind = found == NULL ? NO_SNAPSHOT : found->vm_state_size > 0 ? WITH_MEMORY : DISK_ONLY;
    if (found != NULL)
        (void)snprintf(name, CHR_TAG_MAX + 1, "%s", found->name);
    qcow2_snapshots_free(list, count);
    return 0;
}

static int need(const char *path, const char *tag, enum kind *kind, char name[CHR_TAG_MAX + 1],
                struct chr_error *err)
{
    if (find_in_file(path, tag, kind, name, err) < 0)
        return -1;
    if (*kind != NO_SNAPSHOT)
        return 0;
    (void)err_set(err, CHR_E_MISSING, "%s: there is no snapshot %s", path, tag);
    return err_hint(err, "chrimg snapshot -l %s lists them", HINT_WORD(path));
}

/* Nothing is reported that was not seen. */
static int verify(const char *path, const char *tag, enum kind wanted, struct chr_error *err)
{
    char name[CHR_TAG_MAX + 1];
    enum kind kind;

    if (find_in_file(path, tag, &kind, name, err) < 0)
        return err_context(err, "QEMU has done it, but it cannot be seen");
    if (kind == wanted)
        return 0;
    return err_set(err, CHR_E_IO, "QEMU says that it is done, but %s %s snapshot %s%s", path,
                   kind == NO_SNAPSHOT ? "holds no" : "holds a", tag,
                   kind == NO_SNAPSHOT || wanted == NO_SNAPSHOT ? "" : " of another kind");
}

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
    if (qmp_command(qmp, "query-block", NULL, soon(), &blocks, err) < 0)
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
    if (qmp_command(qmp, "query-block", NULL, soon(), &blocks, err) < 0)
        return -1;
    json_array_foreach(blocks, i, block) {
        const char *device = json_string_value(json_object_get(block, "device"));
        const char *name = json_string_value(
            json_object_get(json_object_get(block, "inserted"), "node-name"));

        if (device != NULL && name != NULL && strcmp(device, DISK) == 0)
            (void)snprintf(node, 64, "%s", name);
    }
    json_decref(blocks);
    return node[0] != '\0' ? 0 : err_set(err, CHR_E_IO, "the machine has no disk " DISK);
}

/* ---- jobs ---- */

/* 1: concluded, with *FAILURE (or NULL) its error; 0: still at it. */
static int look_at_job(struct qmp *qmp, const char *id, char **failure, struct chr_error *err)
{
    json_t *jobs = NULL;
    const json_t *job;
    int result = 1; /* gone is over, too */
    size_t i;

    *failure = NULL;
    if (qmp_command(qmp, "query-jobs", NULL, soon(), &jobs, err) < 0)
        return -1;
    json_array_foreach(jobs, i, job) {
        const char *name = json_string_value(json_object_get(job, "id"));
        const char *status = json_string_value(json_object_get(job, "status"));
        const char *problem = json_string_value(json_object_get(job, "error"));

        if (name == NULL || strcmp(name, id) != 0)
            continue;
        result = status != NULL && strcmp(status, "concluded") == 0;
        if (result == 1 && problem != NULL)
            *failure = strdup(problem);
    }
    json_decref(jobs);
    return result;
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
    static const char id[] = "chrimg-snapshot";
    int64_t deadline = clock_ms() + JOB_PATIENCE_MS;
    char *failure = NULL;
    int state = 0;

    (void)json_object_set_new(arguments, "job-id", json_string(id));
    if (qmp_command(qmp, command, arguments, soon(), NULL, err) < 0)
        return -1;
    while (state == 0) {
        state = look_at_job(qmp, id, &failure, err);
        if (state == 0 && clock_ms() >= deadline)
            return err_set(err, CHR_E_BUSY, "QEMU is still at work on %s", command);
        if (state == 0)
            clock_sleep(JOB_STEP_MS);
    }
    if (state < 0)
        return -1;
    if (failure != NULL)
        (void)say_failure(command, failure, err);
    (void)qmp_command(qmp, "job-dismiss", json_pack("{s:s}", "id", id), soon(), NULL,
                      &(struct chr_error){0});
    state = failure != NULL ? -1 : 0;
    free(failure);
    return state;
}

static json_t *job_arguments(const char *tag, const char *vmstate, json_t *nodes)
{
    return vmstate != NULL ? json_pack("{s:s, s:s, s:O}", "tag", tag, "vmstate", vmstate,
                                       "devices", nodes)
                           : json_pack("{s:s, s:O}", "tag", tag, "devices", nodes);
}

/* The job COMMAND over all writable disks, the memory with the main one. */
static int job_on_all(struct qmp *qmp, const char *command, const char *tag, bool has_vmstate,
                      struct chr_error *err)
{
    const char *needed = strcmp(command, "snapshot-load") == 0 ? tag : NULL;
    json_t *nodes = NULL;
    char disk[64];
    int result = -1;

    if (writable_nodes(qmp, needed, &nodes, err) == 0 && disk_node(qmp, disk, err) == 0)
        result = run_job(qmp, command, job_arguments(tag, has_vmstate ? disk : NULL, nodes), err);
    json_decref(nodes);
    return result;
}

/* ---- create, delete ---- */

int live_create(struct live *live, const char *path, const char *tag, bool with_memory,
                struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;
    char name[CHR_TAG_MAX + 1];
    enum kind kind;

    if (find_in_file(path, tag, &kind, name, err) < 0)
        return -1;
    if (kind != NO_SNAPSHOT)
        return snapshot_refuse_taken(path, tag, name, err);
    if (connect_to(live, &qmp, err) < 0)
        return -1;
    if ((with_memory
             ? job_on_all(qmp, "snapshot-save", tag, true, err)
             : qmp_command(qmp, "blockdev-snapshot-internal-sync",
                           json_pack("{s:s, s:s}", "device", DISK, "name", tag), soon(), NULL,
                           err)) < 0)
        return err_context(err, "instance %s", live->record.name);
    return verify(path, tag, with_memory ? WITH_MEMORY : DISK_ONLY, err);
}

int live_delete(struct live *live, const char *path, const char *tag,
                struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;
    enum kind kind;

    if (need(path, tag, &kind, result->tag, err) < 0 || connect_to(live, &qmp, err) < 0)
        return -1;
    /* One with memory is on the other disks, too. */
    if ((kind == WITH_MEMORY
             ? job_on_all(qmp, "snapshot-delete", result->tag, false, err)
             : qmp_command(qmp, "blockdev-snapshot-delete-internal-sync",
                           json_pack("{s:s, s:s}", "device", DISK, "name", result->tag), soon(), NULL,
                           err)) < 0)
        return err_context(err, "instance %s", live->record.name);
    return verify(path, result->tag, NO_SNAPSHOT, err);
}

/* ---- apply ---- */

/* The machine is what it was, and so are its snapshots. */
static int goes_on(const struct live *live, struct chr_error *err)
{
    return err_context(err, "instance %s goes on as it was", live->record.name);
}

/*
 * QEMU puts the disks back before it reads the memory.  When that fails (the machine has
 * other memory, other CPUs, ...), what the guest has in memory does not fit to its disk any
 * more, and must not be written there: the machine is put back to BEFORE, which was taken
 * of this very machine.  When QEMU refuses to begin, nothing has changed.
 */
static int after_failed_load(struct live *live, struct qmp *qmp, const char *path,
                             const char *tag, const char *before, struct chr_error *err)
{
    bool begun = err->code != CHR_E_REFUSED;
    struct chr_error ignored;

    if (begun)
        (void)err_hint(err, "start it with the memory, CPUs and firmware that it had when %s was "
                       "taken; or chrimg stop %s, then chrimg snapshot -a %s %s puts back the disk "
                       "alone", tag, live->record.name, tag, path);
    if ((!begun || job_on_all(qmp, "snapshot-load", before, true, &ignored) == 0) &&
        qmp_command(qmp, "cont", NULL, soon(), NULL, &ignored) == 0) {
        (void)job_on_all(qmp, "snapshot-delete", before, false, &ignored);
        return goes_on(live, err);
    }
    (void)err_hint(err, "chrimg stop --now %s, then chrimg snapshot -a %s %s puts back the disk as "
                   "it was before", live->record.name, before, path);
    return err_context(err, "instance %s is paused, as its disk may be the snapshot's already",
                       live->record.name);
}

static int load_memory(struct live *live, const char *path, const char *tag, const char *before,
                       bool keep, struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;

    if (connect_to(live, &qmp, err) < 0 ||
        qmp_command(qmp, "stop", NULL, soon(), NULL, err) < 0)
        return -1;
    if (job_on_all(qmp, "snapshot-load", tag, true, err) < 0)
        return after_failed_load(live, qmp, path, tag, before, err);
    if (qmp_command(qmp, "cont", NULL, soon(), NULL, err) < 0)
        return err_context(err, "%s is loaded, and the machine is stopped", tag);
    return keep ? 0 : job_on_all(qmp, "snapshot-delete", before, false, err);
}

/* Disk alone: what the guest has in memory would not fit to it any more, so it starts anew. */
static int apply_off(struct live *live, const char *path, const char *tag, bool keep,
                     struct chr_snapshot_result *result, struct chr_error *err)
{
    const struct chr_vm_watch nobody = {.cancel_fd = -1};
    struct boot_result start;
    struct chr_error again;
    enum vm_stopped how;
    int applied;

    if (boot_check_again(&live->record, err) < 0 ||
        vm_instance_check_tidy(&live->instance, &live->record, false, err) < 0)
        return -1;
    /* Asked politely where what the disk is now is kept: then it is kept whole. */
    if (vm_stop(&live->record, &live->process, keep ? POWERDOWN_MS : 0, &how, err) < 0)
        return -1;
    applied = snapshot_apply_file(path, tag, keep, result, err);
    /* That it is up is for the caller to wait for. */
    if (boot_again(&live->instance, &live->record, CHR_READY_NONE, &nobody, &start, &again) < 0 &&
        applied == 0) {
        *err = again;
        applied = err_context(err, "%s is applied, but the machine does not start", tag);
    }
    return applied;
}

int live_apply(struct live *live, const char *path, const char *tag, bool keep,
               struct chr_snapshot_result *result, struct chr_error *err)
{
    char before[CHR_TAG_MAX + 1];
    enum kind kind;

    if (need(path, tag, &kind, result->tag, err) < 0)
        return -1;
    if (kind == DISK_ONLY) {
        result->restarted = true;
        return apply_off(live, path, tag, keep, result, err);
    }
    /* The way back, should the memory not fit; it is kept longer than that where it is to be. */
    live_kept_name(before);
    if (live_create(live, path, before, true, err) < 0)
        return err_context(err, "cannot keep the state that would be lost");
    if (keep)
        (void)strcpy(result->kept, before);
    return load_memory(live, path, result->tag, before, keep, err);
}
