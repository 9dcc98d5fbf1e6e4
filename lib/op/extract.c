/* chr_extract(): files of the boot partition onto the host, or a partition as it is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "op/analysis.h"
#include "op/copy.h"
#include "op/files.h"
#include "op/image.h"
#include "op/session.h"
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

/* ---- a partition ---- */

static const struct partition *by_number(const struct table *table, const char *text)
{
    char number[16];

    for (size_t i = 0; i < table->partition_count; i++) {
        (void)snprintf(number, sizeof number, "%u", table->partitions[i].number);
        if (strcmp(number, text) == 0)
            return &table->partitions[i];
    }
    return NULL;
}

static int refuse_partition(const struct table *table, const char *text, struct chr_error *err)
{
    char numbers[CHR_HINT_SIZE / 2] = "";
    size_t length = 0;

    for (size_t i = 0; i < table->partition_count && length < sizeof numbers; i++)
        length += (size_t)snprintf(numbers + length, sizeof numbers - length, ", %u",
                                   table->partitions[i].number);
    (void)err_set(err, strspn(text, "0123456789") == strlen(text) ? CHR_E_MISSING : CHR_E_USAGE,
                  "there is no partition %s", text);
    return err_hint(err, "there are boot, root%s", numbers);
}

/* The partition that TEXT names, which is read byte for byte: whatever is on it. */
static int find_partition(struct chr_image *image, const char *text, struct session *session,
                          const struct partition **out, struct chr_error *err)
{
    AUTO_TABLE struct table *table = NULL;

    if (table_read(image->disk, &table, err) < 0)
        return -1;
    *out = NULL;
    if (strcmp(text, "root") == 0) {
        if (session_open(image, NULL, session, err) < 0)
            return -1;
        *out = session->sides[SESSION_ROOT].partition;
        if (*out != NULL)
            return 0;
        (void)err_set(err, CHR_E_MISSING, "no partition holds an ext with RouterOS on it");
        return err_hint(err, "name it by its number; chrimg info lists the partitions");
    }
    session->table = STEAL(table);
    *out = strcmp(text, "boot") == 0 ? table_boot_partition(session->table)
                                     : by_number(session->table, text);
    return *out != NULL ? 0 : refuse_partition(session->table, text, err);
}

static int write_raw(const struct chr_image *image, struct blk *window,
                     const struct chr_extract_options *options,
                     struct chr_extract_report *report, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    const struct progress no_progress = {0};

    if (output_begin(options->raw, window->size, options->force, &output, err) < 0 ||
        output_take_mode(&output, image->path, err) < 0 ||
        copy_disk(window, output.blk, &no_progress, err) < 0)
        return -1;
    report->bytes += window->size;
    return output_publish(&output, err);
}

static int extract_raw(struct chr_image *image, const struct partition *partition,
                       const struct chr_extract_options *options,
                       struct chr_extract_report *report, struct chr_error *err)
{
    AUTO_BLK struct blk *window = NULL;

    report->partition = partition->number;
    return partition_window(image->disk, partition, &window, err) < 0
               ? -1
               : write_raw(image, window, options, report, err);
}

/* ---- the whole ---- */

static int check_raw(const struct chr_image *image, const struct chr_extract_options *options,
                     struct chr_error *err)
{
    if (!same_file(image->path, options->raw))
        return output_check(options->raw, options->force, err);
    (void)err_set(err, CHR_E_USAGE, "%s is the image itself", options->raw);
    return err_hint(err, "name another file for the partition");
}

int chr_extract(struct chr_image *image, const struct chr_extract_options *options,
                struct chr_extract_report *report, struct chr_error *err)
{
    const char *name = options->partition != NULL ? options->partition : "boot";
    AUTO_ANALYSIS struct analysis *analysis = NULL;
    AUTO_SESSION struct session session = {0};
    const struct partition *partition = NULL;

    *report = (struct chr_extract_report){0};
    if (options->folder == NULL && options->raw == NULL)
        return err_set(err, CHR_E_USAGE, "nothing to extract to: name a folder or a file");
    if ((options->folder != NULL && analyse(image->disk, &analysis, err) < 0) ||
        (options->raw != NULL && find_partition(image, name, &session, &partition, err) < 0))
        return err_context(err, "%s", image->path);
    if (options->raw != NULL && check_raw(image, options, err) < 0)
        return -1;
    /* A zip's CRC is known at its end only, and nothing may be extracted from a damaged one. */
    if (image_verify(image, err) < 0)
        return -1;
    if (options->folder != NULL && extract_files(image, analysis, options, report, err) < 0)
        return -1;
    return options->raw != NULL ? extract_raw(image, partition, options, report, err) : 0;
}
