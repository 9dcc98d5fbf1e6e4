/*
 * A running machine goes back to a snapshot.  In between it is paused, or off: until it goes
 * on, signals wait.
 */
#include <string.h>

#include "base/signals.h"
#include "op/live_work.h"

#define POWERDOWN_MS 30000
/* What the power button has begun when a signal comes, within this it is seen to its end. */
#define CALLED_OFF_MS 20000

/* ---- with memory ---- */

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
                             const char *tag, const char *before, bool was_paused,
                             struct chr_error *err)
{
    bool begun = err->code != CHR_E_REFUSED;
    struct chr_error ignored;

    if (begun)
        (void)err_hint(err, "start it with the memory, CPUs and firmware that it had when %s was "
                       "taken; or chrimg stop %s, then chrimg snapshot -a %s %s puts back the disk "
                       "alone", tag, live->record.name, tag, path);
    if ((!begun || live_job_on_all(qmp, "snapshot-load", before, true, &ignored) == 0) &&
        live_go_on(live, qmp, was_paused, &ignored) == 0) {
        (void)live_job_on_all(qmp, "snapshot-delete", before, false, &ignored);
        return goes_on(live, err);
    }
    (void)err_hint(err, "chrimg stop --now %s, then chrimg snapshot -a %s %s puts back the disk as "
                   "it was before", live->record.name, before, path);
    return err_context(err, "instance %s is paused, as its disk may be the snapshot's already",
                       live->record.name);
}

static int load_memory(struct live *live, struct qmp *qmp, const char *path, const char *tag,
                       const char *before, bool keep, struct chr_error *err)
{
    bool was_paused;

    if (live_pause(live, qmp, before, &was_paused, err) < 0)
        return -1;
    if (live_job_on_all(qmp, "snapshot-load", tag, true, err) < 0)
        return after_failed_load(live, qmp, path, tag, before, was_paused, err);
    if (live_go_on(live, qmp, was_paused, err) < 0)
        return err_context(err, "%s is loaded, and the machine is stopped", tag);
    return keep ? 0 : live_job_on_all(qmp, "snapshot-delete", before, false, err);
}

static int apply_running(struct live *live, const char *path, const char *tag, bool keep,
                         struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;
    char before[CHR_TAG_MAX + 1];
    sigset_t saved;
    int loaded;

    /* The way back, should the memory not fit; it is kept longer than that where it is to be. */
    live_kept_name(before);
    if (live_create(live, path, before, true, err) < 0)
        return err_context(err, "cannot keep the state that would be lost");
    if (keep)
        (void)strcpy(result->kept, before);
    if (live_connect(live, &qmp, err) < 0)
        return -1;
    signals_hold(&saved);
    loaded = load_memory(live, qmp, path, tag, before, keep, err);
    signals_release(&saved);
    return loaded;
}

/* ---- the disk alone ---- */

/* That it is up is for the caller to wait for. */
static int start_again(struct live *live, struct chr_error *err)
{
    const struct chr_vm_watch nobody = {.cancel_fd = -1};
    struct boot_result start;

    return boot_again(&live->instance, &live->record, CHR_READY_NONE, &nobody, &start, err);
}

/* Nothing is applied.  A guest that has heard the button would be off, and nobody would start it. */
static int after_signal(struct live *live, struct chr_error *err)
{
    struct chr_error again;

    if (vm_process_wait(&live->process, clock_ms() + CALLED_OFF_MS) &&
        start_again(live, &again) < 0) {
        *err = again;
        return err_context(err, "interrupted, and the machine does not start again");
    }
    vm_instance_clear_stop(&live->instance);
    vm_instance_unlock(&live->instance);
    return -1;
}

/* What the guest has in memory would not fit to the disk any more, so it starts anew. */
static int turn_off_and_apply(struct live *live, const char *path, const char *tag, bool keep,
                              struct chr_snapshot_result *result, struct chr_error *err)
{
    /* Asked politely where what the disk is now is kept: then it is kept whole. */
    const struct boot_stop stop = {.patience_ms = keep ? POWERDOWN_MS : 0,
                                   .called_off = signals_waiting};
    struct chr_error again;
    enum vm_stopped how;
    int applied;

    if (boot_stop(&live->instance, &live->record, &stop, &how, err) < 0)
        return err->code == CHR_E_CANCELLED ? after_signal(live, err) : -1;
    applied = snapshot_apply_file(path, tag, keep, result, err);
    if (start_again(live, &again) < 0 && applied == 0) {
        *err = again;
        applied = err_context(err, "%s is applied, but the machine does not start", tag);
    }
    return applied;
}

/* One that is paused by us could not hear its power button.  If that fails, it is turned off without. */
static void wake_up(const struct live *live)
{
    AUTO_QMP struct qmp *qmp = NULL;
    struct chr_error ignored;

    if (live_is_marked(live))
        (void)live_connect(live, &qmp, &ignored);
}

static int apply_off(struct live *live, const char *path, const char *tag, bool keep,
                     struct chr_snapshot_result *result, struct chr_error *err)
{
    sigset_t saved;
    int applied;

    wake_up(live);
    signals_hold(&saved);
    applied = turn_off_and_apply(live, path, tag, keep, result, err);
    signals_release(&saved);
    return applied;
}

int live_apply(struct live *live, const char *path, const char *tag, bool keep,
               struct chr_snapshot_result *result, struct chr_error *err)
{
    enum live_kind kind;

    if (live_need(path, tag, &kind, result->tag, err) < 0)
        return -1;
    if (kind == WITH_MEMORY)
        return apply_running(live, path, result->tag, keep, result, err);
    result->restarted = true;
    return apply_off(live, path, tag, keep, result, err);
}
