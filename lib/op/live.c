/*
 * Snapshots of a disk that a running machine of ours writes to: through QEMU.
 *
 * Taken: for the disk alone at one instant (blockdev-snapshot-internal-sync), or with
 * the memory, over all disks of the machine (snapshot-save; firmware variables are one
 * of them).  What QEMU says is done is then looked for in the file.
 */
#include "op/live.h"

#include <string.h>

#include "base/shell.h"
#include "op/image.h"
#include "op/live_work.h"
#include "qcow2/qcow2.h"

/* QEMU says nothing while it writes memory, for whomever; and another client may be first. */
#define CONNECT_PATIENCE_MS 60000
#define SNAPSHOT_LOOKS 10
#define LOOK_STEP_MS 50

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

int live_connect(const struct live *live, struct qmp **qmp, struct chr_error *err)
{
    if (qmp_connect(live->record.qmp_socket, clock_ms() + CONNECT_PATIENCE_MS, qmp, err) < 0)
        return err_context(err, "instance %s", live->record.name);
    return live_take_over(live, *qmp, err);
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

/* What the file holds under TAG (or ID), with the tag itself into NAME. */
static int find_in_file(const char *path, const char *tag, enum live_kind *kind,
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

int live_need(const char *path, const char *tag, enum live_kind *kind, char name[CHR_TAG_MAX + 1],
              struct chr_error *err)
{
    if (find_in_file(path, tag, kind, name, err) < 0)
        return -1;
    if (*kind != NO_SNAPSHOT)
        return 0;
    (void)err_set(err, CHR_E_MISSING, "%s: there is no snapshot %s", path, tag);
    return err_hint(err, "chrimg snapshot -l %s lists them", HINT_WORD(path));
}

/*
 * QEMU has reference counts in its cache that it writes when it is asked to, or some seconds
 * later; until then a snapshot's own size would be read wrong.
 */
static void write_back(struct qmp *qmp)
{
    struct chr_error ignored;

    (void)qmp_command(qmp, "human-monitor-command",
                      json_pack("{s:s}", "command-line", "qemu-io " LIVE_DISK " flush"),
                      live_soon(), NULL, &ignored);
}

/* Nothing is reported that was not seen. */
static int verify(struct qmp *qmp, const char *path, const char *tag, enum live_kind wanted,
                  struct chr_error *err)
{
    char name[CHR_TAG_MAX + 1];
    enum live_kind kind;

    write_back(qmp);
    if (find_in_file(path, tag, &kind, name, err) < 0)
        return err_context(err, "QEMU has done it, but it cannot be seen");
    if (kind == wanted)
        return 0;
    return err_set(err, CHR_E_IO, "QEMU says that it is done, but %s %s snapshot %s%s", path,
                   kind == NO_SNAPSHOT ? "holds no" : "holds a", tag,
                   kind == NO_SNAPSHOT || wanted == NO_SNAPSHOT ? "" : " of another kind");
}

/* ---- create, delete ---- */

int live_create(struct live *live, const char *path, const char *tag, bool with_memory,
                struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;
    char name[CHR_TAG_MAX + 1];
    enum live_kind kind;

    if (find_in_file(path, tag, &kind, name, err) < 0)
        return -1;
    if (kind != NO_SNAPSHOT)
        return snapshot_refuse_taken(path, tag, name, err);
    if (live_connect(live, &qmp, err) < 0)
        return -1;
    if ((with_memory
             ? live_job_on_all(qmp, "snapshot-save", tag, true, err)
             : qmp_command(qmp, "blockdev-snapshot-internal-sync",
                           json_pack("{s:s, s:s}", "device", LIVE_DISK, "name", tag), live_soon(), NULL,
                           err)) < 0)
        return err_context(err, "instance %s", live->record.name);
    return verify(qmp, path, tag, with_memory ? WITH_MEMORY : DISK_ONLY, err);
}

int live_delete(struct live *live, const char *path, const char *tag,
                struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_QMP struct qmp *qmp = NULL;
    enum live_kind kind;

    if (live_need(path, tag, &kind, result->tag, err) < 0 || live_connect(live, &qmp, err) < 0)
        return -1;
    /* One with memory is on the other disks, too. */
    if ((kind == WITH_MEMORY
             ? live_job_on_all(qmp, "snapshot-delete", result->tag, false, err)
             : qmp_command(qmp, "blockdev-snapshot-delete-internal-sync",
                           json_pack("{s:s, s:s}", "device", LIVE_DISK, "name", result->tag), live_soon(), NULL,
                           err)) < 0)
        return err_context(err, "instance %s", live->record.name);
    return verify(qmp, path, result->tag, NO_SNAPSHOT, err);
}
