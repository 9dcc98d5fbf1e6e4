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
    struct blk *blk; /* the file; NULL: there is none */
    bool whole;      /* else it was cut off, and the image was not touched */
    uint32_t count;
    uint64_t size;     /* of the image before */
    uint64_t new_size; /* and after, where it grows; else 0 */
    uint8_t *records;  /* READ of them, from FIRST on; may hold a password */
    uint32_t first;
    uint32_t read;
};

static void undo_release(struct undo *undo)
{
    if (undo->records != NULL)
        explicit_bzero(undo->records, RECORDS_AT_ONCE * RECORD_SIZE);
    free(undo->records);
    blk_cleanup(&undo->blk);
}
#define AUTO_UNDO CLEANUP(undo_release)

/* Record I of the file, good until the next call.  They are asked for in their order. */
static int read_record(struct undo *undo, uint32_t i, const uint8_t **out, struct chr_error *err)
{
    if (i - undo->first >= undo->read) {
        undo->first = i;
        undo->read = (uint32_t)min_u64(RECORDS_AT_ONCE, undo->count - i);
        if (blk_read(undo->blk, HEADER_SIZE + (uint64_t)i * RECORD_SIZE, undo->records,
                     (size_t)undo->read * RECORD_SIZE, err) < 0)
            return -1;
    }
    *out = undo->records + (size_t)(i - undo->first) * RECORD_SIZE;
    return 0;
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
static int read_header(const char *undo_path, struct undo *undo, uint8_t header[HEADER_SIZE],
                       bool *cut, struct chr_error *err)
{
    *cut = undo->blk->size < HEADER_SIZE;
    if (*cut)
        return 0;
    if (blk_read(undo->blk, 0, header, HEADER_SIZE, err) < 0)
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

static int check_crc(const char *undo_path, struct undo *undo, uint32_t wanted,
                     struct chr_error *err)
{
    uint32_t crc = 0;
    const uint8_t *record;

    if (undo->blk->size != HEADER_SIZE + (uint64_t)undo->count * RECORD_SIZE)
        return damaged(undo_path, "records", err);
    undo->records = mem_new(RECORDS_AT_ONCE, RECORD_SIZE, err);
    if (undo->records == NULL)
        return -1;
    for (uint32_t i = 0; i < undo->count; i++) {
        if (read_record(undo, i, &record, err) < 0)
            return -1;
        crc = (uint32_t)crc32(crc, record, RECORD_SIZE);
    }
    return crc == wanted ? 0 : damaged(undo_path, "records", err);
}

static int load(const char *undo_path, const struct blk *file, struct undo *undo,
                struct chr_error *err)
{
    uint8_t header[HEADER_SIZE];
    bool cut;

    if (open_undo(undo_path, file, &undo->blk, err) < 0)
        return -1;
    if (undo->blk == NULL)
        return 0;
    if (read_header(undo_path, undo, header, &cut, err) < 0)
        return -1;
    if (cut)
        return 0;
    if (check_crc(undo_path, undo, le32(header + OFF_CRC), err) < 0)
        return -1;
    if (file->size != undo->size && file->size != undo->new_size) {
        (void)err_set(err, CHR_E_REFUSED, "%s was left for an image of %" PRIu64 " bytes",
                      undo_path, undo->size);
        return hint_replaced(undo_path, err);
    }
    undo->whole = true;
    return 0;
}

static int refuse_written(const char *undo_path, uint64_t off, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "sector at offset %" PRIu64
                  " was written by somebody else since", off);
    return hint_replaced(undo_path, err);
}

/* Every sector must be as before, or as the interrupted run wanted it. */
static int check_records(struct undo *undo, const char *undo_path, struct blk *file,
                         struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];
    const uint8_t *record;

    for (uint32_t i = 0; i < undo->count; i++) {
        if (read_record(undo, i, &record, err) < 0)
            return -1;
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
static int has_record(struct undo *undo, uint64_t off, uint32_t *at, bool *found,
                      struct chr_error *err)
{
    const uint8_t *record;

    *found = false;
    for (; *at < undo->count; ++*at) {
        if (read_record(undo, *at, &record, err) < 0)
            return -1;
        if (le64(record) >= off) {
            *found = le64(record) == off;
            return 0;
        }
    }
    return 0;
}

/* The LEN bytes of CHUNK, at OFF: zeros, or sectors with a record from *AT on. */
static int check_chunk(struct undo *undo, const char *undo_path, uint64_t off,
                       const uint8_t *chunk, size_t len, uint32_t *at, struct chr_error *err)
{
    bool found;

    for (size_t i = 0; i < len; i += OVERLAY_SECTOR) {
        if (is_zero(chunk + i, (size_t)min_u64(OVERLAY_SECTOR, len - i)))
            continue;
        if (has_record(undo, off + i, at, &found, err) < 0)
            return -1;
        if (!found)
            return refuse_written(undo_path, off + i, err);
    }
    return 0;
}

/*
 * Behind the old end, which is about to be cut off, there may be nothing but what the
 * interrupted run wrote: a router that has run since may have its files there.
 */
static int check_growth(struct undo *undo, const char *undo_path, struct blk *file,
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
        if (blk_read(file, off, chunk, (size_t)extent.length, err) < 0 ||
            check_chunk(undo, undo_path, off, chunk, (size_t)extent.length, &at, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * Put the old sectors onto TARGET, the image itself or an overlay on it.  Those
 * that are there still are left alone: where the disk is full, writing into a hole
 * of the image would fail.
 */
static int apply(struct undo *undo, struct blk *target, struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];
    const uint8_t *record;

    for (uint32_t i = 0; i < undo->count; i++) {
        if (read_record(undo, i, &record, err) < 0)
            return -1;
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
        (!undo->whole || (check_records(undo, undo_path, file, err) == 0 &&
                          check_growth(undo, undo_path, file, err) == 0)))
        return 0;
    return err_context(err, "%s: a change of it was interrupted, and cannot be taken back", path);
}

int undo_roll_back(const char *path, struct blk *file, bool *done, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    AUTO_UNDO struct undo undo = {0};
    int result = 0;

    *done = false;
    if (undo_path == NULL || load_checked(path, undo_path, file, &undo, err) < 0)
        return -1;
    if (undo.blk == NULL)
        return 0;
    if (undo.whole) {
        result = apply(&undo, file, err);
        if (result == 0 && file->size != undo.size)
            result = raw_resize(file, undo.size, err);
        if (result == 0)
            result = blk_flush(file, err);
        *done = result == 0;
    }
    return result == 0 ? undo_remove(undo_path, err) : -1;
}

int undo_view(const char *path, struct blk *file, struct blk **view, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    AUTO_UNDO struct undo undo = {0};
    int result;

    *view = NULL;
    if (undo_path == NULL || load_checked(path, undo_path, file, &undo, err) < 0)
        return -1;
    if (!undo.whole)
        return 0;
    result = overlay_open(file, view, err);
    if (result == 0)
        (*view)->size = undo.size;
    if (result == 0)
        result = apply(&undo, *view, err);
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
