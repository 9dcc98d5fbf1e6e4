/* Probing partitions. */
#include "fs/probe.h"

#include <blkid.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "fs/ext.h"
#include "fs/fat.h"

#define SECTOR 512
#define SCAN_SIZE (1u << 20)
#define EMPTY_SIZE 65536
/* All that libblkid needs of ext and FAT lies in the first 256 KiB; room for more kinds. */
#define BLKID_HEAD (1u << 20)

static int probe_both(struct blk *device, bool *ext, bool *fat, struct chr_error *err)
{
    if (ext_probe(device, ext, err) < 0)
        return -1;
    return fat_probe(device, fat, err);
}

static int probe_empty(struct blk *device, bool *empty, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, EMPTY_SIZE, err);
    size_t len = (size_t)min_u64(EMPTY_SIZE, device->size);

    if (buf == NULL || blk_read(device, 0, buf, len, err) < 0)
        return -1;
    *empty = is_zero(buf, len);
    return 0;
}

int probe_contents(struct blk *device, enum chr_contents *out, struct chr_error *err)
{
    bool ext;
    bool fat;
    bool empty = false;

    if (probe_both(device, &ext, &fat, err) < 0)
        return -1;
    if (!ext && !fat && probe_empty(device, &empty, err) < 0)
        return -1;
    *out = ext     ? CHR_CONTENTS_EXT
           : fat   ? CHR_CONTENTS_FAT
           : empty ? CHR_CONTENTS_EMPTY
                   : CHR_CONTENTS_UNKNOWN;
    return 0;
}

int probe_ambiguous(struct blk *device, bool *ambiguous, struct chr_error *err)
{
    bool ext;
    bool fat;

    if (probe_both(device, &ext, &fat, err) < 0)
        return -1;
    *ambiguous = ext && fat;
    return 0;
}

/* ---- a kernel at a raw offset ---- */

/* A loader whose headers hold and whose end lies on the device. */
static int try_kernel(struct blk *device, uint64_t off, struct kernel *kernel, bool *found,
                      struct chr_error *err)
{
    uint8_t head[KERNEL_HEAD_SIZE];
    size_t len = (size_t)min_u64(sizeof head, device->size - off);
    struct chr_error no_kernel;

    if (blk_read(device, off, head, len, err) < 0)
        return -1;
    *found = kernel_decode(head, len, kernel, &no_kernel) == 0 &&
             kernel->machine != KERNEL_MACHINE_I386 &&
             range_within(off, kernel->file_size, device->size);
    return 0;
}

/* Look through LEN bytes at BUF, which lie at OFF; what follows a kernel inside of it is its own. */
static int scan(struct blk *device, uint64_t off, const uint8_t *buf, size_t len,
                struct raw_kernel *out, uint64_t *end, struct chr_error *err)
{
    for (size_t at = 0; at + SECTOR <= len; at += SECTOR) {
        struct kernel kernel;
        bool found;

        if (!kernel_probe(buf + at) || off + at < *end)
            continue;
        if (try_kernel(device, off + at, &kernel, &found, err) < 0)
            return -1;
        if (!found)
            continue;
        if (*end != 0)
            return err_set(err, CHR_E_REFUSED, "two boot loaders without a file system, at offsets %"
                           PRIu64 " and %" PRIu64, out->offset, off + at);
        *out = (struct raw_kernel){.offset = off + at, .kernel = kernel};
        *end = off + at + kernel.file_size;
    }
    return 0;
}

int probe_find_kernel(struct blk *device, struct raw_kernel *out, struct chr_error *err)
{
    AUTO_FREE uint8_t *buf = mem_new(1, SCAN_SIZE, err);
    struct blk_extent extent;
    uint64_t end = 0;

    if (buf == NULL)
        return -1;
    for (uint64_t off = 0; off < device->size; off += extent.length) {
        if (blk_extent(device, off, min_u64(SCAN_SIZE, device->size - off), &extent, err) < 0)
            return -1;
        extent.length = min_u64(round_up(extent.length, SECTOR), device->size - off);
        if (extent.kind == BLK_ZERO)
            continue;
        if (blk_read(device, off, buf, (size_t)extent.length, err) < 0 ||
            scan(device, off, buf, (size_t)extent.length, out, &end, err) < 0)
            return -1;
    }
    return end != 0 ? 0 : err_set(err, CHR_E_MISSING, "no boot loader at any sector of it");
}

/* ---- libblkid ---- */

/* libblkid wants a descriptor: a memory file with the first bytes, as long as the device. */
static int head_as_file(struct blk *device, int *fd, struct chr_error *err)
{
    size_t len = (size_t)min_u64(BLKID_HEAD, device->size);
    AUTO_FREE uint8_t *buf = mem_new(1, len, err);

    if (buf == NULL || blk_read(device, 0, buf, len, err) < 0)
        return -1;
#ifdef MFD_CLOEXEC
    *fd = memfd_create("chrimg-blkid", MFD_CLOEXEC);
    if (*fd < 0)
        return err_errno(err, errno, "cannot create a memory file");
    if (ftruncate(*fd, (off_t)device->size) < 0 || pwrite(*fd, buf, len, 0) != (ssize_t)len)
        return err_errno(err, errno, "cannot fill a memory file");
#endif
    return 0;
}

int probe_blkid(struct blk *device, char type[PROBE_TYPE_SIZE], struct chr_error *err)
{
    AUTO_CLOSE int fd = -1;
    const char *value = NULL;
    blkid_probe probe;

    type[0] = '\0';
    if (head_as_file(device, &fd, err) < 0)
        return -1;
    if (fd < 0)
        return 0;
    probe = blkid_new_probe();
    if (probe == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for libblkid");
    if (blkid_probe_set_device(probe, fd, 0, (blkid_loff_t)device->size) == 0 &&
        blkid_probe_enable_superblocks(probe, 1) == 0 &&
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE) == 0 &&
        blkid_do_safeprobe(probe) == 0 &&
        blkid_probe_lookup_value(probe, "TYPE", &value, NULL) == 0)
        (void)snprintf(type, PROBE_TYPE_SIZE, "%s", value);
    blkid_free_probe(probe);
    return 0;
}
