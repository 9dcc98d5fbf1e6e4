/* Writing the undo file, and the change under it; format and promise are in undo.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "op/copy.h"
#include "op/files.h"
#include "op/undo.h"
#include "op/undo_file.h"

/* ---- the undo file ---- */

/* Records on their way into the file, many at once. */
struct writer {
    struct blk *undo;
    uint64_t off;  /* in the file, of what BUF holds */
    uint32_t crc;  /* of all records before that */
    uint8_t *buf;  /* may hold a password's old bytes */
    size_t size;
    size_t used;
};

/* The old bytes from OFF on; behind the end of FILE they are zeros. */
static int read_old(struct blk *file, uint64_t off, uint8_t *old, size_t len,
                    struct chr_error *err)
{
    size_t there = off < file->size ? (size_t)min_u64(len, file->size - off) : 0;

    memset(old + there, 0, len - there);
    return there > 0 ? blk_read(file, off, old, there, err) : 0;
}

static int write_out(struct writer *writer, struct chr_error *err)
{
    if (blk_write(writer->undo, writer->off, writer->buf, writer->used, err) < 0)
        return -1;
    writer->crc = (uint32_t)crc32(writer->crc, writer->buf, (uInt)writer->used);
    writer->off += writer->used;
    writer->used = 0;
    return 0;
}

static int put_run(struct writer *writer, struct blk *file, struct blk *overlay,
                   const struct overlay_run *run, struct chr_error *err)
{
    uint8_t old[OVERLAY_RUN_MAX];
    uint8_t new[OVERLAY_RUN_MAX];
    int result = read_old(file, run->off, old, run->length, err) < 0
                     ? -1
                     : blk_read(overlay, run->off, new, run->length, err);

    for (size_t i = 0; result == 0 && i < run->length; i += OVERLAY_SECTOR) {
        uint8_t *p = writer->buf + writer->used;

        put_le64(p, run->off + i);
        put_le32(p + RECORD_CRC, crc_of(new + i, OVERLAY_SECTOR));
        memcpy(p + RECORD_BYTES, old + i, OVERLAY_SECTOR);
        writer->used += RECORD_SIZE;
        if (writer->used == writer->size)
            result = write_out(writer, err);
    }
    explicit_bzero(old, sizeof old);
    explicit_bzero(new, sizeof new);
    return result;
}

static int put_records(struct writer *writer, struct blk *file, struct blk *overlay,
                       struct chr_error *err)
{
    struct overlay_run run;

    for (uint64_t at = 0; overlay_next(overlay, at, &run); at = run.off + run.length)
        if (put_run(writer, file, overlay, &run, err) < 0)
            return -1;
    return write_out(writer, err);
}

static void make_header(uint8_t header[HEADER_SIZE], uint64_t image_size, uint64_t new_size,
                        uint32_t crc, size_t count)
{
    memset(header, 0, HEADER_SIZE);
    memcpy(header, UNDO_MAGIC, 16);
    put_le64(header + OFF_IMAGE_SIZE, image_size);
    put_le32(header + OFF_COUNT, (uint32_t)count);
    put_le32(header + OFF_CRC, crc);
    put_le32(header + OFF_HEADER_CRC, crc_of(header, OFF_HEADER_CRC));
    if (new_size != image_size) {
        put_le64(header + OFF_NEW_SIZE, new_size);
        put_le32(header + OFF_NEW_SIZE_CRC, crc_of(header + OFF_NEW_SIZE, 8));
    }
}

/* The header says that the records are there, so it comes after them. */
static int write_file(struct blk *undo, struct blk *file, struct blk *overlay, size_t count,
                      struct chr_error *err)
{
    size_t size = (size_t)min_u64(count, RECORDS_AT_ONCE) * RECORD_SIZE;
    AUTO_FREE uint8_t *buf = mem_new(1, size + 1, err); /* + 1: no change at all is one too */
    struct writer writer = {.undo = undo, .off = HEADER_SIZE, .buf = buf, .size = size};
    uint8_t header[HEADER_SIZE];
    int result = buf != NULL ? put_records(&writer, file, overlay, err) : -1;

    if (buf != NULL)
        explicit_bzero(buf, size);
    if (result < 0 || blk_flush(undo, err) < 0)
        return -1;
    make_header(header, file->size, overlay->size, writer.crc, count);
    return blk_write(undo, 0, header, HEADER_SIZE, err) < 0 ? -1 : blk_flush(undo, err);
}

static int write_undo(const char *undo_path, struct blk *file, struct blk *overlay,
                      struct chr_error *err)
{
    size_t count = (size_t)(overlay_changed(overlay) / OVERLAY_SECTOR);
    AUTO_BLK struct blk *undo = NULL;
    int fd;

    if (count > MAX_RECORDS)
        return err_set(err, CHR_E_REFUSED, "a change of %zu sectors is too much for an undo file",
                       count);
    fd = open(undo_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "cannot create the undo file %s", undo_path);
    if (raw_from_fd(fd, undo_path, HEADER_SIZE + count * RECORD_SIZE, true, &undo, err) == 0 &&
        write_file(undo, file, overlay, count, err) == 0 && sync_folder_of(undo_path, err) == 0)
        return 0;
    (void)unlink(undo_path); /* ours, and nothing depends on it yet */
    return -1;
}

/* ---- the change ---- */

/* The tables at the start are what makes the rest count: the last run goes first. */
static int write_changes(struct blk *file, struct blk *overlay, struct chr_error *err)
{
    struct overlay_run *runs = NULL;
    size_t count = 0;
    size_t capacity = 0;
    struct overlay_run run;
    int result = 0;

    if (overlay->size > file->size)
        result = raw_resize(file, overlay->size, err);
    for (uint64_t at = 0; result == 0 && overlay_next(overlay, at, &run); at = run.off + run.length) {
        result = mem_grow(&runs, &capacity, count, sizeof *runs, err);
        if (result == 0)
            runs[count++] = run;
    }
    while (result == 0 && count > 0) {
        count--;
        result = copy_run(overlay, &runs[count], file, err);
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
                  "%zu bytes longer", path, sizeof "." UNDO_SUFFIX - 1);
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
        return undo_remove(undo_path, err);
    /* The disk is full or failing: try to put back what was; if that fails too,
     * the undo file stays, and the next run goes on from it. */
    if (undo_roll_back(path, file, &done, &ignored) < 0)
        (void)err_hint(err, "the old contents are kept in %s; run chrimg again when the disk is "
                            "well", undo_path);
    return -1;
}
