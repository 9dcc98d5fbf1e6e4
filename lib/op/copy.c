/* Copying disks. */
#include "op/copy.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#ifdef __linux__
#include <linux/fs.h>
#endif

#include "base/bytes.h"
#include "block/overlay.h"

#define CHUNK (1u << 20)
/* What a host's file systems allocate by; smaller holes would save nothing. */
#define GRAIN 4096

/* Let the file system share SOURCE's blocks with TARGET; false where it cannot. */
static bool clone_file(const struct blk *source, const struct blk *target)
{
#ifdef FICLONE
    return source->fd >= 0 && target->fd >= 0 && ioctl(target->fd, FICLONE, source->fd) == 0;
#else
    (void)source;
    (void)target;
    return false;
#endif
}

/*
 * Let the host begin to write what was just copied: the disk works while we go
 * on, and the flush at the end has little left to wait for.
 */
static void start_writing(const struct blk *target, uint64_t off, uint64_t len)
{
#ifdef SYNC_FILE_RANGE_WRITE
    if (target->fd >= 0)
        (void)sync_file_range(target->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
#else
    (void)target;
    (void)off;
    (void)len;
#endif
}

/* Write what is not zero of the LEN bytes at BUF. */
static int write_data(struct blk *target, uint64_t off, const uint8_t *buf, size_t len,
                      struct chr_error *err)
{
    size_t at = 0;

    while (at < len) {
        size_t end = at;

        while (at < len && is_zero(buf + at, (size_t)min_u64(GRAIN, len - at)))
            at += (size_t)min_u64(GRAIN, len - at);
        for (end = at; end < len && !is_zero(buf + end, (size_t)min_u64(GRAIN, len - end));)
            end += (size_t)min_u64(GRAIN, len - end);
        if (blk_write(target, off + at, buf + at, end - at, err) < 0)
            return -1;
        at = end;
    }
    return 0;
}

int copy_disk(struct blk *source, struct blk *target, const struct progress *progress,
              struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = NULL;
    struct blk_extent extent;

    if (clone_file(source, target))
        return 0;
    buf = mem_new(1, CHUNK, err);
    if (buf == NULL)
        return -1;
    for (uint64_t off = 0; off < source->size; off += extent.length) {
        if (blk_extent(source, off, source->size - off, &extent, err) < 0)
            return -1;
        if (extent.kind == BLK_DATA) {
            extent.length = min_u64(extent.length, CHUNK);
            if (blk_read(source, off, buf, (size_t)extent.length, err) < 0 ||
                write_data(target, off, buf, (size_t)extent.length, err) < 0)
                return -1;
            start_writing(target, off, extent.length);
        }
        if (progress->call != NULL)
            progress->call(off + extent.length, source->size, progress->context);
    }
    return 0;
}

int copy_run(struct blk *overlay, const struct overlay_run *run, struct blk *target,
             struct chr_error *err)
{
    uint8_t bytes[OVERLAY_RUN_MAX];
    int result = blk_read(overlay, run->off, bytes, run->length, err) < 0
                     ? -1
                     : blk_write(target, run->off, bytes, run->length, err);

    explicit_bzero(bytes, run->length); /* may be those of a password */
    return result;
}

int copy_changes(struct blk *overlay, struct blk *target, struct chr_error *err)
{
    struct overlay_run run;

    for (uint64_t at = 0; overlay_next(overlay, at, &run); at = run.off + run.length)
        if (copy_run(overlay, &run, target, err) < 0)
            return -1;
    return 0;
}
