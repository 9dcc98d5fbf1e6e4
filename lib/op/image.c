/* Opening images: which format, which locks, and what an earlier run left. */
#include "op/image.h"

#include "base/bytes.h"
#include "block/raw.h"
#include "block/zip.h"
#include "op/undo.h"

#define HEAD_SIZE 512

static const uint8_t qcow2_magic[4] = {'Q', 'F', 'I', 0xFB};

static enum chr_format format_of(const uint8_t *head)
{
    if (zip_probe(head, HEAD_SIZE))
        return CHR_FORMAT_ZIP;
    return memcmp(head, qcow2_magic, sizeof qcow2_magic) == 0 ? CHR_FORMAT_QCOW2 : CHR_FORMAT_RAW;
}

static int open_zip(struct chr_image *image, unsigned flags, struct chr_error *err)
{
    blk_cleanup(&image->file);
    image->file = NULL;
    if ((flags & CHR_OPEN_WRITE) != 0) {
        (void)err_set(err, CHR_E_REFUSED, "%s: an image inside a zip cannot be changed in place",
                      image->path);
        return err_hint(err, "leave out --in-place: the result is written beside it");
    }
    return zip_blk_open(image->path, &image->disk, err);
}

/* What was interrupted is taken back: really when we may write, else in memory. */
static int recover(struct chr_image *image, struct chr_error *err)
{
    if (image->file->writable)
        return undo_roll_back(image->path, image->file, &image->recovered, err);
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
    if (image->format == CHR_FORMAT_ZIP)
        return open_zip(image, flags, err);
    if (image->format == CHR_FORMAT_QCOW2) {
        (void)err_set(err, CHR_E_UNSUPPORTED, "%s is a qcow2 image, which is not read yet",
                      image->path);
        return err_hint(err, "qemu-img convert -O raw %s router.img", image->path);
    }
    if (recover(image, err) < 0)
        return -1;
    image->disk = image->undo != NULL ? image->undo : image->file;
    return 0;
}

int chr_image_open(const char *path, unsigned flags, struct chr_image **out, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = mem_new(1, sizeof *image, err);
    enum raw_mode mode = (flags & CHR_OPEN_WRITE) != 0         ? RAW_WRITE
                         : (flags & CHR_OPEN_FORCE_SHARE) != 0 ? RAW_READ_UNLOCKED
                                                               : RAW_READ;

    if (image == NULL)
        return -1;
    image->path = mem_strdup(path, err);
    if (image->path == NULL || raw_open(path, mode, &image->file, err) < 0)
        return -1;
    if (image->file->size == 0)
        return err_set(err, CHR_E_DAMAGED, "%s is empty", path);
    if (open_format(image, flags, err) < 0)
        return -1;
    *out = STEAL(image);
    return 0;
}

void chr_image_close(struct chr_image *image)
{
    if (image == NULL)
        return;
    if (image->disk != image->file && image->disk != image->undo)
        blk_cleanup(&image->disk);
    blk_cleanup(&image->undo);
    blk_cleanup(&image->file);
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
