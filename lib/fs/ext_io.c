/*
 * The io_manager: libext2fs asks for blocks, the blk answers.  A negative
 * count is a number of bytes (ext2fs/ext2_io.h).
 */
#include "fs/ext_io.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"

#define MAX_BLOCK_SIZE 65536

void ext_io_init(struct ext_io *io, struct blk *device)
{
    *io = (struct ext_io){.device = device};
    (void)snprintf(io->name, sizeof io->name, "%" PRIxPTR, (uintptr_t)io);
}

static struct ext_io *io_of(io_channel channel)
{
    return channel->private_data;
}

static errcode_t io_open(const char *name, int flags, io_channel *out)
{
    io_channel channel = calloc(1, sizeof *channel);

    if (channel == NULL)
        return ENOMEM;
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = (io_manager)&ext_io_manager;
    channel->name = strdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = (void *)(uintptr_t)strtoumax(name, NULL, 16);
    if (channel->name == NULL) {
        free(channel);
        return ENOMEM;
    }
    if ((flags & IO_FLAG_RW) != 0 && !io_of(channel)->device->writable) {
        free(channel->name);
        free(channel);
        return EROFS;
    }
    *out = channel;
    return 0;
}

static errcode_t io_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t io_set_blksize(io_channel channel, int block_size)
{
    if (block_size <= 0 || block_size > MAX_BLOCK_SIZE)
        return EINVAL;
    channel->block_size = block_size;
    return 0;
}

/* The bytes that a request means; false when they cannot be meant. */
static bool range_of(io_channel channel, unsigned long long block, int count, uint64_t *off,
                     size_t *len)
{
    uint64_t size = (uint64_t)channel->block_size;

    if (count == INT32_MIN || block > UINT64_MAX / size)
        return false;
    *off = block * size;
    *len = count < 0 ? (size_t)-count : (size_t)count * (size_t)size;
    return true;
}

static errcode_t io_read_blk64(io_channel channel, unsigned long long block, int count, void *data)
{
    struct ext_io *io = io_of(channel);
    uint64_t off;
    size_t len;

    if (!range_of(channel, block, count, &off, &len))
        return EXT2_ET_BAD_BLOCK_NUM;
    return blk_read(io->device, off, data, len, &io->error) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_write_blk64(io_channel channel, unsigned long long block, int count,
                                const void *data)
{
    struct ext_io *io = io_of(channel);
    uint64_t off;
    size_t len;

    if (!range_of(channel, block, count, &off, &len))
        return EXT2_ET_BAD_BLOCK_NUM;
    return blk_write(io->device, off, data, len, &io->error) < 0 ? EXT2_ET_SHORT_WRITE : 0;
}

static errcode_t io_read_blk(io_channel channel, unsigned long block, int count, void *data)
{
    return io_read_blk64(channel, block, count, data);
}

static errcode_t io_write_blk(io_channel channel, unsigned long block, int count, const void *data)
{
    return io_write_blk64(channel, block, count, data);
}

static errcode_t io_write_byte(io_channel channel, unsigned long off, int count, const void *data)
{
    struct ext_io *io = io_of(channel);

    if (count < 0)
        return EINVAL;
    return blk_write(io->device, off, data, (size_t)count, &io->error) < 0 ? EXT2_ET_SHORT_WRITE
                                                                           : 0;
}

static errcode_t io_flush(io_channel channel)
{
    struct ext_io *io = io_of(channel);

    return blk_flush(io->device, &io->error) < 0 ? EIO : 0;
}

const struct struct_io_manager ext_io_manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "chrimg block device",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read_blk,
    .write_blk = io_write_blk,
    .flush = io_flush,
    .write_byte = io_write_byte,
    .read_blk64 = io_read_blk64,
    .write_blk64 = io_write_blk64,
};
