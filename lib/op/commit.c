/* Changes in place: one way for each format, the same promise. */
#include "op/commit.h"

#include "base/signals.h"
#include "op/copy.h"
#include "op/undo.h"

int commit_check(const struct chr_image *image, struct chr_error *err)
{
    if (image->snapshot != NULL)
        return err_set(err, CHR_E_REFUSED, "a snapshot cannot be changed in place");
    if (image->format == CHR_FORMAT_ZIP)
        return err_set(err, CHR_E_REFUSED, "an image inside a zip cannot be changed in place");
    return image->format == CHR_FORMAT_RAW ? undo_check(image->path, image->file, err) : 0;
}

/* A half-written image, and nobody who says so, is what Ctrl-C would leave otherwise. */
int commit_in_place(struct chr_image *image, struct blk *overlay, struct chr_error *err)
{
    AUTO_SIGNALS sigset_t saved;

    signals_hold(&saved);
    if (image->format == CHR_FORMAT_RAW)
        return undo_commit(image->path, image->file, overlay, err);
    if (copy_changes(overlay, image->disk, err) < 0)
        return -1;
    return blk_flush(image->disk, err);
}
