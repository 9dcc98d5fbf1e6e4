/*
 * Instances of which no record tells: the line of `chrimg boot --print` and the like made
 * their files, or the record is damaged.  What is known of them is in their folders.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "block/raw.h"
#include "op/boot.h"
#include "qcow2/qcow2.h"

/* Not what is remembered of its image, which lies beside an overlay. */
static bool is_overlay(const char *name)
{
    size_t length = strlen(name);
    size_t ending = strlen(VM_BASE_ENDING);

    return strncmp(name, VM_DISK_PREFIX, strlen(VM_DISK_PREFIX)) == 0 &&
           (length < ending || strcmp(name + length - ending, VM_BASE_ENDING) != 0);
}

/* The name of an overlay in FOLDER, into PATH; *IS_EMPTY when there is nothing at all. */
static bool find_overlay(const char *folder, char path[VM_PATH_SIZE + 256], bool *is_empty)
{
    const struct dirent *entry;
    DIR *files = opendir(folder);
    bool found = false;

    *is_empty = true;
    while (files != NULL && !found && (entry = readdir(files)) != NULL) {
        *is_empty = *is_empty && entry->d_name[0] == '.';
        found = is_overlay(entry->d_name);
        if (found)
            (void)snprintf(path, VM_PATH_SIZE + 256, "%s/%s", folder, entry->d_name);
    }
    if (files != NULL)
        (void)closedir(files);
    return found;
}

/* What the overlay PATH lies over, or NULL; a machine may be writing to it. */
static char *image_below(const char *path)
{
    AUTO_BLK struct blk *file = NULL;
    struct chr_error ignored;
    char *image = NULL;

    if (raw_open(path, RAW_READ_UNLOCKED, &file, &ignored) < 0 ||
        qcow2_backing_name(file, &image, &ignored) < 0)
        return NULL;
    return image;
}

/* Whether the record's disk lies in the instance's own folder, as its log does. */
static bool has_own_disk(const struct vm_record *record)
{
    const char *slash = strrchr(record->image, '/');

    return slash != NULL && is_overlay(slash + 1) &&
           strncmp(record->image, record->serial_log, (size_t)(slash - record->image) + 1) == 0;
}

char *boot_image_of(const struct vm_record *record, struct chr_error *err)
{
    char *below = record->adopted && has_own_disk(record) ? image_below(record->image) : NULL;

    return below != NULL ? below : mem_strdup(record->image, err);
}

static int describe(const struct vm_instance *instance, const char *disk,
                    struct vm_record *record, struct chr_error *err)
{
    record->image = mem_strdup(disk, err);
    record->arch = mem_strdup("unknown", err);
    record->accel = mem_strdup("unknown", err);
    record->firmware = mem_strdup("unknown", err);
    record->listen = mem_strdup("127.0.0.1", err);
    record->argv = mem_new(1, sizeof *record->argv, err);
    return vm_record_places(instance, record, err) == 0 && record->image != NULL &&
                   record->arch != NULL && record->accel != NULL && record->firmware != NULL &&
                   record->listen != NULL && record->argv != NULL
               ? 0
               : -1;
}

bool boot_unrecorded(const struct vm_instance *instance, bool damaged, struct vm_record *record)
{
    char disk[VM_PATH_SIZE + 256] = "-";
    struct chr_error ignored;
    struct stat info;
    bool is_empty;

    if (damaged && vm_record_adopt(instance, record)) {
        record->damaged = true;
        return true;
    }
    *record = (struct vm_record){.damaged = damaged};
    if (stat(instance->state, &info) < 0 ||
        (!find_overlay(instance->state, disk, &is_empty) && is_empty))
        return false;
    record->started = (int64_t)info.st_mtime;
    if (describe(instance, disk, record, &ignored) == 0)
        return true;
    vm_record_release(record);
    return false;
}
