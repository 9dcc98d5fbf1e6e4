/* Zeros behind the end. */
#include "block/grown.h"

#include "base/bytes.h"

struct grown {
    struct blk blk;
    struct blk *parent;
};

/* How many of LEN bytes from OFF on are the parent's. */
static uint64_t below_end(const struct blk *parent, uint64_t off, uint64_t len)
{
    return off < parent->size ? min_u64(len, parent->size - off) : 0;
}

static int grown_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    struct blk *parent = ((struct grown *)blk)->parent;
    size_t there = (size_t)below_end(parent, off, len);

    memset((uint8_t *)buf + there, 0, len - there);
    return there > 0 ? blk_read(parent, off, buf, there, err) : 0;
}

static int grown_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                        struct chr_error *err)
{
    struct blk *parent = ((struct grown *)blk)->parent;
    uint64_t there = below_end(parent, off, len);

    if (there > 0)
        return blk_extent(parent, off, there, extent, err);
    *extent = (struct blk_extent){.kind = BLK_ZERO, .length = len};
    return 0;
}

static int grown_close(struct blk *blk, struct chr_error *err)
{
    (void)err;
    free(blk);
    return 0;
}

static const struct blk_ops grown_ops = {
    .read = grown_read,
    .extent = grown_extent,
    .close = grown_close,
};

int grown_open(struct blk *parent, uint64_t size, struct blk **out, struct chr_error *err)
{
    struct grown *grown;

    if (size < parent->size)
        return err_set(err, CHR_E_INTERNAL, "a device cannot look smaller than it is");
    grown = mem_new(1, sizeof *grown, err);
    if (grown == NULL)
        return -1;
    grown->blk = (struct blk){.ops = &grown_ops, .size = size, .fd = -1};
    grown->parent = parent;
    *out = &grown->blk;
    return 0;
}
