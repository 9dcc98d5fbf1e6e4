/* The undo file; format and promise are in the header. */
#include "op/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "block/raw.h"
#include "op/files.h"

#define MAGIC "chrimg undo 2\n\0"
#define SUFFIX ".chrimg-undo"

enum {
    OFF_IMAGE_SIZE = 16,
    OFF_COUNT = 24,
    OFF_CRC = 28,
    OFF_HEADER_CRC = 32,
    HEADER_SIZE = 512, /* a sector of its own, which is written whole or not at all */
    RECORD_CRC = 8,
    RECORD_BYTES = 12,
    RECORD_SIZE = RECORD_BYTES + OVERLAY_SECTOR,
    /* No change of ours touches more; bounds what a stray file can make us read. */
    MAX_RECORDS = 1 << 20,
};

static uint32_t crc_of(const void *bytes, size_t len)
{
    return (uint32_t)crc32(0, bytes, (uInt)len);
}

/* By its real name, so that a symbolic link to the image leads to the same undo file. */
static char *undo_path_of(const char *path, struct chr_error *err)
{
    AUTO_FREE char *real = realpath(path, NULL);

    return hidden_path_beside(real != NULL ? real : path, SUFFIX, err);
}

/* ---- writing it ---- */

static int put_records(struct blk *file, struct blk *overlay, uint8_t *records,
                       struct chr_error *err)
{
    struct overlay_run run;
    uint8_t *p = records;

    for (uint64_t at = 0; overlay_next(overlay, at, &run); at = run.off + run.length)
        for (size_t i = 0; i < run.length; i += OVERLAY_SECTOR, p += RECORD_SIZE) {
            put_le64(p, run.off + i);
            put_le32(p + RECORD_CRC, crc_of(run.bytes + i, OVERLAY_SECTOR));
            if (blk_read(file, run.off + i, p + RECORD_BYTES, OVERLAY_SECTOR, err) < 0)
                return -1;
        }
    return 0;
}

static void make_header(uint8_t header[HEADER_SIZE], uint64_t image_size, const uint8_t *records,
                        size_t count)
{
    memset(header, 0, HEADER_SIZE);
    memcpy(header, MAGIC, 16);
    put_le64(header + OFF_IMAGE_SIZE, image_size);
    put_le32(header + OFF_COUNT, (uint32_t)count);
    put_le32(header + OFF_CRC, crc_of(records, count * RECORD_SIZE));
    put_le32(header + OFF_HEADER_CRC, crc_of(header, OFF_HEADER_CRC));
}

/* The header says that the records are there, so it comes after them. */
static int write_file(struct blk *undo, const uint8_t *header, const uint8_t *records,
                      struct chr_error *err)
{
    if (blk_write(undo, HEADER_SIZE, records, (size_t)(undo->size - HEADER_SIZE), err) < 0 ||
        blk_flush(undo, err) < 0 || blk_write(undo, 0, header, HEADER_SIZE, err) < 0)
        return -1;
    return blk_flush(undo, err);
}

static int write_undo(const char *undo_path, struct blk *file, struct blk *overlay,
                      struct chr_error *err)
{
    size_t count = (size_t)(overlay_changed(overlay) / OVERLAY_SECTOR);
    size_t size = count * RECORD_SIZE;
    uint8_t header[HEADER_SIZE];
    AUTO_FREE uint8_t *records = NULL;
    AUTO_BLK struct blk *undo = NULL;
    int fd;

