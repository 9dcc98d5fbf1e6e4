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
#include "op/way_out.h"

#define TEMPORARY_SUFFIX ".chrimg-tmp"

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

/* What else is taken for an image, and the command that makes one of it. */
static const struct {
    const char *what;
    const char *magic;
    size_t magic_size;
    const char *command;
    const char *into; /* what stands before the new name */
    const char *ending;
} others[] = {
    {"a VMDK that is the description of other files", "# Disk DescriptorFile", 21,
     "qemu-img convert -O qcow2", "", ".qcow2"},
    {"a QED image", "QED\0", 4, "qemu-img convert -O qcow2", "", ".qcow2"},
    {"compressed with gzip", "\x1f\x8b\x08", 3, "gzip -dc", "> ", ".img"},
    {"compressed with xz", "\xfd" "7zXZ\0", 6, "xz -dc", "> ", ".img"},
    {"compressed with zstd", "\x28\xb5\x2f\xfd", 4, "zstd -dc", "> ", ".img"},
    {"compressed with bzip2", "BZh", 3, "bzip2 -dc", "> ", ".img"},
    {"a 7z archive", "7z\xbc\xaf\x27\x1c", 6, "7z e -so", "> ", ".img"},
};

static int refuse(const char *path, const char *what, const char *command, const char *into,
                  const char *ending, struct chr_error *err)
{
    AUTO_FREE char *source = way_out_name(path, NULL, err);
    AUTO_FREE char *target = source != NULL ? way_out_name(path, ending, err) : NULL;

    if (target == NULL)
        return -1;
    (void)err_set(err, CHR_E_UNSUPPORTED, "%s is %s", path, what);
    return err_hint(err, "%s %s %s%s", command, source, into, target);
}

int foreign_refuse(const char *path, const uint8_t *head, size_t size, struct chr_error *err)
{
    char what[32];

    /* Whatever it begins with, a disk that a BIOS would start is a disk. */
    if (size < CHR_SECTOR_SIZE || (head[510] == 0x55 && head[511] == 0xAA))
        return 0;
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (memcmp(head + formats[i].magic_offset, formats[i].magic, formats[i].magic_size) != 0)
            continue;
        (void)snprintf(what, sizeof what, "a %s image", formats[i].ending + 1);
        return refuse(path, what, "chrimg convert", "", ".qcow2", err);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (memcmp(head, others[i].magic, others[i].magic_size) == 0)
            return refuse(path, others[i].what, others[i].command, others[i].into,
                          others[i].ending, err);
    return 0;
}

const char *foreign_format_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot != NULL && i < FORMAT_COUNT; i++)
        if (strcasecmp(dot, formats[i].ending) == 0)
            return formats[i].format;
    return NULL;
}

bool foreign_format(const char *format)
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
static int publish(const char *temporary, const char *output, const char *like, bool force,
                   struct chr_error *err)
{
    AUTO_OUTPUT struct output out = {0};

    if (output_adopt(temporary, output, force, &out, err) < 0 ||
        output_take_mode(&out, like, err) < 0)
        return -1;
    return output_publish(&out, err);
}

int foreign_read(const char *source, const char *raw, struct chr_error *err)
{
    /* The format is told by the magic number that foreign_source() knows. */
    char *argv[] = {"qemu-img", "convert", "-O", "raw", "--", (char *)source, (char *)raw, NULL};

    if (run_qemu_img(argv, err) == 0)
        return 0;
    (void)unlink(raw);
    return -1;
}

int foreign_write(const char *raw, const char *output, const char *format, bool force,
                  struct chr_error *err)
{
    AUTO_FREE char *temporary = hidden_path_beside(raw, TEMPORARY_SUFFIX, err);
    /* With a stated source format nothing is guessed. */
    char *argv[] = {"qemu-img", "convert", "-f", "raw", "-O", (char *)format, "--", (char *)raw,
                    temporary, NULL};

    if (temporary == NULL || output_check(output, force, err) < 0)
        return -1;
    if (run_qemu_img(argv, err) == 0 && publish(temporary, output, raw, force, err) == 0)
        return 0;
    (void)unlink(temporary);
    return -1;
}
