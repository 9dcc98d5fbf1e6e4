/* Taking back by the undo file; format and promise are in the header. */
#include "op/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "op/files.h"
#include "op/undo_file.h"

#define CHUNK 65536

char *undo_path_of(const char *path, struct chr_error *err)
{
    AUTO_FREE char *real = realpath(path, NULL);

    return hidden_path_beside(real != NULL ? real : path, UNDO_SUFFIX, err);
}

int undo_remove(const char *undo_path, struct chr_error *err)
{
    if (unlink(undo_path) < 0)
        return err_errno(err, errno, "cannot remove the undo file %s", undo_path);
    return sync_folder_of(undo_path, err);
}

/* ---- reading it ---- */

struct undo {
    uint8_t *records; /* NULL: there is no whole undo file */
    uint32_t count;
    uint64_t size;     /* of the image before */
    uint64_t new_size; /* and after, where it grows; else 0 */
    bool present;
};

static const uint8_t *record_of(const struct undo *undo, uint32_t i)
{
    return undo->records + (size_t)i * RECORD_SIZE;
}

/* Whether RECORD is of a sector behind the old end, which is cut off and not put back. */
static bool is_growth(const struct undo *undo, const uint8_t *record)
{
    return undo->new_size != 0 && le64(record) >= undo->size;
}

static int hint_replaced(const char *undo_path, struct chr_error *err)
{
    return err_hint(err, "if the image was replaced since then, remove %s", undo_path);
}

static int refuse_untrusted(const char *undo_path, const char *why, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s %s", undo_path, why);
    return err_hint(err, "chrimg did not make it like this; look where %s comes from, and "
                         "remove it", undo_path);
}

/* What it says is written into the image, so it must come from who may write the image. */
static int check_trust(const char *undo_path, int fd, const struct blk *file, struct chr_error *err)
{
    struct stat st;
    struct stat image;

    if (fstat(fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", undo_path);
    if (fstat(file->fd, &image) < 0)
        return err_errno(err, errno, "cannot stat the image of %s", undo_path);
    if (!S_ISREG(st.st_mode))
        return refuse_untrusted(undo_path, "is not a regular file", err);
    if (st.st_uid != geteuid() && st.st_uid != image.st_uid)
        return refuse_untrusted(undo_path, "belongs to neither you nor the image's owner", err);
    if ((st.st_mode & 022) != 0)
        return refuse_untrusted(undo_path, "can be written by others than its owner", err);
    return 0;
}

/* Open it; *OUT stays NULL when there is none. */
static int open_undo(const char *undo_path, const struct blk *file, struct blk **out,
                     struct chr_error *err)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    AUTO_CLOSE int fd = open(undo_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int handed = fd;

    /* With too long a name none can have been made. */
    if (fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG))
        return 0;
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return refuse_untrusted(undo_path, "is not a regular file", err);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", undo_path);
    if (check_trust(undo_path, fd, file, err) < 0)
        return -1;
    fd = -1;
    return raw_from_fd(handed, undo_path, (uint64_t)lseek(handed, 0, SEEK_END), false, out, err);
}

static int damaged(const char *undo_path, const char *part, struct chr_error *err)
{
    (void)err_set(err, CHR_E_DAMAGED, "the %s of %s are not what was written", part, undo_path);
    return err_hint(err, "restore the image from a copy, or remove %s to go on with the image as "
                         "it is, which may be half changed", undo_path);
}

/* An image only ever grows, and without growth the fields are zeros. */
static bool growth_is_sound(const struct undo *undo, const uint8_t header[HEADER_SIZE])
{
    uint32_t crc = le32(header + OFF_NEW_SIZE_CRC);

    if (undo->new_size == 0)
        return crc == 0;
    return undo->new_size > undo->size && crc == crc_of(header + OFF_NEW_SIZE, 8);
}

/* Take the header apart; *CUT: the file is not whole, and so the image was not touched. */
static int read_header(struct blk *blk, const char *undo_path, struct undo *undo,
                       uint8_t header[HEADER_SIZE], bool *cut, struct chr_error *err)
{
    *cut = blk->size < HEADER_SIZE;
    if (*cut)
        return 0;
    if (blk_read(blk, 0, header, HEADER_SIZE, err) < 0)
        return -1;
    *cut = is_zero(header, HEADER_SIZE);
    if (*cut)
        return 0;
    undo->count = le32(header + OFF_COUNT);
    if (memcmp(header, UNDO_MAGIC, 16) != 0 || undo->count > MAX_RECORDS ||
        le32(header + OFF_HEADER_CRC) != crc_of(header, OFF_HEADER_CRC))
        return damaged(undo_path, "first bytes", err);
    undo->size = le64(header + OFF_IMAGE_SIZE);
    undo->new_size = le64(header + OFF_NEW_SIZE);
    if (!growth_is_sound(undo, header))
        return damaged(undo_path, "first bytes", err);
    return 0;
}

static int load(const char *undo_path, const struct blk *file, struct undo *undo,
                struct chr_error *err)
{
    AUTO_FREE uint8_t *records = NULL;
    AUTO_BLK struct blk *blk = NULL;
    uint8_t header[HEADER_SIZE];
    size_t size;
    bool cut;

    if (open_undo(undo_path, file, &blk, err) < 0)
        return -1;
    undo->present = blk != NULL;
    if (!undo->present)
        return 0;
    if (read_header(blk, undo_path, undo, header, &cut, err) < 0)
        return -1;
    if (cut)
        return 0;
    size = (size_t)undo->count * RECORD_SIZE;
    if (blk->size != HEADER_SIZE + size)
        return damaged(undo_path, "records", err);
    records = mem_new(1, size + 1, err);
    if (records == NULL || blk_read(blk, HEADER_SIZE, records, size, err) < 0)
        return -1;
    if (crc_of(records, size) != le32(header + OFF_CRC))
        return damaged(undo_path, "records", err);
    if (file->size != undo->size && file->size != undo->new_size) {
        (void)err_set(err, CHR_E_REFUSED, "%s was left for an image of %" PRIu64 " bytes",
                      undo_path, undo->size);
        return hint_replaced(undo_path, err);
    }
    undo->records = STEAL(records);
    return 0;
}

static int refuse_written(const char *undo_path, uint64_t off, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "sector at offset %" PRIu64
                  " was written by somebody else since", off);
    return hint_replaced(undo_path, err);
}

