/* The running machine that writes to an image, or reads from it. */
#include <string.h>
#include <sys/stat.h>

#include "base/inode.h"
#include "op/boot.h"

struct search {
    struct stat image;
    bool readers_too; /* machines that write to an overlay over it, or to nothing */
    struct vm_instance *instance;
    struct vm_record *record;
    struct vm_process *process;
};

bool boot_writes_to_image(const struct vm_record *record)
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

/* By its path; of a machine that others started, what it writes to is not what is below that. */
static bool has_path(const struct search *search, const struct vm_record *record,
                     struct chr_error *err)
{
    AUTO_FREE char *image = search->readers_too ? boot_image_of(record, err) : NULL;
    struct stat info;

    return stat(image != NULL ? image : record->image, &info) == 0 &&
           same_inode(&info, &search->image);
}

/* The file that QEMU has open: what has got its name since is a file like any other. */
static bool runs_from(const struct search *search, const struct vm_record *record,
                      struct chr_error *err)
{
    return (vm_record_knows_image(record) ? vm_record_is_image(record, &search->image)
                                          : has_path(search, record, err)) &&
           (search->readers_too || boot_writes_to_image(record));
}

static int match_image(struct vm_instance *instance, struct vm_record *record, void *context,
                       struct chr_error *err)
{
    struct search *search = context;

    if (!runs_from(search, record, err) || !vm_record_process(record, search->process))
        return 0;
    *search->instance = *instance;
    *search->record = *record;
    *record = (struct vm_record){0};
    return 1;
}

static bool find(const char *path, bool readers_too, struct vm_instance *instance,
                 struct vm_record *record, struct vm_process *process)
{
    struct search search = {.readers_too = readers_too, .instance = instance, .record = record,
                            .process = process};
    struct chr_error ignored;

    return stat(path, &search.image) == 0 && boot_for_each(match_image, &search, &ignored) == 1;
}

bool boot_find_by_image(const char *path, struct vm_instance *instance, struct vm_record *record,
                        struct vm_process *process)
{
    return find(path, false, instance, record, process);
}

static bool find_name(const char *path, bool readers_too, char name[CHR_BOOT_NAME_MAX + 1])
{
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_VM_PROCESS struct vm_process process = VM_NO_PROCESS;
    struct vm_instance instance;

    if (!find(path, readers_too, &instance, &record, &process))
        return false;
    (void)strcpy(name, record.name);
    return true;
}

bool boot_uses_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1])
{
    return find_name(path, true, name);
}

void boot_name_holder(const char *path, bool writing, struct chr_error *err)
{
    char name[CHR_BOOT_NAME_MAX + 1];

    if (!boot_uses_image(path, name))
        return;
    (void)err_set(err, CHR_E_BUSY, "%s is in use: instance %s runs from it", path, name);
    (void)err_hint(err, "chrimg stop %s first%s", name,
                   writing ? "" : "; info, ls, cat and cp read it as it is with --force-share");
}

bool chr_vm_of_image(const char *path, char name[CHR_BOOT_NAME_MAX + 1])
{
    return find_name(path, false, name);
}
