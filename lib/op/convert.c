/* chr_convert(): one image into another format. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/raw.h"
#include "op/foreign.h"
#include "op/image.h"
#include "op/target.h"
#include "qcow2/qcow2.h"

#define CHUNK (1u << 20)
#define STANDARD_OUTPUT "-"
#define INTERMEDIATE "raw"

struct conversion {
    const struct chr_convert_options *options;
    struct chr_convert_report *report;
    const char *source;
    const char *output;
    struct chr_error *err;
};

/* ---- which format ---- */

static const char *format_name(const struct conversion *c)
{
    const char *foreign;

    if (c->options->format != NULL)
        return c->options->format;
    foreign = foreign_format_of(c->output);
    if (foreign != NULL)
        return foreign;
    return chr_format_name(target_format_of(c->output));
}

static int check_options(const struct conversion *c, const char *format)
{
    const struct chr_convert_options *options = c->options;
    bool qcow2 = strcmp(format, "qcow2") == 0;

    if (!qcow2 && (options->compression != CHR_COMPRESS_NONE || options->cluster_size != 0 ||
                   options->preallocation == CHR_PREALLOCATE_METADATA)) {
        (void)err_set(c->err, CHR_E_USAGE,
                      "compression, cluster size and metadata preallocation are for qcow2; the "
                      "output is %s", format);
        return err_hint(c->err, "name the output *.qcow2, or say -O qcow2");
    }
    if (options->compression != CHR_COMPRESS_NONE &&
        options->preallocation != CHR_PREALLOCATE_OFF)
        return err_set(c->err, CHR_E_USAGE, "compression and preallocation exclude each other");
    if (options->cluster_size != 0 &&
        (!is_power_of_two(options->cluster_size) || options->cluster_size < 512 ||
         options->cluster_size > 2u << 20))
        return err_set(c->err, CHR_E_USAGE, "a cluster size is a power of two from 512 to 2M");
    if (strcmp(c->output, STANDARD_OUTPUT) == 0 && strcmp(format, "raw") != 0) {
        (void)err_set(c->err, CHR_E_USAGE,
                      "only raw can be written to standard output: %s is not written forward",
                      format);
        return err_hint(c->err, "-O raw, or name a file");
    }
    return 0;
}

/* ---- to standard output ---- */

