/* Backing files. */
#include "qcow2/backing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/raw.h"

/* Names such as "nbd://host" or "json:{}": a colon before any slash. */
static bool has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

/* NAME as seen from the folder of PATH; NULL with ERR on failure, else the caller's. */
static char *resolve(const char *name, const char *path, struct chr_error *err)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    size_t folder = slash != NULL ? (size_t)(slash - path) + 1 : 0;
    size_t size;
    char *full;

    if (strncmp(name, "file:", 5) == 0)
        name += 5;
    if (has_protocol(name)) {
        (void)err_set(err, CHR_E_UNSUPPORTED,
                      "the backing file %s is not a local file, which is not supported", name);
        return NULL;
    }
    if (name[0] == '/')
        folder = 0;
    size = folder + strlen(name) + 1;
    full = mem_new(size, 1, err);
    if (full != NULL)
        (void)snprintf(full, size, "%.*s%s", (int)folder, path != NULL ? path : "", name);
    return full;
}

static int open_as(const char *format, const char *path, unsigned depth, struct blk **out,
                   struct chr_error *err)
{
    struct qcow2_open_options options = {.path = path};
    bool raw = strcmp(format, "raw") == 0;
    struct blk *file;

    if (!raw && strcmp(format, "qcow2") != 0)
        return err_set(err, CHR_E_UNSUPPORTED, "the format %s is not supported", format);
    if (raw_open(path, RAW_READ, &file, err) < 0)
        return -1;
    if (raw) {
        *out = file;
        return 0;
    }
    return image_open_at_depth(file, &options, depth, out, err);
}

int backing_open(const struct header *header, const char *path, unsigned depth, struct blk **out,
                 struct chr_error *err)
{
    AUTO_FREE char *full = NULL;

    *out = NULL;
    if (header->backing_name == NULL)
        return 0;
    if (depth >= MAX_BACKING_DEPTH)
        return err_set(err, CHR_E_REFUSED, "the chain of backing files is longer than %u",
                       MAX_BACKING_DEPTH);
    if (header->backing_format == NULL) {
        (void)err_set(err, CHR_E_REFUSED,
                      "the image does not say what format its backing file %s has",
                      header->backing_name);
        return err_hint(err, "state it: qemu-img rebase -u -b %.300s -F raw|qcow2 IMAGE",
                        header->backing_name);
    }
    full = resolve(header->backing_name, path, err);
    if (full == NULL)
        return -1;
    if (open_as(header->backing_format, full, depth + 1, out, err) < 0)
        return err_context(err, "backing file %s", full);
    return 0;
}

int qcow2_backing_name(struct blk *file, char **name, struct chr_error *err)
{
    const struct host_file host = {.blk = file};
    struct header header;

    if (header_read(&host, &header, err) < 0)
        return -1;
    *name = STEAL(header.backing_name);
    header_release(&header);
    return 0;
}
