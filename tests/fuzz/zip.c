/* The image inside of a zip: opening it, and reading it forwards and back. */
#include <sys/mman.h>

#include "block/zip.h"
#include "fuzz.h"

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        MUST(n > 0, "writing to memory");
        data += n;
        size -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t buffer[1 << 16];
    AUTO_CLOSE int fd = memfd_create("input.zip", MFD_CLOEXEC);
    AUTO_BLK struct blk *blk = NULL;
    struct chr_error err = {0};
    char path[64];
    uint64_t length;

    MUST(fd >= 0, "memfd_create");
    write_all(fd, data, size);
    (void)zip_probe(data, size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (zip_blk_open(path, &blk, &err) < 0) {
        must_be_told(&err);
        return 0;
    }
    /* A few MiB tell as much as all of what a lying header promises. */
    length = min_u64(blk->size, 4 << 20);
    for (uint64_t off = 0; off < length; off += sizeof buffer)
        if (blk_read(blk, off, buffer, (size_t)min_u64(sizeof buffer, length - off), &err) < 0) {
            must_be_told(&err);
            return 0;
        }
    if (length > 0 && blk_read(blk, length / 2, buffer, 1, &err) < 0)
        must_be_told(&err);
    return 0;
}