    if (count > MAX_RECORDS)
        return err_set(err, CHR_E_REFUSED, "a change of %zu sectors is too much for an undo file",
                       count);
    records = mem_new(1, size + 1, err); /* + 1: no change at all is one too */
    if (records == NULL || put_records(file, overlay, records, err) < 0)
        return -1;
    make_header(header, file->size, records, count);
    fd = open(undo_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot create the undo file %s", undo_path);
    if (raw_from_fd(fd, undo_path, HEADER_SIZE + size, true, &undo, err) == 0 &&
        write_file(undo, header, records, err) == 0 && sync_folder_of(undo_path, err) == 0)
        return 0;
    (void)unlink(undo_path); /* ours, and nothing depends on it yet */
    return -1;
}

static int remove_undo(const char *undo_path, struct chr_error *err)
{
    if (unlink(undo_path) < 0)
        return err_errno(err, errno, "cannot remove the undo file %s", undo_path);
    return sync_folder_of(undo_path, err);
}

/* The tables at the start are what makes the rest count: the last run goes first. */
static int write_changes(struct blk *file, struct blk *overlay, struct chr_error *err)
{
    struct overlay_run *runs = NULL;
    size_t count = 0;
    size_t capacity = 0;
    struct overlay_run run;
    int result = 0;

    for (uint64_t at = 0; result == 0 && overlay_next(overlay, at, &run); at = run.off + run.length) {
        result = mem_grow(&runs, &capacity, count, sizeof *runs, err);
        if (result == 0)
            runs[count++] = run;
    }
    while (result == 0 && count > 0) {
        count--;
        result = blk_write(file, runs[count].off, runs[count].bytes, runs[count].length, err);
    }
    free(runs);
    return result;
}

/* Beside a device node is /dev, which is gone after the very crash that this is for. */
static int check_file(const char *path, const struct blk *file, struct chr_error *err)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", path);
    if (!S_ISREG(st.st_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a device, beside which no undo file would last",
                      path);
        return err_hint(err, "change a copy in a file, and write that to the device");
    }
    if (st.st_nlink > 1) {
        (void)err_set(err, CHR_E_REFUSED, "%s has %ju hard links; the undo file would be found by "
                      "one name only", path, (uintmax_t)st.st_nlink);
        return err_hint(err, "change a copy: cp %s COPY", path);
    }
    return 0;
}

int undo_check(const char *path, const struct blk *file, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    struct stat st;

    if (undo_path == NULL || check_file(path, file, err) < 0)
        return -1;
    if (lstat(undo_path, &st) == 0 || errno != ENAMETOOLONG)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s: its name is too long for that of an undo file, which is "
                  "%zu bytes longer", path, sizeof "." SUFFIX - 1);
    return err_hint(err, "give the image a shorter name first");
}

int undo_commit(const char *path, struct blk *file, struct blk *overlay, struct chr_error *err)
{
    AUTO_FREE char *undo_path = undo_path_of(path, err);
    struct chr_error ignored;
    bool done;

    if (undo_path == NULL || undo_check(path, file, err) < 0)
        return -1;
    if (write_undo(undo_path, file, overlay, err) < 0)
        return -1;
    if (write_changes(file, overlay, err) == 0 && blk_flush(file, err) == 0)
        return remove_undo(undo_path, err);
    /* The disk is full or failing: try to put back what was; if that fails too,
     * the undo file stays, and the next run goes on from it. */
    if (undo_roll_back(path, file, &done, &ignored) < 0)
        (void)err_hint(err, "the old contents are kept in %s; run chrimg again when the disk is "
                            "well", undo_path);
    return -1;
}

/* ---- reading it ---- */

struct undo {
    uint8_t *records; /* NULL: there is no whole undo file */
    uint32_t count;
    bool present;
};

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
    if (memcmp(header, MAGIC, 16) != 0 || undo->count > MAX_RECORDS ||
        le32(header + OFF_HEADER_CRC) != crc_of(header, OFF_HEADER_CRC))
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
    if (le64(header + OFF_IMAGE_SIZE) != file->size) {
        (void)err_set(err, CHR_E_REFUSED, "%s was left for an image of %" PRIu64 " bytes",
                      undo_path, le64(header + OFF_IMAGE_SIZE));
        return hint_replaced(undo_path, err);
    }
    undo->records = STEAL(records);
    return 0;
}

/* Every sector must be as before, or as the interrupted run wanted it. */
static int check_records(const struct undo *undo, const char *undo_path, struct blk *file,
                         struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];

    for (uint32_t i = 0; i < undo->count; i++) {
        const uint8_t *record = undo->records + (size_t)i * RECORD_SIZE;

        if (blk_read(file, le64(record), sector, sizeof sector, err) < 0)
            return -1;
        if (memcmp(sector, record + RECORD_BYTES, sizeof sector) != 0 &&
            crc_of(sector, sizeof sector) != le32(record + RECORD_CRC)) {
            (void)err_set(err, CHR_E_REFUSED, "sector at offset %" PRIu64
                          " was written by somebody else since", le64(record));
            return hint_replaced(undo_path, err);
        }
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
        const uint8_t *record = undo->records + (size_t)i * RECORD_SIZE;

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
        (undo->records == NULL || check_records(undo, undo_path, file, err) == 0))
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
        if (result == 0)
            result = blk_flush(file, err);
        *done = result == 0;
        free(undo.records);
    }
    return result == 0 ? remove_undo(undo_path, err) : -1;
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