static int write_stream(int fd, const uint8_t *buf, size_t len, struct chr_error *err)
{
    while (len > 0) {
        ssize_t n = write(fd, buf, len);

        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot write to standard output");
        buf += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int stream_raw(const struct conversion *c, struct blk *disk)
{
    AUTO_FREE uint8_t *buf = mem_new(1, CHUNK, c->err);

    if (buf == NULL)
        return -1;
    if (isatty(STDOUT_FILENO)) {
        (void)err_set(c->err, CHR_E_USAGE, "a disk image is not for a terminal");
        return err_hint(c->err, "redirect standard output to a file or a pipe");
    }
    for (uint64_t off = 0; off < disk->size; off += CHUNK) {
        size_t len = (size_t)min_u64(CHUNK, disk->size - off);

        if (blk_read(disk, off, buf, len, c->err) < 0 ||
            write_stream(STDOUT_FILENO, buf, len, c->err) < 0)
            return -1;
    }
    return 0;
}

/* ---- to a file ---- */

/* A qcow2 is counted through by the checker before it gets its name. */
static int verify_qcow2(const struct output *output, uint64_t size, struct chr_error *err)
{
    AUTO_BLK struct blk *disk = NULL;
    struct qcow2_check_report report;

    if (target_reopen(output, CHR_FORMAT_QCOW2, &disk, err) < 0 ||
        qcow2_check(disk, &report, err) < 0)
        return err_context(err, "verification");
    if (report.leaks != 0 || report.corruptions != 0 || disk->size != size)
        return err_set(err, CHR_E_INTERNAL, "verification: the new qcow2 has %llu leaks and %llu "
                       "errors%s%s", (unsigned long long)report.leaks,
                       (unsigned long long)report.corruptions,
                       report.findings_count > 0 ? ", first: " : "",
                       report.findings_count > 0 ? report.findings[0] : "");
    return 0;
}

static int write_file(const struct conversion *c, struct blk *disk, const char *like,
                      enum chr_format format)
{
    AUTO_OUTPUT struct output output = {0};
    const struct target_options options = {
        .format = format,
        .compression = c->options->compression,
        .cluster_size = c->options->cluster_size,
        .preallocation = c->options->preallocation,
        .threads = c->options->threads,
        .force = c->options->force,
        .like = like,
        .progress = {c->options->progress, c->options->progress_context},
    };

    if (target_write(disk, c->output, &options, &output, c->err) < 0)
        return -1;
    if (format == CHR_FORMAT_QCOW2 && verify_qcow2(&output, disk->size, c->err) < 0)
        return -1;
    c->report->allocated_size = raw_allocated(output.blk);
    return output_publish(&output, c->err);
}

static int refuse_source(const struct conversion *c)
{
    (void)err_set(c->err, CHR_E_USAGE, "%s is the source itself", c->output);
    return err_hint(c->err, "name another output, and move it over the source afterwards");
}

static int convert_ours(const struct conversion *c, const char *format)
{
    AUTO_IMAGE struct chr_image *image = NULL;

    if (chr_image_open(c->source, 0, &image, c->err) < 0)
        return -1;
    if (same_file(image->path, c->output))
        return refuse_source(c);
    c->report->virtual_size = image->disk->size;
    if (strcmp(c->output, STANDARD_OUTPUT) == 0)
        return stream_raw(c, image->disk);
    return write_file(c, image->disk, image->path,
                      strcmp(format, "qcow2") == 0 ? CHR_FORMAT_QCOW2 : CHR_FORMAT_RAW);
}

/* ---- by qemu-img ---- */

static char *intermediate_path(const char *folder, struct chr_error *err)
{
    size_t size = strlen(folder) + sizeof "/" INTERMEDIATE;
    char *path = mem_new(1, size, err);

    if (path != NULL)
        (void)snprintf(path, size, "%s/" INTERMEDIATE, folder);
    return path;
}

/* qemu-img makes it as the umask says, and what is made of it takes its mode. */
static int take_mode_of_source(const struct conversion *c, const char *raw)
{
    struct stat st;

    if (stat(c->source, &st) < 0 || chmod(raw, (st.st_mode & 0666) | 0600) < 0)
        return err_errno(c->err, errno, "cannot set the mode of %s", raw);
    return 0;
}

static int convert_foreign_source(const struct conversion *c, const char *format, const char *raw)
{
    struct conversion from_raw = *c;

    from_raw.source = raw;
    if (foreign_read(c->source, raw, c->err) < 0 || take_mode_of_source(c, raw) < 0)
        return -1;
    if (foreign_format(format))
        return foreign_write(raw, c->output, format, c->options->force, c->err);
    return convert_ours(&from_raw, format);
}

static int convert_to_foreign(const struct conversion *c, const char *format, const char *raw)
{
    struct conversion to_raw = *c;

    to_raw.output = raw;
    if (convert_ours(&to_raw, "raw") < 0)
        return -1;
    return foreign_write(raw, c->output, format, c->options->force, c->err);
}

/* Between qemu-img and us goes a raw file, in a folder of ours: qemu-img opens what it finds. */
static int convert_by_qemu_img(const struct conversion *c, const char *format, bool foreign)
{
    bool stream = strcmp(c->output, STANDARD_OUTPUT) == 0;
    AUTO_FREE char *folder = NULL;
    AUTO_FREE char *raw = NULL;
    struct stat st;
    int result;

    c->report->by_qemu_img = true;
    if (same_file(c->source, c->output))
        return refuse_source(c);
    if (!stream && output_check(c->output, c->options->force, c->err) < 0)
        return -1;
    folder = private_folder_new(stream ? NULL : c->output, c->err);
    if (folder == NULL)
        return -1;
    raw = intermediate_path(folder, c->err);
    result = raw == NULL ? -1
             : foreign   ? convert_foreign_source(c, format, raw)
                         : convert_to_foreign(c, format, raw);
    if (raw != NULL)
        (void)unlink(raw);
    (void)rmdir(folder);
    if (result == 0 && stat(c->output, &st) == 0)
        c->report->allocated_size = (uint64_t)st.st_blocks * 512;
    return result;
}

static int check_format(const char *format, struct chr_error *err)
{
    if (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 || foreign_format(format))
        return 0;
    (void)err_set(err, CHR_E_USAGE, "there is no output format %s", format);
    return err_hint(err, "raw and qcow2, or vmdk, vdi, vhdx and vpc by qemu-img");
}

int chr_convert(const char *source, const char *output, const struct chr_convert_options *options,
                struct chr_convert_report *report, struct chr_error *err)
{
    const struct conversion c = {options, report, source, output, err};
    const char *format = format_name(&c);
    bool foreign;

    *report = (struct chr_convert_report){0};
    (void)snprintf(report->output, sizeof report->output, "%s", output);
    (void)snprintf(report->format, sizeof report->format, "%s", format);
    if (check_format(format, err) < 0 || check_options(&c, format) < 0 ||
        foreign_source(source, &foreign, err) < 0)
        return -1;
    return foreign || foreign_format(format) ? convert_by_qemu_img(&c, format, foreign)
                                             : convert_ours(&c, format);
}
