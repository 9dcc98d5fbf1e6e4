/*
 * One step on a FAT, for tests/judge/fat-edit.sh:
 *
 *   steps IMAGE put PATH FILE [MODE [TIME]]
 *   steps IMAGE mkdir PATH [TIME]
 *   steps IMAGE rm|rmtree PATH
 *   steps IMAGE stat PATH       prints "file|folder SIZE MODE TIME"
 *   steps IMAGE room            prints the bytes that fit
 *
 * The change is made in an overlay, the result read again, and then written, as the
 * commands do it.  An error is one line "CODE MESSAGE" and status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "block/overlay.h"
#include "block/raw.h"
#include "fs/fat_edit.h"
#include "op/copy.h"

#define DEFAULT_TIME 1700000000

static int read_source(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    ssize_t got = pread(*(int *)context, buf, len, (off_t)off);

    return got == (ssize_t)len ? 0 : err_errno(err, errno, "the source cannot be read");
}

static int put(struct fat_edit *edit, char **args, struct chr_error *err)
{
    struct edit_attributes attributes = {.mode = 0644, .modified = DEFAULT_TIME};
    AUTO_CLOSE int fd = open(args[1], O_RDONLY | O_CLOEXEC);
    struct edit_source source = {.read = read_source, .context = &fd};
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "%s", args[1]);
    source.size = (uint64_t)st.st_size;
    if (args[2] != NULL) {
        attributes.mode = (uint32_t)strtoul(args[2], NULL, 8);
        if (args[3] != NULL)
            attributes.modified = strtoll(args[3], NULL, 10);
    }
    return fat_edit_put(edit, args[0], &source, &attributes, err);
}

static int make_folder(struct fat_edit *edit, char **args, struct chr_error *err)
{
    struct edit_attributes attributes = {.mode = 0755, .modified = DEFAULT_TIME};

    if (args[1] != NULL)
        attributes.modified = strtoll(args[1], NULL, 10);
    return fat_edit_make_folder(edit, args[0], &attributes, err);
}

static int show_entry(struct fat_edit *edit, const char *path, struct chr_error *err)
{
    struct edit_entry entry;

    if (fat_edit_stat(edit, path, &entry, err) < 0)
        return -1;
    printf("%s %" PRIu64 " %" PRIo32 " %" PRId64 "\n",
           entry.kind == FILE_FOLDER ? "folder" : "file", entry.size, entry.attributes.mode,
           entry.attributes.modified);
    return 0;
}

static int show_room(struct fat_edit *edit, struct chr_error *err)
{
    uint64_t bytes;
    uint32_t cluster_size;

    if (fat_edit_room(edit, &bytes, &cluster_size, err) < 0)
        return -1;
    printf("%" PRIu64 "\n", bytes);
    return 0;
}

/* WORDS: the command and what follows it, NULL at the end. */
static int run_step(struct fat_edit *edit, char **words, struct chr_error *err)
{
    const char *command = words[0];
    bool path = words[1] != NULL;

    if (strcmp(command, "room") == 0)
        return show_room(edit, err);
    if (path && strcmp(command, "stat") == 0)
        return show_entry(edit, words[1], err);
    if (path && strcmp(command, "mkdir") == 0)
        return make_folder(edit, words + 1, err);
    if (path && words[2] != NULL && strcmp(command, "put") == 0)
        return put(edit, words + 1, err);
    if (path && strncmp(command, "rm", 2) == 0)
        return fat_edit_remove(edit, words[1], strcmp(command, "rmtree") == 0, err);
    return err_set(err, CHR_E_USAGE, "unknown step %s", command);
}

static int carry_out(struct blk *overlay, struct blk *device, struct chr_error *err)
{
    if (copy_changes(overlay, device, err) < 0)
        return -1;
    return 0;
}

static int change(const char *image, char **words, struct chr_error *err)
{
    AUTO_BLK struct blk *device = NULL;
    AUTO_BLK struct blk *overlay = NULL;
    AUTO_FAT_EDIT struct fat_edit *edit = NULL;
    AUTO_TREE struct file_tree tree = {0};
    struct fat_info info;

    if (raw_open(image, RAW_WRITE, &device, err) < 0 || overlay_open(device, &overlay, err) < 0 ||
        fat_edit_open(overlay, &edit, err) < 0 || run_step(edit, words, err) < 0 ||
        fat_edit_finish(&edit, err) < 0)
        return -1;
    if (fat_read(overlay, &info, &tree, err) < 0)
        return err_context(err, "after the step");
    return carry_out(overlay, device, err);
}

int main(int argc, char **argv)
{
    struct chr_error err = {0};

    if (argc < 3) {
        fprintf(stderr, "usage: steps IMAGE put|mkdir|rm|rmtree|stat|room ...\n");
        return 2;
    }
    if (change(argv[1], argv + 2, &err) == 0)
        return 0;
    printf("%d %s\n", (int)err.code, err.message);
    return 1;
}
