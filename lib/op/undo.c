/* The undo file; format and promise are in the header. */
#include "op/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/overlay.h"
#include "block/raw.h"
#include "op/files.h"

#define MAGIC "chrimg undo 1\n\0"
#define SUFFIX ".chrimg-undo"

enum {
    OFF_IMAGE_SIZE = 16,
    OFF_COUNT = 24,
    OFF_CRC = 28,
    HEADER_SIZE = 32,
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

static int write_undo(const char *undo_path, struct blk *file, struct blk *overlay,
                      struct chr_error *err)
{
    size_t count = (size_t)(overlay_changed(overlay) / OVERLAY_SECTOR);
    size_t size = HEADER_SIZE + count * RECORD_SIZE;
    AUTO_FREE uint8_t *bytes = NULL;
    AUTO_BLK struct blk *undo = NULL;
    int fd;

    if (count > MAX_RECORDS)
        return err_set(err, CHR_E_REFUSED, "a change of %zu sectors is too much for an undo file",
                       count);
    bytes = mem_new(1, size, err);
    if (bytes == NULL || put_records(file, overlay, bytes + HEADER_SIZE, err) < 0)
        return -1;
    memcpy(bytes, MAGIC, 16);
    put_le64(bytes + OFF_IMAGE_SIZE, file->size);
    put_le32(bytes + OFF_COUNT, (uint32_t)count);
    put_le32(bytes + OFF_CRC, crc_of(bytes + HEADER_SIZE, size - HEADER_SIZE));
    fd = open(undo_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot create the undo file %s", undo_path);
    if (raw_from_fd(fd, undo_path, size, true, &undo, err) == 0 &&
        blk_write(undo, 0, bytes, size, err) == 0 && blk_flush(undo, err) == 0 &&
        sync_folder_of(undo_path, err) == 0)
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
int undo_check(const char *path, const struct blk *file, struct chr_error *err)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", path);
    if (S_ISREG(st.st_mode))
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s is a device, beside which no undo file would last", path);
    return err_hint(err, "change a copy in a file, and write that to the device");
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

static int load(const char *undo_path, const struct blk *file, struct undo *undo,
                struct chr_error *err)
{
    AUTO_FREE uint8_t *records = NULL;
    AUTO_BLK struct blk *blk = NULL;
    uint8_t header[HEADER_SIZE];
    uint64_t size;
    int fd = open(undo_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, errno, "cannot open %s", undo_path);
    undo->present = true;
    if (raw_from_fd(fd, undo_path, (uint64_t)lseek(fd, 0, SEEK_END), false, &blk, err) < 0)
        return -1;
    if (blk->size < HEADER_SIZE)
        return 0;
    if (blk_read(blk, 0, header, HEADER_SIZE, err) < 0)
        return -1;
    undo->count = le32(header + OFF_COUNT);
    size = (uint64_t)undo->count * RECORD_SIZE;
    if (memcmp(header, MAGIC, 16) != 0 || undo->count > MAX_RECORDS ||
        blk->size != HEADER_SIZE + size)
        return 0;
    records = mem_new(1, (size_t)size, err);
    if (records == NULL || blk_read(blk, HEADER_SIZE, records, (size_t)size, err) < 0)
        return -1;
    if (crc_of(records, (size_t)size) != le32(header + OFF_CRC))
        return 0;
    if (le64(header + OFF_IMAGE_SIZE) != file->size)
        return err_set(err, CHR_E_REFUSED, "%s was left for an image of %" PRIu64 " bytes",
                       undo_path, le64(header + OFF_IMAGE_SIZE));
    undo->records = STEAL(records);
    return 0;
}

/* Every sector must be as before, or as the interrupted run wanted it. */
static int check_records(const struct undo *undo, struct blk *file, struct chr_error *err)
{
    uint8_t sector[OVERLAY_SECTOR];

    for (uint32_t i = 0; i < undo->count; i++) {
        const uint8_t *record = undo->records + (size_t)i * RECORD_SIZE;

        if (blk_read(file, le64(record), sector, sizeof sector, err) < 0)
            return -1;
        if (memcmp(sector, record + RECORD_BYTES, sizeof sector) != 0 &&
            crc_of(sector, sizeof sector) != le32(record + RECORD_CRC))
            return err_set(err, CHR_E_REFUSED, "sector at offset %" PRIu64
                           " was written by somebody else since", le64(record));
    }
    return 0;
}

/* Put the old sectors onto TARGET, the image itself or an overlay on it. */
static int apply(const struct undo *undo, struct blk *target, struct chr_error *err)
{
    for (uint32_t i = 0; i < undo->count; i++) {
        const uint8_t *record = undo->records + (size_t)i * RECORD_SIZE;

        if (blk_write(target, le64(record), record + RECORD_BYTES, OVERLAY_SECTOR, err) < 0)
            return -1;
    }
    return 0;
}

static int load_checked(const char *path, const char *undo_path, struct blk *file,
                        struct undo *undo, struct chr_error *err)
{
    if (load(undo_path, file, undo, err) == 0 &&
        (undo->records == NULL || check_records(undo, file, err) == 0))
        return 0;
    (void)err_context(err, "%s: a change of it was interrupted, and cannot be taken back", path);
    if (err->code == CHR_E_REFUSED)
        (void)err_hint(err, "if the image was replaced since then, remove %s", undo_path);
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
