/* chr_vm_forget(): an instance whose record tells nothing any more, as after a power cut. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "op/boot.h"
#include "vm/text.h"

/* "record.json, disk-1234abcd.qcow2", of what FOLDER holds. */
static int list_files(const char *folder, char **list, struct chr_error *err)
{
    AUTO_TEXT struct text text = {0};
    const struct dirent *entry;
    DIR *files = opendir(folder);

    while (files != NULL && (entry = readdir(files)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            text_add(&text, "%s%s", text.bytes != NULL ? ", " : "", entry->d_name);
    if (files != NULL)
        (void)closedir(files);
    if (text.bytes == NULL)
        text_add(&text, "nothing");
    return text_take(&text, list, err);
}

static int refuse_running(const struct vm_instance *instance, struct chr_error *err)
{
    AUTO_VM_RECORD struct vm_record running = {0};

    if (!vm_record_adopt(instance, &running))
        return 0;
    (void)err_set(err, CHR_E_BUSY, "the record of %s is damaged, and its machine runs as process %ld",
                  instance->name, (long)running.pid);
    return err_hint(err, "turn the router off; or kill %ld", (long)running.pid);
}

int chr_vm_forget(const char *name, char **removed, struct chr_error *err)
{
    AUTO_VM_HOST struct vm_host *host = NULL;
    AUTO_VM_INSTANCE struct vm_instance instance = VM_NO_INSTANCE;
    AUTO_VM_RECORD struct vm_record record = {0};
    AUTO_FREE char *list = NULL;

    if (boot_folders(&host, err) < 0 || vm_instance_place(host, name, &instance, err) < 0 ||
        vm_instance_lock(&instance, err) < 0)
        return -1;
    if (vm_record_read(&instance, &record, err) == 0)
        return err_set(err, CHR_E_REFUSED, "the record of %s is sound", name);
    if (err->code != CHR_E_DAMAGED)
        return -1;
    if (refuse_running(&instance, err) < 0 || list_files(instance.state, &list, err) < 0 ||
        vm_instance_tidy(&instance, &record, true, err) < 0)
        return -1;
    *removed = STEAL(list);
    return 0;
}