/* Every sector must be as before, or as the interrupted run wanted it. */
static int check_records(const struct undo *undo, const char *undo_path, struct blk *file,
                         struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];

    for (uint32_t i = 0; i < undo->count; i++) {
        const uint8_t *record = record_of(undo, i);

        if (le64(record) >= file->size && is_growth(undo, record))
            continue;
        if (blk_read(file, le64(record), sector, sizeof sector, err) < 0)
            return -1;
        if (memcmp(sector, record + RECORD_BYTES, sizeof sector) != 0 &&
            crc_of(sector, sizeof sector) != le32(record + RECORD_CRC))
            return refuse_written(undo_path, le64(record), err);
    }
    return 0;
}

/* Whether there is a record for OFF; the first with it or behind it is looked for from *AT on. */
static bool has_record(const struct undo *undo, uint64_t off, uint32_t *at)
{
    while (*at < undo->count && le64(record_of(undo, *at)) < off)
        ++*at;
    return *at < undo->count && le64(record_of(undo, *at)) == off;
}

/*
 * Behind the old end, which is about to be cut off, there may be nothing but what the
 * interrupted run wrote: a router that has run since may have its files there.
 */
static int check_growth(const struct undo *undo, const char *undo_path, struct blk *file,
                        struct chr_error *err)
{
    uint8_t chunk[CHUNK];
    struct blk_extent extent;
    uint32_t at = 0;

    for (uint64_t off = undo->size; off < file->size; off += extent.length) {
        if (blk_extent(file, off, file->size - off, &extent, err) < 0)
            return -1;
        if (extent.kind == BLK_ZERO)
            continue;
        extent.length = min_u64(extent.length, sizeof chunk);
        if (blk_read(file, off, chunk, (size_t)extent.length, err) < 0)
            return -1;
        for (size_t i = 0; i < extent.length; i += OVERLAY_SECTOR)
            if (!is_zero(chunk + i, (size_t)min_u64(OVERLAY_SECTOR, extent.length - i)) &&
                !has_record(undo, off + i, &at))
                return refuse_written(undo_path, off + i, err);
    }
    return 0;
}

/*
 * Put the old sectors onto TARGET, the image itself or an overlay on it.  Those
 * that are there still are left alone: where the disk is full, writing into a hole
 * of the image would fail.
 */
static int apply(const struct undo *undo, struct blk *target, struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];

    for (uint32_t i = 0; i < undo->count; i++) {
        const uint8_t *record = record_of(undo, i);

        if (is_growth(undo, record))
            continue;
        if (blk_read(target, le64(record), sector, sizeof sector, err) < 0)
            return -1;
        if (memcmp(sector, record + RECORD_BYTES, sizeof sector) != 0 &&
            blk_write(target, le64(record), record + RECORD_BYTES, OVERLAY_SECTOR, err) < 0)
            return -1;
    }
    return 0;
}

static int load_checked(const char *path, const char *undo_path, struct blk *file,
                        struct undo *undo, struct chr_error *err)
{
    if (load(undo_path, file, undo, err) == 0 &&
        (undo->records == NULL || (check_records(undo, undo_path, file, err) == 0 &&
                                   check_growth(undo, undo_path, file, err) == 0)))
        return 0;
    (void)err_context(err, "%s: a change of it was interrupted, and cannot be taken back", path);
    free(undo->records);
    undo->records = NULL;
    return -1;
}

int undo_roll_back(const char *path, struct blk *file, bool *done, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    struct undo undo = {0};
    int result = 0;

    *done = false;
    if (undo_path == NULL || load_checked(path, undo_path, file, &undo, err) < 0)
        return -1;
    if (!undo.present)
        return 0;
    if (undo.records != NULL) {
        result = apply(&undo, file, err);
        if (result == 0 && file->size != undo.size)
            result = raw_resize(file, undo.size, err);
        if (result == 0)
            result = blk_flush(file, err);
        *done = result == 0;
        free(undo.records);
    }
    return result == 0 ? undo_remove(undo_path, err) : -1;
}

int undo_view(const char *path, struct blk *file, struct blk **view, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    struct undo undo = {0};
    int result;

    *view = NULL;
    if (undo_path == NULL || load_checked(path, undo_path, file, &undo, err) < 0)
        return -1;
    if (undo.records == NULL)
        return 0;
    result = overlay_open(file, view, err);
    if (result == 0)
        (*view)->size = undo.size;
    if (result == 0)
        result = apply(&undo, *view, err);
    free(undo.records);
    return result;
}

int undo_forget(const char *path, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);

    if (undo_path == NULL)
        return -1;
    if (unlink(undo_path) == 0 || errno == ENOENT || errno == ENAMETOOLONG)
        return 0;
    (void)err_errno(err, errno, "cannot remove the undo file %s of an earlier image", undo_path);
    return err_hint(err, "remove it before %s is used: it does not belong to it", path);
}
