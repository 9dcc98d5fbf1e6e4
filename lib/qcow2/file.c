/* The host file of an image. */
#include "qcow2/file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

int host_read(const struct host_file *file, uint64_t off, void *buf, size_t len,
              struct chr_error *err)
{
    size_t there;

    if (off >= file->blk->size)
        return err_set(err, CHR_E_DAMAGED,
                       "host offset %" PRIu64 " is past the end of the file of %" PRIu64 " bytes",
                       off, file->blk->size);
    there = (size_t)min_u64(len, file->blk->size - off);
    memset((uint8_t *)buf + there, 0, len - there);
    return blk_read(file->blk, off, buf, there, err);
}

int host_grow(const struct host_file *file, uint64_t size, struct chr_error *err)
{
    return size > file->blk->size ? file->resize(file->blk, size, err) : 0;
}

int host_write(const struct host_file *file, uint64_t off, const void *buf, size_t len,
               struct chr_error *err)
{
    if (host_grow(file, off + len, err) < 0)
        return -1;
    return blk_write(file->blk, off, buf, len, err);
}
