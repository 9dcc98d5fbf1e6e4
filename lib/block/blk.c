/* The one door to every block device, and the window, which is nearly nothing but the door. */
#include "block/blk.h"

#include <inttypes.h>

#include "base/bytes.h"

static int check_range(const struct blk *blk, const char *verb, uint64_t off, uint64_t len,
                       struct chr_error *err)
{
    if (!range_within(off, len, blk->size))
        return err_set(err, CHR_E_DAMAGED,
                       "%s of %" PRIu64 " bytes at offset %" PRIu64
                       " is outside the device of %" PRIu64 " bytes",
                       verb, len, off, blk->size);
    return 0;
}

static int check_writable(const struct blk *blk, struct chr_error *err)
{
    if (!blk->writable)
        return err_set(err, CHR_E_REFUSED, "the device is open for reading only");
    return 0;
}

int blk_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    if (check_range(blk, "read", off, len, err) < 0)
        return -1;
    return len == 0 ? 0 : blk->ops->read(blk, off, buf, len, err);
}

int blk_write(struct blk *blk, uint64_t off, const void *buf, size_t len, struct chr_error *err)
{
    if (check_writable(blk, err) < 0 || check_range(blk, "write", off, len, err) < 0)
        return -1;
    return len == 0 ? 0 : blk->ops->write(blk, off, buf, len, err);
}

int blk_write_zeros(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err)
{
    static const uint8_t zeros[65536];

    while (len > 0) {
        size_t step = (size_t)min_u64(len, sizeof zeros);

        if (blk->ops->write(blk, off, zeros, step, err) < 0)
            return -1;
        off += step;
        len -= step;
    }
    return 0;
}

int blk_zero(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err)
{
    if (check_writable(blk, err) < 0 || check_range(blk, "zeroing", off, len, err) < 0)
        return -1;
    if (len == 0)
        return 0;
    if (blk->ops->zero == NULL)
        return blk_write_zeros(blk, off, len, err);
    return blk->ops->zero(blk, off, len, err);
}

int blk_flush(struct blk *blk, struct chr_error *err)
{
    return blk->writable && blk->ops->flush != NULL ? blk->ops->flush(blk, err) : 0;
}

int blk_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
               struct chr_error *err)
{
    if (check_range(blk, "extent query", off, len, err) < 0)
        return -1;
    *extent = (struct blk_extent){.kind = BLK_DATA, .length = len};
    return blk->ops->extent != NULL ? blk->ops->extent(blk, off, len, extent, err) : 0;
}

int blk_close(struct blk *blk, struct chr_error *err)
{
    return blk != NULL ? blk->ops->close(blk, err) : 0;
}

void blk_cleanup(struct blk **blk)
{
    struct chr_error ignored;

    (void)blk_close(*blk, &ignored);
}

struct window {
    struct blk blk;
    struct blk *parent; /* borrowed */
    uint64_t start;
};

static struct window *window_of(struct blk *blk)
{
    return (struct window *)blk;
}

static int window_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    return blk_read(window_of(blk)->parent, window_of(blk)->start + off, buf, len, err);
}

static int window_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                        struct chr_error *err)
{
    return blk_write(window_of(blk)->parent, window_of(blk)->start + off, buf, len, err);
}

static int window_zero(struct blk *blk, uint64_t off, uint64_t len, struct chr_error *err)
{
    return blk_zero(window_of(blk)->parent, window_of(blk)->start + off, len, err);
}

static int window_flush(struct blk *blk, struct chr_error *err)
{
    return blk_flush(window_of(blk)->parent, err);
}

static int window_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                         struct chr_error *err)
{
    return blk_extent(window_of(blk)->parent, window_of(blk)->start + off, len, extent, err);
}

static int window_close(struct blk *blk, struct chr_error *err)
{
    (void)err;
    free(blk);
    return 0;
}

static const struct blk_ops window_ops = {
    .read = window_read,
    .write = window_write,
    .zero = window_zero,
    .flush = window_flush,
    .extent = window_extent,
    .close = window_close,
};

int blk_window_open(struct blk *parent, uint64_t off, uint64_t len, struct blk **out,
                    struct chr_error *err)
{
    struct window *window;

    if (check_range(parent, "window", off, len, err) < 0)
        return -1;
    window = mem_new(1, sizeof *window, err);
    if (window == NULL)
        return -1;
    *window = (struct window){
        .blk = {.ops = &window_ops, .size = len, .writable = parent->writable, .fd = -1},
        .parent = parent,
        .start = off,
    };
    *out = &window->blk;
    return 0;
}
