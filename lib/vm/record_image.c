/*
 * The file that a machine was started from, by its device and inode number: the name in the
 * record may lead to another file by now, or to none, and QEMU goes on with the one it has open.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/instance.h"

void vm_record_set_image(struct vm_record *record)
{
    struct stat info;
    bool is_there = stat(record->image, &info) == 0;

    record->image_device = is_there ? (uint64_t)info.st_dev : 0;
    record->image_inode = is_there ? (uint64_t)info.st_ino : 0;
}

bool vm_record_knows_image(const struct vm_record *record)
{
    return record->image_inode != 0;
}

bool vm_record_is_image(const struct vm_record *record, const struct stat *file)
{
    return record->image_device == (uint64_t)file->st_dev &&
           record->image_inode == (uint64_t)file->st_ino;
}

enum vm_image_name vm_record_image_name(const struct vm_record *record)
{
    struct stat info;

    if (!vm_record_knows_image(record))
        return VM_IMAGE_NAMED;
    if (stat(record->image, &info) < 0)
        return errno == ENOENT || errno == ENOTDIR ? VM_IMAGE_REMOVED : VM_IMAGE_NAMED;
    return vm_record_is_image(record, &info) ? VM_IMAGE_NAMED : VM_IMAGE_REPLACED;
}

/* Linux names what a process has open; elsewhere there is no such folder. */
int vm_record_open_image(const struct vm_record *record)
{
    char path[64];
    DIR *folder;
    const struct dirent *entry;
    struct stat info;
    int fd = -1;

    (void)snprintf(path, sizeof path, "/proc/%ld/fd", (long)record->pid);
    folder = opendir(path);
    while (folder != NULL && fd < 0 && (entry = readdir(folder)) != NULL) {
        (void)snprintf(path, sizeof path, "/proc/%ld/fd/%.20s", (long)record->pid, entry->d_name);
        if (entry->d_name[0] != '.' && stat(path, &info) == 0 && S_ISREG(info.st_mode) &&
            vm_record_is_image(record, &info))
            fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (folder != NULL)
        (void)closedir(folder);
    return fd;
}
