/*
 * Where a record was written.  A home folder may be shared between hosts and containers, and
 * process numbers mean nothing elsewhere: a machine that is not found here may run there.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vm/host.h"
#include "vm/instance.h"

/* Of containers on one host, each has process numbers of its own; "" where there is no such thing. */
static void pid_namespace(char name[VM_NAMESPACE_SIZE])
{
    ssize_t length = readlink("/proc/self/ns/pid", name, VM_NAMESPACE_SIZE - 1);

    name[length > 0 ? length : 0] = '\0';
}

void vm_record_set_origin(struct vm_record *record)
{
    vm_host_identity(record->host, sizeof record->host);
    pid_namespace(record->pid_namespace);
}

bool vm_record_is_foreign(const struct vm_record *record)
{
    char here[sizeof record->host];
    char namespace_[VM_NAMESPACE_SIZE];
    char boot_id[VM_BOOT_ID_SIZE];

    if (record->host[0] == '\0')
        return false; /* written before hosts were noted, or adopted here */
    vm_host_identity(here, sizeof here);
    if (strcmp(here, record->host) != 0)
        return true;
    /* No container, and nothing in one, survives its host's boot. */
    if (!vm_host_boot_id(boot_id, sizeof boot_id) || strcmp(boot_id, record->boot_id) != 0)
        return false;
    pid_namespace(namespace_);
    return strcmp(namespace_, record->pid_namespace) != 0;
}
