/* The running machine that writes to an image. */
#include <string.h>
#include <sys/stat.h>

#include "op/boot.h"

struct search {
    struct stat image;
    bool readers_too;
    struct vm_instance *instance;
    struct vm_record *record;
    struct vm_process *process;
};

/* The machine writes to the image itself, and not to an overlay over it. */
static bool writes_to_image(const struct vm_record *record)
{
    for (size_t i = 0; i < record->file_count; i++)
        if (record->files[i].kind == VM_MAKE_OVERLAY)
            return false;
    for (size_t i = 0; record->argv[i] != NULL; i++)
        if (strncmp(record->argv[i], "if=none,", 8) == 0 &&
            strstr(record->argv[i], "snapshot=on") != NULL)
            return false;
    return true;
}

static int match_image(struct vm_instance *instance, struct vm_record *record, void *context,
                       struct chr_error *err)
{
    struct search *search = context;
    struct stat info;

    (void)err;
    if (stat(record->image, &info) < 0 || info.st_dev != search->image.st_dev ||
        info.st_ino != search->image.st_ino ||
        (!search->readers_too && !writes_to_image(record)) ||
        !vm_record_process(record, search->process))
        return 0;
    *search->instance = *instance;
    *search->record = *record;
    *record = (struct vm_record){0};
    return 1;
}

bool boot_find_by_image(const char *path, struct vm_instance *instance, struct vm_record *record,
                        struct vm_process *process)
{
    struct search search = {.instance = instance, .record = record, .process = process};
    struct chr_error ignored;

    return stat(path, &search.image) == 0 && boot_for_each(match_image, &search, &ignored) == 1;
}

bool boot_uses_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1])
{
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_instance instance;
    struct search search = {.readers_too = true, .instance = &instance, .record = &record,
                            .process = &process};
    struct chr_error ignored;

    if (stat(path, &search.image) < 0 || boot_for_each(match_image, &search, &ignored) != 1)
        return false;
    (void)strcpy(name, record.name);
    return true;
}

bool chr_vm_of_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1])
{
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_instance instance;

    if (!boot_find_by_image(path, &instance, &record, &process))
        return false;
    (void)strcpy(name, record.name);
    return true;
}
