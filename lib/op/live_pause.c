/*
 * A machine that is paused while its memory is loaded, and the mark that says so: a file in
 * its runtime folder, which goes with the machine.  Who finds the machine paused and the
 * mark there knows that the process which has paused it is gone, as QEMU serves one client
 * at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "op/live_work.h"

#define BEGUN "snapshot-begun" /* memory and disk may be of different moments */
#define FITS "snapshot-fits"   /* they are of the same one: all that is left is to go on */

#define MARK_SIZE (CHR_TAG_MAX + 64)
#define MARK_PATH_SIZE (VM_PATH_SIZE + 32)

struct mark {
    bool is_there;
    bool fits;
    int was_paused;
    char before[CHR_TAG_MAX + 1];
};

/* ---- the mark ---- */

static void path_of(const struct live *live, const char *name, char path[MARK_PATH_SIZE])
{
    (void)snprintf(path, MARK_PATH_SIZE, "%s/%s", live->instance.runtime, name);
}

/* Of this very process, or nothing. */
static bool read_mark(const struct live *live, const char *name, struct mark *mark)
{
    char path[MARK_PATH_SIZE];
    char text[MARK_SIZE];
    uint64_t start_time;
    long pid;
    int at = 0;
    FILE *file;
    size_t n;

    path_of(live, name, path);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    n = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[n] = '\0';
    /* The tag is behind exactly one blank, and complete with its end of line. */
    if (sscanf(text, "%ld %" SCNu64 " %d%n", &pid, &start_time, &mark->was_paused, &at) != 3 ||
        at == 0 || n < (size_t)at + 3 || text[at] != ' ' || text[n - 1] != '\n' ||
        pid != (long)live->process.pid || start_time != live->process.start_time)
        return false;
    text[n - 1] = '\0';
    (void)snprintf(mark->before, sizeof mark->before, "%s", text + at + 1);
    return true;
}

static struct mark look_at_marks(const struct live *live)
{
    struct mark mark = {0};

    mark.fits = read_mark(live, FITS, &mark);
    mark.is_there = mark.fits || read_mark(live, BEGUN, &mark);
    return mark;
}

static void remove_marks(const struct live *live)
{
    static const char *const names[] = {BEGUN, FITS};
    char path[MARK_PATH_SIZE];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        path_of(live, names[i], path);
        (void)unlink(path);
    }
}

static int write_mark(const struct live *live, const char *before, bool was_paused,
                      struct chr_error *err)
{
    char path[MARK_PATH_SIZE];
    char text[MARK_SIZE];
    AUTO_CLOSE int fd = -1;
    int n = snprintf(text, sizeof text, "%ld %" PRIu64 " %d %s\n", (long)live->process.pid,
                     live->process.start_time, was_paused, before);

    remove_marks(live);
    path_of(live, BEGUN, path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, text, (size_t)n) == n)
        return 0;
    (void)err_errno(err, errno, "cannot write %s", path);
    remove_marks(live);
    return -1;
}

static void note_that_it_fits(const struct live *live)
{
    char begun[MARK_PATH_SIZE];
    char fits[MARK_PATH_SIZE];

    path_of(live, BEGUN, begun);
    path_of(live, FITS, fits);
    (void)rename(begun, fits);
}

/* ---- pause, go on ---- */

static int is_paused(struct qmp *qmp, bool *paused, struct chr_error *err)
{
    json_t *result = NULL;
    const char *status;

    if (qmp_command(qmp, "query-status", NULL, live_soon(), &result, err) < 0)
        return -1;
    status = json_string_value(json_object_get(result, "status"));
    *paused = status != NULL && strcmp(status, "paused") == 0;
    json_decref(result);
    return 0;
}

int live_pause(const struct live *live, struct qmp *qmp, const char *before, bool *was_paused,
               struct chr_error *err)
{
    if (is_paused(qmp, was_paused, err) < 0 || write_mark(live, before, *was_paused, err) < 0)
        return -1;
    /* Where no answer comes it may be paused all the same: the mark stays. */
    return qmp_command(qmp, "stop", NULL, live_soon(), NULL, err);
}

int live_go_on(const struct live *live, struct qmp *qmp, bool was_paused, struct chr_error *err)
{
    note_that_it_fits(live);
    if (!was_paused && qmp_command(qmp, "cont", NULL, live_soon(), NULL, err) < 0)
        return -1;
    remove_marks(live);
    return 0;
}

/* ---- what an interrupted one has left ---- */

/* A load that went well was of TAG or of BEFORE: either fits.  Anything else is taken back. */
static int make_fit(const struct live *live, struct qmp *qmp, const struct mark *mark,
                    struct chr_error *err)
{
    struct live_job job;
    bool loaded;

    if (live_job_finish(qmp, &job, err) < 0)
        return -1;
    loaded = job.is_there && job.is_load && job.failure == NULL;
    free(job.failure);
    if (loaded || live_job_on_all(qmp, "snapshot-load", mark->before, true, err) == 0)
        return 0;
    (void)err_hint(err, "chrimg stop --now %s, then chrimg snapshot -a %s on its image puts back "
                   "the disk as it was", live->record.name, mark->before);
    return -1;
}

bool live_is_marked(const struct live *live)
{
    return look_at_marks(live).is_there;
}

int live_take_over(const struct live *live, struct qmp *qmp, struct chr_error *err)
{
    struct mark mark = look_at_marks(live);
    bool paused;

    if (!mark.is_there)
        return 0;
    if (is_paused(qmp, &paused, err) < 0)
        return -1;
    if (!paused) { /* it was not paused yet, or goes on already */
        remove_marks(live);
        return 0;
    }
    if ((mark.fits || make_fit(live, qmp, &mark, err) == 0) &&
        live_go_on(live, qmp, mark.was_paused != 0, err) == 0)
        return 0;
    return err_context(err, "instance %s is paused by a snapshot -a that was interrupted",
                       live->record.name);
}
