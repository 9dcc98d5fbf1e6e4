/* Raw files and block devices. */
#include "block/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/falloc.h>
#include <linux/fs.h>
#endif

#include "base/bytes.h"
#include "base/inode.h"
#include "block/lock.h"

#define NOTHING (-1) /* no descriptor */
/* How often a file may be replaced between its opening and its lock. */
#define ATTEMPTS 100

struct raw {
    struct blk blk; /* blk.fd is ours to close */
    char *name;
};

static struct raw *raw_of(struct blk *blk)
{
    return (struct raw *)blk;
}

static int raw_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = pread(blk->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "%s: cannot read at offset %" PRIu64, raw_of(blk)->name,
                             off);
        if (n == 0)
            return err_set(err, CHR_E_IO, "%s: the file became shorter while it was read",
                           raw_of(blk)->name);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int raw_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                     struct chr_error *err)
{
    const uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = pwrite(blk->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "%s: cannot write at offset %" PRIu64, raw_of(blk)->name,
                             off);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int raw_zero(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err)
{
#ifdef FALLOC_FL_PUNCH_HOLE
    if (fallocate(blk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                  (off_t)len) == 0)
        return 0;
#endif
    return blk_write_zeros(blk, off, len, err);
}

static int raw_flush(struct blk *blk, struct chr_error *err)
{
    if (fdatasync(blk->fd) < 0)
        return err_errno(err, errno, "%s: cannot flush", raw_of(blk)->name);
    return 0;
}

/* Holes by SEEK_DATA and SEEK_HOLE; a file system without them says "all data". */
static int raw_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                      struct chr_error *err)
{
    off_t data = lseek(blk->fd, (off_t)off, SEEK_DATA);
    off_t hole;

    (void)err;
    if (data < 0) {
        if (errno == ENXIO)
            extent->kind = BLK_ZERO;
        return 0;
    }
    if ((uint64_t)data > off) {
        extent->kind = BLK_ZERO;
        extent->length = min_u64(len, (uint64_t)data - off);
        return 0;
    }
    hole = lseek(blk->fd, (off_t)off, SEEK_HOLE);
    if (hole > (off_t)off)
        extent->length = min_u64(len, (uint64_t)hole - off);
    return 0;
}

static int raw_close(struct blk *blk, struct chr_error *err)
{
    struct raw *raw = raw_of(blk);
    int result = 0;

    if (close(blk->fd) < 0 && errno != EINTR)
        result = err_errno(err, errno, "%s: cannot close", raw->name);
    free(raw->name);
    free(raw);
    return result;
}

static const struct blk_ops raw_ops = {
    .read = raw_read,
    .write = raw_write,
    .zero = raw_zero,
    .flush = raw_flush,
    .extent = raw_extent,
    .close = raw_close,
};

int raw_from_fd(int fd, const char *name, uint64_t size, bool writable, struct blk **out,
                struct chr_error *err)
{
    AUTO_CLOSE int owned = fd;
    AUTO_FREE char *copy = mem_strdup(name, err);
    struct raw *raw = copy != NULL ? mem_new(1, sizeof *raw, err) : NULL;

    if (raw == NULL)
        return -1;
    *raw = (struct raw){
        .blk = {.ops = &raw_ops, .size = size, .writable = writable, .fd = owned},
        .name = STEAL(copy),
    };
    owned = -1;
    *out = &raw->blk;
    return 0;
}

static int size_of(int fd, const char *path, uint64_t *size, struct chr_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, CHR_E_USAGE, "%s is a folder, not a disk image", path);
    if (S_ISREG(st.st_mode)) {
        *size = (uint64_t)st.st_size;
        return 0;
    }
#ifdef BLKGETSIZE64
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, size) < 0)
            return err_errno(err, errno, "%s: cannot ask for its size", path);
        return 0;
    }
#endif
    return err_set(err, CHR_E_USAGE, "%s is neither a file nor a block device", path);
}

/* The file at PATH, locked; or NOTHING and no error, when another has taken its place meanwhile. */
static int open_locked(const char *path, enum raw_mode mode, int *out, struct chr_error *err)
{
    bool writable = mode == RAW_WRITE;
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    AUTO_CLOSE int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);

    *out = NOTHING;
    if (fd < 0 && errno == EISDIR)
        return err_set(err, CHR_E_USAGE, "%s is a folder, not a disk image", path);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (mode != RAW_READ_UNLOCKED) {
        if (lock_image(fd, writable, path, err) < 0)
            return -1;
        /* A change would go into a file that has no name any more. */
        if (!path_leads_to(path, fd))
            return 0;
    }
    *out = fd;
    fd = -1;
    return 0;
}

int raw_open(const char *path, enum raw_mode mode, struct blk **out, struct chr_error *err)
{
    AUTO_CLOSE int fd = NOTHING;
    uint64_t size = 0;
    int handed;

    for (int i = 0; i < ATTEMPTS && fd == NOTHING; i++)
        if (open_locked(path, mode, &fd, err) < 0)
            return -1;
    if (fd == NOTHING) {
        (void)err_set(err, CHR_E_BUSY, "%s is replaced by another file again and again", path);
        return err_hint(err, "try again when the command that does it has ended");
    }
    /* Asked before the lock, the size could be that of before another's change. */
    if (size_of(fd, path, &size, err) < 0)
        return -1;
    handed = fd;
    fd = NOTHING;
    return raw_from_fd(handed, path, size, mode == RAW_WRITE, out, err);
}

uint64_t raw_allocated(const struct blk *blk)
{
    struct stat st;

    return fstat(blk->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : blk->size;
}

int raw_resize(struct blk *blk, uint64_t size, struct chr_error *err)
{
    if (size > INT64_MAX || ftruncate(blk->fd, (off_t)size) < 0)
        return err_errno(err, errno, "%s: cannot set the size to %" PRIu64, raw_of(blk)->name,
                         size);
    blk->size = size;
    return 0;
}
