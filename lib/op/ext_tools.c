/* The programs of e2fsprogs. */
#include "op/ext_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/environment.h"
#include "block/raw.h"
#include "op/child.h"
#include "op/copy.h"

#define NOT_FOUND 127 /* env(1): there is no such program */

int ext_tools_copy(struct blk *window, struct blk **out, struct chr_error *err)
{
    const char *folder = temporary_folder();
    const struct progress no_progress = {0};
    AUTO_BLK struct blk *copy = NULL;
    char name[4096];
    int fd;

    (void)snprintf(name, sizeof name, "%s/chrimg-XXXXXX", folder);
    fd = mkostemp(name, 0); /* inherited by the programs on purpose */
    if (fd < 0)
        return err_errno(err, errno, "cannot create a temporary file in %s", folder);
    (void)unlink(name);
    if (raw_from_fd(fd, "temporary file", 0, true, &copy, err) < 0 ||
        raw_resize(copy, window->size, err) < 0 || copy_disk(window, copy, &no_progress, err) < 0)
        return -1;
    *out = STEAL(copy);
    return 0;
}

int ext_tools_run(const char *program, const char *const *arguments, struct blk *copy,
                  uint32_t clock, int *status, char *output, size_t size, struct chr_error *err)
{
    /* Debian's users have no sbin in their PATH. */
    static const char *const folders[] = {"", "/usr/sbin/", "/sbin/"};
    char name[64];
    char path[64];
    char libext2fs_time[64];
    char e2fsck_time[64];
    char *argv[EXT_TOOLS_ARGUMENTS + 6] = {"env", libext2fs_time, e2fsck_time, name};
    size_t count = 4;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", copy->fd);
    (void)snprintf(libext2fs_time, sizeof libext2fs_time, "E2FSPROGS_FAKE_TIME=%" PRIu32, clock);
    (void)snprintf(e2fsck_time, sizeof e2fsck_time, "E2FSCK_TIME=%" PRIu32, clock);
    for (size_t i = 0; arguments[i] != NULL && i < EXT_TOOLS_ARGUMENTS; i++)
        argv[count++] = (char *)arguments[i];
    argv[count] = path;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        (void)snprintf(name, sizeof name, "%s%s", folders[i], program);
        if (child_run(argv, output, size, status, err) < 0)
            return -1;
        if (*status != NOT_FOUND)
            return 0;
    }
    return err_set(err, CHR_E_MISSING, "%s is not installed", program);
}

void ext_tools_complaint(const char *output, const char *otherwise, char *text, size_t size)
{
    const char *line = output;

    while (*line != '\0') {
        size_t length = strcspn(line, "\n");

        if (length > 0 && strncmp(line, "e2fsck ", 7) != 0 && strncmp(line, "Pass ", 5) != 0 &&
            strncmp(line, "resize2fs ", 10) != 0 && strncmp(line, "Resizing ", 9) != 0) {
            (void)snprintf(text, size, "%.*s", (int)length, line);
            return;
        }
        line += length + (line[length] == '\n');
    }
    (void)snprintf(text, size, "%s", otherwise);
}
