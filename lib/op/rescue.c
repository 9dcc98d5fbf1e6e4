/*
 * Machines whose image has been replaced or removed under them: QEMU goes on with the file it
 * has open, which is gone with its end if it has no other name.  So it is held open, and copied
 * to a name of its own when QEMU has written it to the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/signals.h"
#include "block/raw.h"
#include "op/boot.h"
#include "op/copy.h"
#include "vm/text.h"

#define SAVED_TRIES 100
/* What a guest and QEMU write while they end: room for that is reserved, too. */
#define LAST_WRITES ((off_t)16 << 20)

static bool has_overlay(const struct vm_record *record)
{
    for (size_t i = 0; i < record->file_count; i++)
        if (record->files[i].kind == VM_MAKE_OVERLAY)
            return true;
    return false;
}

/* An overlay that is kept is worth nothing without the image below it. */
static bool is_worth_it(const struct vm_record *record, bool forget)
{
    return boot_writes_to_image(record) || (has_overlay(record) && !record->remove && !forget);
}

/* ---- a name for it ---- */

/* "dir/lab.qcow2" -> "dir/lab-saved.qcow2", then "dir/lab-saved-2.qcow2", ... */
static char *saved_path(const char *image, unsigned number, struct chr_error *err)
{
    const char *slash = strrchr(image, '/');
    const char *name = slash != NULL ? slash + 1 : image;
    const char *dot = strrchr(name, '.');
    const char *end = dot != NULL && dot > name ? dot : image + strlen(image);
    int stem = (int)(end - image);

    return number == 1 ? text_new(err, "%.*s-saved%s", stem, image, end)
                       : text_new(err, "%.*s-saved-%u%s", stem, image, number, end);
}

static int begin_output(const char *image, struct output *output, struct chr_error *err)
{
    for (unsigned number = 1;; number++) {
        AUTO_FREE char *path = saved_path(image, number, err);

        if (path == NULL)
            return -1;
        if (output_begin(path, 0, false, output, err) == 0)
            return 0;
        if (err->code != CHR_E_EXISTS || number == SAVED_TRIES)
            return -1;
    }
}

/* All that may take long or fail for want of room, while the machine still runs. */
static int reserve(const struct vm_record *record, const struct stat *info,
                   struct boot_rescue *rescue, struct chr_error *err)
{
    int number;

    if (begin_output(record->image, &rescue->output, err) < 0)
        return -1;
    number = posix_fallocate(rescue->output.blk->fd, 0, info->st_size + LAST_WRITES);
    return number == 0 ? 0 : err_errno(err, number, "cannot write %s", rescue->output.path);
}

/* ---- begin, finish ---- */

static int refuse_unreachable(const struct vm_record *record, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s runs from the file that was %s, which has been replaced or "
                  "removed: if it has no other name, what its router has written is gone with the "
                  "machine", record->name, record->image);
    return err_hint(err, "save what is needed in the router first; chrimg stop --now %s turns it off "
                    "all the same", record->name);
}

int boot_rescue_begin(const struct vm_record *record, const struct chr_stop_options *options,
                      struct boot_rescue *rescue, struct chr_error *err)
{
    struct stat info;

    *rescue = (struct boot_rescue){.fd = -1};
    if (vm_record_image_name(record) == VM_IMAGE_NAMED || !is_worth_it(record, options->forget))
        return 0;
    rescue->fd = vm_record_open_image(record);
    if (rescue->fd < 0)
        return options->now ? 0 : refuse_unreachable(record, err);
    if (fstat(rescue->fd, &info) < 0)
        return err_errno(err, errno, "cannot look at what %s runs from", record->name);
    if (info.st_nlink > 0) {
        cleanup_close(&rescue->fd);
        rescue->fd = -1; /* it has been moved, and is not lost */
        return 0;
    }
    /* Who is interrupted now would close the last descriptor but QEMU's. */
    signals_hold(&rescue->signals);
    rescue->holds_signals = true;
    if (reserve(record, &info, rescue, err) == 0)
        return 0;
    return err_context(err, "%s goes on: the file that it runs from has no name any more, and cannot "
                       "be saved", record->name);
}

/* Its time as well: an overlay knows its image by that. */
static int copy(struct boot_rescue *rescue, struct chr_error *err)
{
    const struct progress nobody = {0};
    AUTO_BLK struct blk *source = NULL;
    struct output *output = &rescue->output;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
    struct stat info;
    int fd = rescue->fd;

    rescue->fd = -1;
    if (raw_from_fd(fd, output->path, 0, false, &source, err) < 0)
        return -1;
    if (fstat(fd, &info) < 0)
        return err_errno(err, errno, "cannot read what is to be %s", output->path);
    source->size = (uint64_t)info.st_size;
    if (raw_resize(output->blk, source->size, err) < 0 ||
        copy_disk(source, output->blk, &nobody, err) < 0)
        return -1;
    times[1] = stat_mtime(&info);
    return fchmod(output->blk->fd, info.st_mode & 0666) == 0 &&
                   futimens(output->blk->fd, times) == 0
               ? 0
               : err_errno(err, errno, "cannot set mode and time of %s", output->path);
}

int boot_rescue_finish(struct boot_rescue *rescue, char **saved, struct chr_error *err)
{
    AUTO_FREE char *path = NULL;

    if (rescue->fd < 0)
        return 0;
    path = mem_strdup(rescue->output.path, err);
    if (path == NULL || copy(rescue, err) < 0 || output_publish(&rescue->output, err) < 0)
        return err_context(err, "it is off, and what it ran from is not saved");
    if (saved != NULL)
        *saved = STEAL(path);
    return 0;
}

void boot_rescue_release(struct boot_rescue *rescue)
{
    if (rescue->fd >= 0)
        (void)close(rescue->fd);
    output_discard(&rescue->output);
    if (rescue->holds_signals)
        signals_release(&rescue->signals);
    *rescue = (struct boot_rescue){.fd = -1};
}

/* ---- starting again ---- */

static int hint_at_file(const struct vm_record *record, struct chr_error *err)
{
    AUTO_CLOSE int fd = vm_record_open_image(record);
    struct stat info;

    if (fd >= 0 && fstat(fd, &info) == 0 && info.st_nlink == 0)
        return err_hint(err, "chrimg stop %s saves the file that it runs from under another name, "
                        "beside %s", record->name, record->image);
    return err_hint(err, "where that file has got another name, move it back; chrimg stop %s, then "
                    "chrimg boot IMG starts one from the image that is meant", record->name);
}

int boot_check_again(const struct vm_record *record, struct chr_error *err)
{
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    enum vm_image_name name = vm_record_image_name(record);
    struct chr_error other;

    if (name == VM_IMAGE_NAMED || !vm_record_process(record, &process))
        return 0;
    /* Without an image that is the overlay's, what the overlay holds is lost as well. */
    if (name == VM_IMAGE_REPLACED && !boot_writes_to_image(record) &&
        boot_check_files(record, &other) == 0)
        return 0;
    (void)err_set(err, CHR_E_REFUSED, "%s runs from the file that was %s, where %s is by now: what its "
                  "router has written would not be there when it is started again", record->name,
                  record->image, name == VM_IMAGE_REMOVED ? "none" : "another one");
    return hint_at_file(record, err);
}
