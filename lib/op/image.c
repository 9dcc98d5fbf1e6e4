/* Opening images: which format, which locks, and what an earlier run left. */
#include "op/image.h"

#include "base/bytes.h"
#include "base/shell.h"
#include "base/signals.h"
#include "block/raw.h"
#include "block/zip.h"
#include "qcow2/qcow2.h"
#include "op/boot.h"
#include "op/foreign.h"
#include "op/undo.h"

#define HEAD_SIZE 512

static enum chr_format format_of(const uint8_t *head)
{
    if (zip_probe(head, HEAD_SIZE))
        return CHR_FORMAT_ZIP;
    return qcow2_probe(head, HEAD_SIZE) ? CHR_FORMAT_QCOW2 : CHR_FORMAT_RAW;
}

static int open_zip(struct chr_image *image, unsigned flags, struct chr_error *err)
{
    blk_cleanup(&image->file);
    image->file = NULL;
    if ((flags & CHR_OPEN_WRITE) != 0) {
        (void)err_set(err, CHR_E_REFUSED, "%s: an image inside a zip cannot be changed in place",
                      image->path);
        return err_hint(err, "unzip it first");
    }
    return zip_blk_open(image->path, &image->disk, err);
}

static int open_qcow2(struct chr_image *image, unsigned flags, struct chr_error *err)
{
    const struct qcow2_open_options options = {
        .writable = (flags & CHR_OPEN_WRITE) != 0,
        .atomic = true, /* promise: old or new, whatever happens */
        .for_repair = (flags & CHR_OPEN_REPAIR) != 0,
        .path = image->path,
        .snapshot = image->snapshot,
    };

    if (qcow2_open(STEAL(image->file), &options, &image->disk, err) < 0)
        return err_context(err, "%s", image->path);
    return 0;
}

/* What was interrupted is taken back: really when we may write, else in memory. */
static int recover(struct chr_image *image, struct chr_error *err)
{
    if (image->file->writable) {
        AUTO_SIGNALS sigset_t saved;

        signals_hold(&saved);
        return undo_roll_back(image->path, image->file, &image->recovered, err);
    }
    if (undo_view(image->path, image->file, &image->undo, err) < 0)
        return -1;
    image->recovered = image->undo != NULL;
    return 0;
}

static int open_format(struct chr_image *image, unsigned flags, struct chr_error *err)
{
    uint8_t head[HEAD_SIZE] = {0};

    if (blk_read(image->file, 0, head, (size_t)min_u64(sizeof head, image->file->size), err) < 0)
        return -1;
    image->format = format_of(head);
    image->allocated = raw_allocated(image->file);
    if (image->format == CHR_FORMAT_QCOW2)
        return open_qcow2(image, flags, err);
    if (image->snapshot != NULL) {
        (void)err_set(err, CHR_E_REFUSED, "%s is a %s image, which has no snapshots", image->path,
                      chr_format_name(image->format));
        return err_hint(err, "chrimg convert makes it a qcow2, which can have them");
    }
    if (image->format == CHR_FORMAT_ZIP)
        return open_zip(image, flags, err);
    if (foreign_refuse(image->path, head, sizeof head, err) < 0 ||
        recover(image, err) < 0)
        return -1;
    image->disk = image->undo != NULL ? image->undo : image->file;
    return 0;
}

/*
 * "IMG@TAG" where there is no file of that whole name: the image is the first part
 * before an @ that is a file, as tags may hold an @ too.
 */
static int take_name(struct chr_image *image, const char *name, struct chr_error *err)
{
    image->path = mem_strdup(name, err);
    if (image->path == NULL)
        return -1;
    if (access(name, F_OK) == 0)
        return 0;
    for (char *at = strchr(image->path + 1, '@'); at != NULL; at = strchr(at + 1, '@')) {
        *at = '\0';
        if (access(image->path, F_OK) == 0) {
            image->snapshot = mem_strdup(at + 1, err);
            return image->snapshot == NULL ? -1 : 0;
        }
        *at = '@';
    }
    return 0;
}

