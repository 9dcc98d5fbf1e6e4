/* The files that a plan asks for: overlays, copies and blanks, all of them qcow2. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/compat.h"
#include "block/raw.h"
#include "op/boot.h"
#include "op/files.h"
#include "op/image.h"
#include "qcow2/qcow2.h"
#include "vm/text.h"

#define CHUNK ((size_t)1 << 20)

/* What nobody writes to is made anew when its source is another one; the rest is never replaced. */
static bool is_renewed(const struct vm_file *file)
{
    return file->kind == VM_MAKE_CODE;
}

static int make_empty(const struct vm_file *file, uint64_t size, struct output *output,
                      struct chr_error *err)
{
    bool overlay = file->kind == VM_MAKE_OVERLAY;
    const struct qcow2_create_options options = {
        .backing_file = overlay ? file->source : NULL,
        .backing_format = file->source_is_qcow2 ? "qcow2" : "raw",
    };

    if (output_begin(file->target, 0, is_renewed(file), output, err) < 0)
        return -1;
    return qcow2_create(output->blk, size, &options, err);
}

/* The bytes of FROM into the empty qcow2 of OUTPUT. */
static int fill(struct blk *from, const struct output *output, struct chr_error *err)
{
    const struct qcow2_open_options options = {.writable = true, .refuse_backing = true};
    AUTO_FREE uint8_t *buf = mem_new(1, CHUNK, err);
    AUTO_BLK struct blk *disk = NULL;
    struct blk *file = NULL;
    int fd = dup(output->blk->fd);

    /* The output stays ours: the qcow2 gets a descriptor that it may close. */
    if (fd < 0)
        return err_errno(err, errno, "cannot reopen %s", output->path);
    if (raw_from_fd(fd, output->path, output->blk->size, true, &file, err) < 0)
        return -1;
    if (buf == NULL) {
        blk_cleanup(&file);
        return -1;
    }
    if (qcow2_open(file, &options, &disk, err) < 0)
        return -1;
    for (uint64_t off = 0; off < from->size; off += CHUNK) {
        size_t len = (size_t)min_u64(CHUNK, from->size - off);

        if (blk_read(from, off, buf, len, err) < 0 ||
            (!is_zero(buf, len) && blk_write(disk, off, buf, len, err) < 0))
            return -1;
    }
    return blk_flush(disk, err);
}

/* Firmware variables: some 100 KiB, and zeros up to the size of the flash chip. */
static int make_copy(const struct vm_file *file, struct output *output, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    uint64_t size;

    if (chr_image_open(file->source, 0, &image, err) < 0)
        return -1;
    size = max_u64(file->size, image->disk->size);
    if (size == image->disk->size) {
        const struct qcow2_create_options options = {.threads = 1};

        return output_begin(file->target, 0, is_renewed(file), output, err) < 0
                   ? -1
                   : qcow2_convert(image->disk, output->blk, &options, err);
    }
    return make_empty(file, size, output, err) < 0 ? -1 : fill(image->disk, output, err);
}

static int make_file(const struct vm_file *file, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};

    bool copy = file->kind == VM_MAKE_COPY || file->kind == VM_MAKE_CODE;

    if ((copy ? make_copy(file, &output, err) : make_empty(file, file->size, &output, err)) < 0)
        (void)err_context(err, "%s", file->target);
    else if (output_publish(&output, err) == 0)
        return 0;
    if (err->code == CHR_E_SPACE)
        vm_instance_hint("XDG_STATE_HOME", err);
    return -1;
}

/* ---- the image of an overlay ---- */

/*
 * Beside an overlay: a file that holds the size of the image it was made over, and has that
 * image's mtime.  Both can be compared by a shell, too (vm/emit_shell.c).
 */
static char *base_path(const struct vm_file *file, struct chr_error *err)
{
    return text_new(err, "%s" VM_BASE_ENDING, file->target);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return !time_is_later(a, b) && !time_is_later(b, a);
}

static int write_base(const char *path, const struct stat *source, struct chr_error *err)
{
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, stat_mtime(source)};
    AUTO_OUTPUT struct output output = {0};
    char line[32];
    int n = snprintf(line, sizeof line, "%lld\n", (long long)source->st_size);

    if (output_begin(path, (uint64_t)n, true, &output, err) < 0 ||
        blk_write(output.blk, 0, line, (size_t)n, err) < 0 || output_publish(&output, err) < 0)
        return -1;
    return utimensat(AT_FDCWD, path, times, 0) == 0
               ? 0
               : err_errno(err, errno, "cannot date %s", path);
}

