/* Inner doors of live.c, live_job.c, live_pause.c and live_apply.c. */
#ifndef CHRIMG_OP_LIVE_WORK_H
#define CHRIMG_OP_LIVE_WORK_H

#include <jansson.h>

#include "op/live.h"
#include "vm/clock.h"
#include "vm/qmp.h"

#define LIVE_DISK "disk0" /* vm/disk.c */
#define LIVE_QMP_PATIENCE_MS 10000

/* A deadline for what QEMU answers at once. */
static inline int64_t live_soon(void)
{
    return clock_ms() + LIVE_QMP_PATIENCE_MS;
}

/*
 * Connect to the machine's QEMU, which serves one client at a time: until *QMP is closed
 * nobody else changes anything there.  What an interrupted one has left is taken over
 * (live_take_over()).
 */
int live_connect(const struct live *live, struct qmp **qmp, struct chr_error *err);

/* ---- live.c: what is in the file ---- */

enum live_kind { NO_SNAPSHOT, DISK_ONLY, WITH_MEMORY };

/* What kind the snapshot TAG (or ID) of PATH is, its tag into NAME; CHR_E_MISSING for none. */
int live_need(const char *path, const char *tag, enum live_kind *kind, char name[CHR_TAG_MAX + 1],
              struct chr_error *err);

/* ---- live_job.c ---- */

/* The last job of ours that QEMU knows of, which has ended. */
struct live_job {
    bool is_there;
    bool is_load;
    char *failure; /* or NULL; the caller's to free */
};

/* Wait until QEMU is at no job of ours, of whomever, and take the last one out of its list. */
int live_job_finish(struct qmp *qmp, struct live_job *job, struct chr_error *err);

/*
 * The job COMMAND ("snapshot-save", "snapshot-load", "snapshot-delete") over all writable
 * disks, the memory with the main one.  CHR_E_REFUSED: nothing has changed.
 */
int live_job_on_all(struct qmp *qmp, const char *command, const char *tag, bool has_vmstate,
                    struct chr_error *err);

/* ---- live_pause.c: a machine that is paused by us ---- */

/*
 * Pause the machine, after it was written down in its runtime folder that this is ours to
 * undo, and how: by loading the snapshot BEFORE.  *WAS_PAUSED: by somebody else, already.
 */
int live_pause(const struct live *live, struct qmp *qmp, const char *before, bool *was_paused,
               struct chr_error *err);

/* What is in memory and on the disk fits together: let it go on, unless it was paused before. */
int live_go_on(const struct live *live, struct qmp *qmp, bool was_paused, struct chr_error *err);

/*
 * Where live_pause() was the last that was heard of another process: wait for what QEMU
 * does for it, see to it that memory and disk fit together, and let the machine go on.
 * A machine that others have paused stays so.
 */
int live_take_over(const struct live *live, struct qmp *qmp, struct chr_error *err);

/* Whether there may be something to take over. */
bool live_is_marked(const struct live *live);

#endif
