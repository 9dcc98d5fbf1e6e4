/*
 * steps: change an ext image file, as a command of the program would: in an overlay,
 * verified, then written.
 *
 *   steps IMAGE verify
 *   steps IMAGE STEP...
 *
 * Steps, done in order in one overlay:
 *   put PATH SOURCE         the bytes of the file SOURCE, mode 0640, 1001:70000, 2020-09-13
 *   mkdir PATH              mode 0750
 *   rm PATH, rmr PATH       the second with all that is in it
 *   stat PATH               prints kind, mode, owner, size, time, links
 *   room                    prints how many bytes and inodes are free
 *
 * Prints "changed N" at the end (bytes of changed sectors).  A failure is printed as
 * "error CODE: MESSAGE", leaves the file as it was, and exits with 1; with 2 where the
 * verifier refuses what the editor did.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block/raw.h"
#include "fs/ext_edit.h"
#include "fs/ext_verify.h"
#include "op/copy.h"

static int read_source(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    ssize_t got = pread(*(int *)context, buf, len, (off_t)off);

    return got == (ssize_t)len ? 0 : err_set(err, CHR_E_IO, "the source cannot be read");
}

static int put(struct ext_edit *edit, const char *path, const char *from, struct chr_error *err)
{
    const struct edit_attributes attributes = {0640, 1001, 70000, 1600000000};
    AUTO_CLOSE int fd = open(from, O_RDONLY | O_CLOEXEC);
    struct edit_source source = {.read = read_source, .context = &fd};
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, CHR_E_MISSING, "no source %s", from);
    source.size = (uint64_t)st.st_size;
    return ext_edit_put(edit, path, &source, &attributes, err);
}

static int show(struct ext_edit *edit, const char *path, struct chr_error *err)
{
    static const char *const kinds[] = {"file", "folder", "symlink", "other"};
    struct edit_entry entry;

    if (ext_edit_stat(edit, path, &entry, err) < 0)
        return -1;
    printf("%s %04" PRIo32 " %" PRIu32 ":%" PRIu32 " %" PRIu64 " %" PRId64 " %" PRIu32 "\n",
           kinds[entry.kind], entry.attributes.mode, entry.attributes.uid, entry.attributes.gid,
           entry.size, entry.attributes.modified, entry.links);
    return 0;
}

static int show_room(struct ext_edit *edit, struct chr_error *err)
{
    uint64_t bytes;
    uint32_t inodes;

    if (ext_edit_room(edit, &bytes, &inodes, err) < 0)
        return -1;
    printf("%" PRIu64 " %" PRIu32 "\n", bytes, inodes);
    return 0;
}

/* Do the step at *ARGV, which moves behind it. */
static int step(struct ext_edit *edit, char ***argv, struct chr_error *err)
{
    const struct edit_attributes folder = {0750, 1001, 70000, 1600000000};
    const char *verb = *(*argv)++;
    const char *path;

    if (strcmp(verb, "room") == 0)
        return show_room(edit, err);
    if (**argv == NULL)
        return err_set(err, CHR_E_USAGE, "%s: no path", verb);
    path = *(*argv)++;
    if (strcmp(verb, "put") == 0 && **argv != NULL)
        return put(edit, path, *(*argv)++, err);
    if (strcmp(verb, "mkdir") == 0)
        return ext_edit_make_folder(edit, path, &folder, err);
    if (strcmp(verb, "rm") == 0 || strcmp(verb, "rmr") == 0)
        return ext_edit_remove(edit, path, strcmp(verb, "rmr") == 0, err);
    if (strcmp(verb, "stat") == 0)
        return show(edit, path, err);
    return err_set(err, CHR_E_USAGE, "no step %s", verb);
}

static int edit_overlay(struct blk *overlay, char **argv, struct chr_error *err)
{
    AUTO_EXT_EDIT struct ext_edit *edit = NULL;

    if (ext_edit_open(overlay, &edit, err) < 0)
        return -1;
    while (*argv != NULL)
        if (step(edit, &argv, err) < 0)
            return -1;
    return ext_edit_finish(&edit, err);
}

static int carry_out(struct blk *overlay, struct blk *image, struct chr_error *err)
{
    if (overlay_drop_unchanged(overlay, err) < 0)
        return -1;
    if (copy_changes(overlay, image, err) < 0)
        return -1;
    printf("changed %" PRIu64 "\n", overlay_changed(overlay));
    return 0;
}

static int fail(int status, const struct chr_error *err)
{
    printf("error %d: %s\n", (int)err->code, err->message);
    return status;
}

int main(int argc, char **argv)
{
    AUTO_BLK struct blk *image = NULL;
    AUTO_BLK struct blk *overlay = NULL;
    struct chr_error err = {0};

    if (argc < 3) {
        (void)fprintf(stderr, "usage: steps IMAGE verify | STEP...\n");
        return 64;
    }
    if (raw_open(argv[1], RAW_WRITE, &image, &err) < 0 || overlay_open(image, &overlay, &err) < 0)
        return fail(1, &err);
    if (strcmp(argv[2], "verify") == 0)
        return ext_verify(overlay, &err) < 0 ? fail(2, &err) : 0;
    if (edit_overlay(overlay, argv + 2, &err) < 0)
        return fail(1, &err);
    if (ext_verify(overlay, &err) < 0)
        return fail(2, &err);
    return carry_out(overlay, image, &err) < 0 ? fail(1, &err) : 0;
}