static int refuse_snapshot(const char *name, struct chr_error *err)
{
    (void)err_set(err, CHR_E_REFUSED, "%s: a snapshot can only be read", name);
    return err_hint(err, "chrimg convert makes an image of it that can be changed");
}

/* Half a sector cannot be read by any machine, and would be lost in another format. */
static int check_size(const struct chr_image *image, struct chr_error *err)
{
    unsigned rest = (unsigned)(image->disk->size % CHR_SECTOR_SIZE);

    if (rest == 0 || image->disk->size < CHR_SECTOR_SIZE)
        return 0;
    (void)err_set(err, CHR_E_DAMAGED, "%s is not whole sectors: the last has %u of 512 bytes",
                  image->path, rest);
    return err_hint(err, "was the download or copy cut off? truncate -s %%512 fills it with zeros");
}

/* The file is not there: where it was looked for. */
static int missing(const char *path, struct chr_error *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *folder = mem_strdup(slash != NULL ? path : ".", err);

    if (folder == NULL)
        return -1;
    if (slash != NULL)
        folder[slash > path ? slash - path : 1] = '\0';
    return err_hint(err, "is the name right? ls %s shows what is there", HINT_WORD(folder));
}

int chr_image_open(const char *name, unsigned flags, struct chr_image **out, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = mem_new(1, sizeof *image, err);
    enum raw_mode mode = (flags & CHR_OPEN_WRITE) != 0         ? RAW_WRITE
                         : (flags & CHR_OPEN_FORCE_SHARE) != 0 ? RAW_READ_UNLOCKED
                                                               : RAW_READ;
    bool writes_snapshot;

    if (name[0] == '\0')
        return err_set(err, CHR_E_USAGE, "the image's name is empty");
    if (strcmp(name, "-") == 0) {
        (void)err_set(err, CHR_E_USAGE, "an image cannot be read from standard input");
        return err_hint(err, "it is read in many places, so it must be a file");
    }
    if (image == NULL || take_name(image, name, err) < 0)
        return -1;
    /* Read first: a raw image has none. */
    writes_snapshot = image->snapshot != NULL && mode == RAW_WRITE;
    if (writes_snapshot) {
        mode = RAW_READ;
        flags &= ~(unsigned)CHR_OPEN_WRITE;
    }
    if (raw_open(image->path, mode, &image->file, err) < 0) {
        if (err->code == CHR_E_BUSY)
            boot_name_holder(image->path, mode == RAW_WRITE, err);
        return err->code == CHR_E_MISSING && err->hint[0] == '\0' ? missing(image->path, err) : -1;
    }
    if (image->file->size == 0)
        return err_set(err, CHR_E_DAMAGED, "%s is empty", image->path);
    if (open_format(image, flags, err) < 0 || check_size(image, err) < 0)
        return -1;
    if (writes_snapshot)
        return refuse_snapshot(name, err);
    *out = STEAL(image);
    return 0;
}

int image_context(const struct chr_image *image, struct chr_error *err)
{
    bool tagged = image->snapshot != NULL;

    return err_context(err, "%s%s%s", image->path, tagged ? "@" : "",
                       tagged ? image->snapshot : "");
}

int image_verify(struct chr_image *image, struct chr_error *err)
{
    return image->format == CHR_FORMAT_ZIP ? zip_blk_verify(image->disk, err) : 0;
}

void chr_image_close(struct chr_image *image)
{
    if (image == NULL)
        return;
    if (image->disk != image->file && image->disk != image->undo)
        blk_cleanup(&image->disk);
    blk_cleanup(&image->undo);
    blk_cleanup(&image->file);
    free(image->snapshot);
    free(image->path);
    free(image);
}

void image_cleanup(struct chr_image **image)
{
    chr_image_close(*image);
}

enum chr_format chr_image_format(const struct chr_image *image)
{
    return image->format;
}

bool chr_image_recovered(const struct chr_image *image)
{
    return image->recovered;
}

const char *chr_format_name(enum chr_format format)
{
    return format == CHR_FORMAT_ZIP ? "zip" : format == CHR_FORMAT_QCOW2 ? "qcow2" : "raw";
}
