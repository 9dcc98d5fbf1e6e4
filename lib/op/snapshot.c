/* chr_snapshot_*(): restore points inside of a qcow2. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf.h"
#include "op/image.h"
#include "qcow2/qcow2.h"

#define KEPT_PREFIX "before-apply-"
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

/* Open PATH for a change of its snapshots. */
static int open_for_change(const char *path, struct chr_image **image, struct chr_error *err)
{
    if (chr_image_open(path, CHR_OPEN_WRITE, image, err) < 0)
        return -1;
    if ((*image)->format == CHR_FORMAT_QCOW2)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s is a %s image, which cannot hold snapshots", path,
                  chr_format_name((*image)->format));
    return err_hint(err, "chrimg convert %s %.*s.qcow2", path,
                    (int)(strrchr(path, '.') != NULL ? strrchr(path, '.') - path
                                                     : (long)strlen(path)), path);
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

int chr_snapshot_create(const char *path, const char *tag, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;

    if (check_tag(tag, err) < 0 || open_for_change(path, &image, err) < 0)
        return -1;
    if (create_now(image, tag, err) == 0)
        return 0;
    if (err->code == CHR_E_EXISTS)
        (void)err_hint(err, "take another tag, or chrimg snapshot -d %s %s first", tag, path);
    return err_context(err, "%s", path);
}

/* "before-apply-20250101-120000", in UTC; with a number behind it when that is taken. */
static int keep_current(struct chr_image *image, char kept[CHR_TAG_MAX + 1], struct chr_error *err)
{
    struct timespec time = now();
    char stamp[32];
    struct tm tm;

    if (gmtime_r(&time.tv_sec, &tm) == NULL ||
        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm) == 0)
        return err_set(err, CHR_E_INTERNAL, "the clock gives no time");
    for (int try = 1; try <= KEPT_TRIES; try++) {
        (void)snprintf(kept, CHR_TAG_MAX + 1, try == 1 ? KEPT_PREFIX "%s" : KEPT_PREFIX "%s-%d",
                       stamp, try);
        if (create_now(image, kept, err) == 0)
            return 0;
        if (err->code != CHR_E_EXISTS)
            break;
    }
    return err_context(err, "cannot keep the state that would be lost");
}

static int find_tag(struct chr_image *image, const char *tag, struct chr_error *err)
{
    struct qcow2_snapshot *list = NULL;
    size_t count = 0;
    bool found = false;

    if (qcow2_snapshot_list(image->disk, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        found |= strcmp(list[i].name, tag) == 0 || strcmp(list[i].id, tag) == 0;
    qcow2_snapshots_free(list, count);
    if (found)
        return 0;
    (void)err_set(err, CHR_E_MISSING, "there is no snapshot %s", tag);
    return err_hint(err, "chrimg snapshot -l %s lists them", image->path);
}

int chr_snapshot_apply(const char *path, const char *tag, bool keep, char kept[CHR_TAG_MAX + 1],
                       struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;

    kept[0] = '\0';
    if (open_for_change(path, &image, err) < 0)
        return -1;
    if (find_tag(image, tag, err) < 0 || (keep && keep_current(image, kept, err) < 0) ||
        qcow2_snapshot_apply(image->disk, tag, err) < 0)
        return err_context(err, "%s", path);
    return 0;
}

int chr_snapshot_delete(const char *path, const char *tag, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;

    if (open_for_change(path, &image, err) < 0)
        return -1;
    if (find_tag(image, tag, err) < 0 || qcow2_snapshot_delete(image->disk, tag, err) < 0)
        return err_context(err, "%s", path);
    return 0;
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