/* Before its overlay is there: what a start that was killed leaves is written anew by the next. */
static int remember_base(const struct vm_file *file, struct chr_error *err)
{
    AUTO_FREE char *path = base_path(file, err);
    struct stat source;
    struct stat written;

    if (path == NULL)
        return -1;
    if (stat(file->source, &source) < 0)
        return err_errno(err, errno, "cannot look at %s", file->source);
    /* A device's times tell nothing about what is on it. */
    if (!S_ISREG(source.st_mode))
        return 0;
    if (write_base(path, &source, err) < 0) {
        if (err->code == CHR_E_SPACE)
            vm_instance_hint("XDG_STATE_HOME", err);
        return -1;
    }
    /* A file system with coarser times cannot keep it: better nothing than what never fits. */
    if (stat(path, &written) < 0 || !is_same_time(stat_mtime(&written), stat_mtime(&source)))
        (void)unlink(path);
    return 0;
}

/* The size in the file PATH, and its mtime; false where nothing is remembered. */
static bool read_base(const char *path, struct stat *base, long long *size)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char line[32] = "";

    if (fd < 0 || fstat(fd, base) < 0 || read(fd, line, sizeof line - 1) <= 0)
        return false;
    *size = strtoll(line, NULL, 10);
    return *size > 0;
}

/* An older image than the remembered one is another one, too: unzip and cp -p keep old times. */
static bool is_other_image(const char *base_name, const struct stat *source,
                           const struct stat *overlay)
{
    struct stat base;
    long long size;

    if (!read_base(base_name, &base, &size))
        return time_is_later(stat_mtime(source), stat_mtime(overlay));
    return size != (long long)source->st_size ||
           !is_same_time(stat_mtime(&base), stat_mtime(source));
}

/* An overlay holds the clusters that differ: from another image, they would be garbage. */
static int check_overlay(const struct boot_start *start, const struct vm_file *file,
                         const struct stat *overlay, struct chr_error *err)
{
    AUTO_FREE char *base_name = base_path(file, err);
    struct stat source;

    if (base_name == NULL)
        return -1;
    if (stat(file->source, &source) < 0)
        return err_errno(err, errno, "cannot look at %s", file->source);
    if (!is_other_image(base_name, &source, overlay))
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s has changed since %s was made over it: they do not "
                  "belong together any more", start->image != NULL ? start->image : file->source,
                  file->target);
    return err_hint(err, "bring the old image back, with its time; or chrimg stop --forget %s removes "
                    "the instance and what it kept; or another --name", start->record->name);
}

/* ---- all of them ---- */

/*
 * Whether firmware code was installed since it was copied.  By its ctime: a package's files
 * bring the mtime of the day they were built, which may be long before the copy.
 */
static bool is_outdated(const struct vm_file *file, const struct stat *copy)
{
    struct stat source;

    return is_renewed(file) && stat(file->source, &source) == 0 &&
           time_is_later(stat_ctime(&source), stat_mtime(copy));
}

int boot_check_files(const struct vm_record *record, struct chr_error *err)
{
    const struct boot_start start = {.record = (struct vm_record *)record};
    struct stat there;

    for (size_t i = 0; i < record->file_count; i++)
        if (record->files[i].kind == VM_MAKE_OVERLAY &&
            stat(record->files[i].target, &there) == 0 &&
            check_overlay(&start, &record->files[i], &there, err) < 0)
            return -1;
    return 0;
}

int boot_make_files(const struct boot_start *start, struct chr_error *err)
{
    const struct vm_record *record = start->record;

    for (size_t i = 0; i < record->file_count; i++) {
        const struct vm_file *file = &record->files[i];
        struct stat there;

        if (stat(file->target, &there) == 0) {
            if (file->kind == VM_MAKE_OVERLAY && check_overlay(start, file, &there, err) < 0)
                return -1;
            if (!is_outdated(file, &there))
                continue;
        } else if (file->kind == VM_MAKE_OVERLAY && remember_base(file, err) < 0)
            return -1;
        if (make_file(file, err) < 0)
            return -1;
    }
    return 0;
}
