/* chr_extract(): files of the boot partition onto the host. */
#include "op/analysis.h"
#include "op/copy.h"
#include "op/files.h"
#include "op/image.h"
#include "op/unpack.h"

static int extract_files(const struct chr_image *image, const struct analysis *analysis,
                         const struct chr_extract_options *options,
                         struct chr_extract_report *report, struct chr_error *err)
{
    const struct unpack unpack = {.device = analysis->window, .tree = &analysis->tree,
                                  .folder = options->folder, .force = options->force,
                                  .image = image->path};
    struct unpack_report done = {0};

    if (!analysis->readable) {
        *err = analysis->problem;
        return err_context(err, "boot partition");
    }
    if (unpack_tree(&unpack, &done, err) < 0)
        return -1;
    report->files = done.files;
    report->folders = done.folders;
    report->bytes = done.bytes;
    return 0;
}

static int extract_raw(const struct chr_image *image, const struct analysis *analysis,
                       const struct chr_extract_options *options,
                       struct chr_extract_report *report, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    const struct progress no_progress = {0};

    if (output_begin(options->raw, analysis->window->size, options->force, &output, err) < 0 ||
        output_take_mode(&output, image->path, err) < 0 ||
        copy_disk(analysis->window, output.blk, &no_progress, err) < 0)
        return -1;
    report->bytes += analysis->window->size;
    return output_publish(&output, err);
}

int chr_extract(struct chr_image *image, const struct chr_extract_options *options,
                struct chr_extract_report *report, struct chr_error *err)
{
    AUTO_ANALYSIS struct analysis *analysis = NULL;

    *report = (struct chr_extract_report){0};
    if (options->folder == NULL && options->raw == NULL)
        return err_set(err, CHR_E_USAGE, "nothing to extract to: name a folder or a file");
    if (analyse(image->disk, &analysis, err) < 0)
        return err_context(err, "%s", image->path);
    if (options->raw != NULL && same_file(image->path, options->raw)) {
        (void)err_set(err, CHR_E_USAGE, "%s is the image itself", options->raw);
        return err_hint(err, "name another file for the partition");
    }
    if (options->raw != NULL && output_check(options->raw, options->force, err) < 0)
        return -1;
    /* A zip's CRC is known at its end only, and nothing may be extracted from a damaged one. */
    if (image_verify(image, err) < 0)
        return -1;
    if (options->folder != NULL && extract_files(image, analysis, options, report, err) < 0)
        return -1;
    return options->raw != NULL ? extract_raw(image, analysis, options, report, err) : 0;
}
