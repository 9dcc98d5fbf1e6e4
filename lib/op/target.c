/* Writing a whole disk in one of our formats. */
#include "op/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "block/raw.h"
#include "qcow2/qcow2.h"

enum chr_format target_format_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot != NULL && (strcasecmp(dot, ".qcow2") == 0 || strcasecmp(dot, ".qcow") == 0)
               ? CHR_FORMAT_QCOW2
               : CHR_FORMAT_RAW;
}

/* The two callbacks differ in the order of their arguments. */
static void forward_progress(void *context, uint64_t done, uint64_t total)
{
    const struct progress *progress = context;

    progress->call(done, total, progress->context);
}

static int write_qcow2(struct blk *source, struct blk *file, const struct target_options *options,
                       struct chr_error *err)
{
    struct progress progress = options->progress;
    const struct qcow2_create_options create = {
        .cluster_size = options->cluster_size,
        .compress = options->compression != CHR_COMPRESS_NONE,
        .compression = options->compression == CHR_COMPRESS_ZSTD ? QCOW2_ZSTD : QCOW2_ZLIB,
        .preallocate = options->preallocation != CHR_PREALLOCATE_OFF,
        .threads = options->threads,
        .progress = progress.call != NULL ? forward_progress : NULL,
        .progress_context = &progress,
    };

    return qcow2_convert(source, file, &create, err);
}

/* preallocation=full: the host has reserved every byte. */
static int reserve(struct blk *file, struct chr_error *err)
{
    int number = posix_fallocate(file->fd, 0, (off_t)file->size);

    return number == 0 ? 0 : err_errno(err, number, "cannot reserve %llu bytes",
                                       (unsigned long long)file->size);
}

int target_write(struct blk *source, const char *path, const struct target_options *options,
                 struct output *out, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    bool qcow2 = options->format == CHR_FORMAT_QCOW2;

    if (output_begin(path, qcow2 ? 0 : source->size, options->force, &output, err) < 0)
        return -1;
    if (options->like != NULL && output_take_mode(&output, options->like, err) < 0)
        return -1;
    if ((qcow2 ? write_qcow2(source, output.blk, options, err)
               : copy_disk(source, output.blk, &options->progress, err)) < 0)
        return -1;
    if (options->preallocation == CHR_PREALLOCATE_FULL && reserve(output.blk, err) < 0)
        return -1;
    *out = output;
    output = (struct output){0};
    return 0;
}

int target_reopen(const struct output *output, enum chr_format format, struct blk **disk,
                  struct chr_error *err)
{
    const struct qcow2_open_options options = {.refuse_backing = true};
    struct blk *file = NULL;
    int fd = dup(output->blk->fd);

    if (fd < 0)
        return err_errno(err, errno, "cannot reopen %s", output->path);
    if (raw_from_fd(fd, output->path, output->blk->size, false, &file, err) < 0)
        return -1;
    if (format == CHR_FORMAT_QCOW2)
        return qcow2_open(file, &options, disk, err);
    *disk = file;
    return 0;
}
