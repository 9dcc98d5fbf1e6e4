/* chr_snapshot_*(): restore points inside of a qcow2. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/shell.h"
#include "base/signals.h"
#include "base/utf.h"
#include "op/image.h"
#include "op/live.h"
#include "op/way_out.h"
#include "qcow2/qcow2.h"

#define KEPT_PREFIX "before-apply-"
#define KEPT_SIZE 64
/* Applied twice within a second: -2, -3, ... */
#define KEPT_TRIES 100

static int check_tag(const char *tag, struct chr_error *err)
{
    uint16_t units[CHR_TAG_MAX];

    if (tag[0] == '\0' || strlen(tag) > CHR_TAG_MAX)
        return err_set(err, CHR_E_USAGE, "a tag has 1 to %d bytes", CHR_TAG_MAX);
    if (utf8_to_utf16(tag, units, CHR_TAG_MAX) < 0)
        return err_set(err, CHR_E_USAGE, "the tag is not UTF-8");
    for (const char *p = tag; *p != '\0'; p++)
        if (iscntrl((unsigned char)*p))
            return err_set(err, CHR_E_USAGE, "the tag holds a control character");
    return 0;
}

int snapshot_refuse_format(const char *path, enum chr_format format, struct chr_error *err)
{
    AUTO_FREE char *copy = way_out_name(path, ".qcow2", err);

    if (copy == NULL)
        return -1;
    (void)err_set(err, CHR_E_REFUSED, "%s is a %s image, which cannot hold snapshots", path,
                  chr_format_name(format));
    return err_hint(err, "chrimg convert %s %s", HINT_WORD(path), copy);
}

/* Open PATH for a change of its snapshots. */
static int open_for_change(const char *path, struct chr_image **image, struct chr_error *err)
{
    if (chr_image_open(path, CHR_OPEN_WRITE, image, err) < 0)
        return -1;
    return (*image)->format == CHR_FORMAT_QCOW2
               ? 0
               : snapshot_refuse_format(path, (*image)->format, err);
}

static struct timespec now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_REALTIME, &time);
    return time;
}

static int create_now(struct chr_image *image, const char *tag, struct chr_error *err)
{
    struct timespec time = now();

    return qcow2_snapshot_create(image->disk, tag, (uint32_t)time.tv_sec, (uint32_t)time.tv_nsec,
                                 err);
}

const struct qcow2_snapshot *snapshot_find(const struct qcow2_snapshot *list, size_t count,
                                           const char *tag)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, tag) == 0)
            return &list[i];
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].id, tag) == 0)
            return &list[i];
    return NULL;
}

/* The tag of the snapshot TAG (or ID) into NAME, which is "" when there is none. */
static int look_for(struct chr_image *image, const char *tag, char name[CHR_TAG_MAX + 1],
                    struct chr_error *err)
{
    const struct qcow2_snapshot *found;
    struct qcow2_snapshot *list = NULL;
    size_t count = 0;

    if (qcow2_snapshot_list(image->disk, &list, &count, err) < 0)
        return -1;
    found = snapshot_find(list, count, tag);
    (void)snprintf(name, CHR_TAG_MAX + 1, "%s", found != NULL ? found->name : "");
    qcow2_snapshots_free(list, count);
    return found != NULL;
}

static int need(struct chr_image *image, const char *tag, char name[CHR_TAG_MAX + 1],
                struct chr_error *err)
{
    int found = look_for(image, tag, name, err);

    if (found != 0)
        return found < 0 ? -1 : 0;
    (void)err_set(err, CHR_E_MISSING, "there is no snapshot %s", tag);
    return err_hint(err, "chrimg snapshot -l %s lists them", HINT_WORD(image->path));
}

/* No word of -d where it would take another snapshot than the one that was meant. */
int snapshot_refuse_taken(const char *path, const char *tag, const char *name,
                          struct chr_error *err)
{
    if (strcmp(tag, name) != 0) {
        (void)err_set(err, CHR_E_EXISTS, "%s: %s is the ID of the snapshot %s already", path, tag,
                      name);
        return err_hint(err, "take another tag");
    }
    (void)err_set(err, CHR_E_EXISTS, "%s: there is a snapshot %s already", path, tag);
    return err_hint(err, "take another tag, or chrimg snapshot -d %s %s first", HINT_WORD(tag),
                    HINT_WORD(path));
}

