/* qemu-img for what is not ours. */
#include "op/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "op/child.h"
#include "op/files.h"
#include "op/image.h"
#include "op/target.h"

#define TEMPORARY_SUFFIX ".chrimg-tmp"
#define INTERMEDIATE_SUFFIX ".chrimg-raw"

static const struct {
    const char *format; /* as qemu-img calls it */
    const char *ending;
    const char *magic; /* at the start of the file; NULL: not told by it */
    size_t magic_size;
    size_t magic_offset;
} formats[] = {
    {"vmdk", ".vmdk", "KDMV", 4, 0},          {"vdi", ".vdi", "\x7f\x10\xda\xbe", 4, 64},
    {"vhdx", ".vhdx", "vhdxfile", 8, 0},      {"vpc", ".vhd", "conectix", 8, 0},
};

#define FORMAT_COUNT (sizeof formats / sizeof formats[0])

const char *foreign_format_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot != NULL && i < FORMAT_COUNT; i++)
        if (strcasecmp(dot, formats[i].ending) == 0)
            return formats[i].format;
    return NULL;
}

static bool is_foreign_format(const char *format)
{
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].format, format) == 0)
            return true;
    return false;
}

int foreign_source(const char *path, bool *foreign, struct chr_error *err)
{
    char head[72] = "";
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? pread(fd, head, sizeof head, 0) : 0;

    (void)err;
    *foreign = false;
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (n == (ssize_t)sizeof head &&
            memcmp(head + formats[i].magic_offset, formats[i].magic, formats[i].magic_size) == 0)
            *foreign = true;
    return 0;
}

/* Run qemu-img; the first line of what it says becomes the error's text. */
static int run_qemu_img(char *const argv[], struct chr_error *err)
{
    char text[400];
    int status;

    if (child_run(argv, text, sizeof text, &status, err) < 0) {
        if (err->code != CHR_E_MISSING)
            return -1;
        (void)err_set(err, CHR_E_MISSING, "this format is left to qemu-img, which is not installed");
        return err_hint(err, "apt-get install qemu-utils");
    }
    text[strcspn(text, "\n")] = '\0';
    return status == 0 ? 0
                       : err_set(err, CHR_E_IO, "qemu-img failed: %s",
                                 text[0] != '\0' ? text : "it says nothing");
}

/* Make the file durable, and give it its name. */
static int publish(const char *temporary, const char *output, struct chr_error *err)
{
    AUTO_CLOSE int fd = open(temporary, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, errno, "cannot make %s durable", temporary);
    if (rename(temporary, output) < 0)
        return err_errno(err, errno, "cannot rename %s to %s", temporary, output);
    return sync_folder_of(output, err);
}

/* qemu-img knows no zip and no IMG@TAG of ours: those go through a raw file beside the output. */
static int make_intermediate(const char *source, const char *path, struct chr_error *err)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    AUTO_OUTPUT struct output output = {0};
    const struct target_options options = {.format = CHR_FORMAT_RAW, .force = true};

    if (chr_image_open(source, 0, &image, err) < 0 ||
        target_write(image->disk, path, &options, &output, err) < 0)
        return -1;
    return output_publish(&output, err);
}

static int convert(const char *source, const char *source_format, const char *temporary,
                   const char *format, struct chr_error *err)
{
    /* With a stated source format nothing is guessed; foreign ones are told by their magic. */
    char *with_format[] = {"qemu-img", "convert", "-f", (char *)source_format, "-O", (char *)format,
                           "--", (char *)source, (char *)temporary, NULL};
    char *without[] = {"qemu-img", "convert", "-O", (char *)format, "--", (char *)source,
                       (char *)temporary, NULL};

    return run_qemu_img(source_format != NULL ? with_format : without, err);
}

int foreign_convert(const char *source, const char *output, const char *format,
                    const struct chr_convert_options *options, struct chr_error *err)
{
    AUTO_FREE char *temporary = hidden_path_beside(output, TEMPORARY_SUFFIX, err);
    AUTO_FREE char *intermediate = hidden_path_beside(output, INTERMEDIATE_SUFFIX, err);
    bool foreign;
    int result;

    if (temporary == NULL || intermediate == NULL || foreign_source(source, &foreign, err) < 0)
        return -1;
    if (!is_foreign_format(format) && strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0) {
        (void)err_set(err, CHR_E_USAGE, "there is no output format %s", format);
        return err_hint(err, "raw and qcow2, or vmdk, vdi, vhdx and vpc by qemu-img");
    }
    if (!options->force && access(output, F_OK) == 0) {
        (void)err_set(err, CHR_E_EXISTS, "%s is there already", output);
        return err_hint(err, "name another file, or use --force to replace it");
    }
    if (!foreign && make_intermediate(source, intermediate, err) < 0)
        return -1;
    result = convert(foreign ? source : intermediate, foreign ? NULL : "raw", temporary, format,
                     err);
    if (!foreign)
        (void)unlink(intermediate);
    if (result == 0)
        result = publish(temporary, output, err);
    if (result < 0)
        (void)unlink(temporary);
    return result;
}