static int create_in_file(const char *path, const char *tag, struct chr_error *err)
{
    AUTO_SIGNALS sigset_t saved;
    AUTO_IMAGE struct chr_image *image = NULL;
    char name[CHR_TAG_MAX + 1];
    int found;

    signals_hold(&saved);
    if (open_for_change(path, &image, err) < 0)
        return -1;
    found = look_for(image, tag, name, err);
    if (found == 1)
        return snapshot_refuse_taken(path, tag, name, err);
    if (found < 0 || create_now(image, tag, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

/* Through QEMU when a machine of ours has the image open; RESULT says so. */
static bool is_live(const char *path, const char *tag, struct live *live,
                    struct chr_snapshot_result *result)
{
    *result = (struct chr_snapshot_result){0};
    (void)snprintf(result->tag, sizeof result->tag, "%s", tag);
    if (!live_find(path, live))
        return false;
    (void)snprintf(result->vm, sizeof result->vm, "%s", live->record.name);
    return true;
}

int chr_snapshot_create_live(const char *path, const char *tag, bool with_memory,
                             struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_LIVE struct live live = {.instance = VM_NO_INSTANCE, .process = VM_NO_PROCESS};

    if (check_tag(tag, err) < 0)
        return -1;
    if (is_live(path, tag, &live, result))
        return live_create(&live, path, tag, with_memory, err);
    if (!with_memory)
        return create_in_file(path, tag, err);
    (void)err_set(err, CHR_E_REFUSED, "no machine that chrimg has started runs from %s: there is "
                  "no memory to keep", path);
    return err_hint(err, "chrimg boot %s starts one", HINT_WORD(path));
}

int chr_snapshot_create(const char *path, const char *tag, struct chr_error *err)
{
    struct chr_snapshot_result result;

    return chr_snapshot_create_live(path, tag, false, &result, err);
}

/* "before-apply-20250101-120000", in UTC. */
void live_kept_name(char *kept)
{
    struct timespec time = now();
    char stamp[32] = "";
    struct tm tm;

    if (gmtime_r(&time.tv_sec, &tm) != NULL)
        (void)strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    (void)snprintf(kept, KEPT_SIZE, KEPT_PREFIX "%s", stamp);
}

/* With a number behind it when that is taken. */
static int keep_current(struct chr_image *image, char kept[CHR_TAG_MAX + 1], struct chr_error *err)
{
    char first[KEPT_SIZE];

    live_kept_name(first);
    for (int try = 1; try <= KEPT_TRIES; try++) {
        (void)snprintf(kept, CHR_TAG_MAX + 1, try == 1 ? "%s" : "%s-%d", first, try);
        if (create_now(image, kept, err) == 0)
            return 0;
        if (err->code != CHR_E_EXISTS)
            break;
    }
    return err_context(err, "cannot keep the state that would be lost");
}

int snapshot_apply_file(const char *path, const char *tag, bool keep,
                        struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_SIGNALS sigset_t saved;
    AUTO_IMAGE struct chr_image *image = NULL;

    signals_hold(&saved);
    result->kept[0] = '\0';
    if (open_for_change(path, &image, err) < 0)
        return -1;
    if (need(image, tag, result->tag, err) < 0 ||
        (keep && keep_current(image, result->kept, err) < 0) ||
        qcow2_snapshot_apply(image->disk, tag, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

int chr_snapshot_apply_live(const char *path, const char *tag, bool keep,
                            struct chr_snapshot_result *result, struct chr_error *err)
{
    AUTO_LIVE struct live live = {.instance = VM_NO_INSTANCE, .process = VM_NO_PROCESS};

    return is_live(path, tag, &live, result)
               ? live_apply(&live, path, tag, keep, result, err)
               : snapshot_apply_file(path, tag, keep, result, err);
}

int chr_snapshot_apply(const char *path, const char *tag, bool keep, char kept[CHR_TAG_MAX + 1],
                       struct chr_error *err)
{
    struct chr_snapshot_result result;
    int outcome = chr_snapshot_apply_live(path, tag, keep, &result, err);

    (void)snprintf(kept, CHR_TAG_MAX + 1, "%s", result.kept);
    return outcome;
}

static int delete_in_file(const char *path, const char *tag, char name[CHR_TAG_MAX + 1],
                          struct chr_error *err)
{
    AUTO_SIGNALS sigset_t saved;
    AUTO_IMAGE struct chr_image *image = NULL;

    signals_hold(&saved);
    if (open_for_change(path, &image, err) < 0)
        return -1;
    if (need(image, tag, name, err) < 0 || qcow2_snapshot_delete(image->disk, tag, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

int chr_snapshot_delete_live(const char *path, const char *tag, struct chr_snapshot_result *result,
                             struct chr_error *err)
{
    AUTO_LIVE struct live live = {.instance = VM_NO_INSTANCE, .process = VM_NO_PROCESS};

    return is_live(path, tag, &live, result) ? live_delete(&live, path, tag, result, err)
                                             : delete_in_file(path, tag, result->tag, err);
}

int chr_snapshot_delete(const char *path, const char *tag, struct chr_error *err)
{
    struct chr_snapshot_result result;

    return chr_snapshot_delete_live(path, tag, &result, err);
}

/* The ID names it, unless another snapshot has that ID for a tag: tags come first. */
static const char *unique_name(const struct qcow2_snapshot *list, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++)
        if (i != index && strcmp(list[i].name, list[index].id) == 0)
            return list[index].name;
    return list[index].id;
}

static int describe(struct blk *disk, const struct qcow2_snapshot *list, size_t count, size_t index,
                    struct chr_snapshot *to, struct chr_error *err)
{
    const struct qcow2_snapshot *from = &list[index];

    (void)snprintf(to->id, sizeof to->id, "%s", from->id);
    (void)snprintf(to->tag, sizeof to->tag, "%s", from->name);
    to->date = from->date_seconds;
    to->vm_state_size = from->vm_state_size;
    to->disk_size = from->disk_size;
    return qcow2_snapshot_exclusive(disk, unique_name(list, count, index), &to->exclusive, err);
}

int chr_snapshot_list(struct chr_image *image, struct chr_snapshot **out, size_t *count,
                      struct chr_error *err)
{
    AUTO_FREE struct chr_snapshot *snapshots = NULL;
    struct qcow2_snapshot *list = NULL;
    size_t n = 0;
    int result = 0;

    *out = NULL;
    *count = 0;
    if (image->format != CHR_FORMAT_QCOW2)
        return 0;
    if (qcow2_snapshot_list(image->disk, &list, &n, err) < 0)
        return err_context(err, "%s", image->path);
    snapshots = mem_new(n, sizeof *snapshots, err);
    result = snapshots == NULL ? -1 : 0;
    for (size_t i = 0; i < n && result == 0; i++)
        result = describe(image->disk, list, n, i, &snapshots[i], err);
    qcow2_snapshots_free(list, n);
    if (result < 0)
        return -1;
    *out = STEAL(snapshots);
    *count = n;
    return 0;
}
