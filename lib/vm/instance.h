/*
 * Instances: virtual machines by name, and what is written down about each.
 *
 * $XDG_STATE_HOME/chrimg/NAME   record.json, disks and variables of ours, logs
 * $XDG_RUNTIME_DIR/chrimg/NAME  sockets and QEMU's pid file; while it runs
 *
 * Both are for their owner alone.  The record is replaced as a whole, under a lock
 * on the state folder; it is there before QEMU is (process.h).
 */
#ifndef CHRIMG_VM_INSTANCE_H
#define CHRIMG_VM_INSTANCE_H

#include <sys/stat.h>

#include "vm/plan.h"
#include "vm/process.h"

#define VM_BOOT_ID_SIZE 64
#define VM_NAMESPACE_SIZE 32 /* "pid:[4026531836]" */

/* What is needed to find, stop and start an instance again. */
struct vm_record {
    char name[CHR_BOOT_NAME_MAX + 1];
    char *image; /* absolute path */
    uint64_t image_device; /* of the file that had this path when QEMU was started */
    uint64_t image_inode;  /* 0: not known */
    char *arch;
    char *accel; /* "kvm", "hvf", "tcg" */
    char *firmware; /* "SeaBIOS", "UEFI" */
    char **argv; /* ends with NULL */
    char **fallback; /* the same with TCG, for when ACCEL does not run guests; or NULL */
    struct vm_file *files; /* that the plan made */
    size_t file_count;
    struct vm_forward *forwards; /* their address is listen */
    size_t forward_count;
    char *listen;
    char *qmp_socket;
    char *serial_socket;
    char *serial_log;
    char *log_file; /* QEMU's own */
    bool remove;    /* the instance goes when the machine is off */
    bool adopted;   /* somebody else started QEMU: there is no file of this record */
    bool fresh;     /* the instance is new with this start; not written down */
    bool damaged;   /* the file tells nothing; what is here was seen in the folders */
    enum chr_ready ready;
    uint16_t ready_port;
    char *ready_pattern; /* or NULL */
    unsigned timeout;    /* seconds; 0: by accelerator */
    int64_t started;     /* seconds since 1970 */
    pid_t pid;           /* 0: never started */
    uint64_t start_time;
    char boot_id[VM_BOOT_ID_SIZE];
    char host[VM_IDENTITY_SIZE]; /* that started it; "": not known */
    char pid_namespace[VM_NAMESPACE_SIZE];
};

struct vm_instance {
    char name[CHR_BOOT_NAME_MAX + 1];
    char runtime[VM_PATH_SIZE];
    char state[VM_PATH_SIZE];
    int lock; /* descriptor that holds the lock, or -1 */
};

#define VM_NO_INSTANCE ((struct vm_instance){.lock = -1})

/* Say where instance NAME is below the folders of HOST; touches nothing. */
int vm_instance_place(const struct vm_host *host, const char *name, struct vm_instance *instance,
                      struct chr_error *err);

/*
 * Make the folders (0700, checked to be ours and nobody else's) and take the lock.
 * CHR_E_BUSY when another process holds it for longer than a few seconds.
 */
int vm_instance_lock_new(struct vm_instance *instance, struct chr_error *err);

/*
 * Do what a start does first, and take it back: make the folders of an instance that
 * nobody has, lock it, and write a small file into each.
 */
int vm_instance_try_folders(const struct vm_host *host, struct chr_error *err);

/* Take the lock of an instance that is there; CHR_E_MISSING when there is none. */
int vm_instance_lock(struct vm_instance *instance, struct chr_error *err);

/* The same without patience. */
int vm_instance_try_lock(struct vm_instance *instance, struct chr_error *err);

/* Behind the hint that is there: what to do where VARIABLE's folder cannot be used, or is full. */
void vm_instance_hint(const char *variable, struct chr_error *err);

/* Make the runtime folder, which tidying takes away; under the lock. */
int vm_instance_prepare(const struct vm_instance *instance, struct chr_error *err);

/* Whether its state folder holds what the guest wrote: a disk or firmware variables. */
bool vm_instance_keeps(const struct vm_instance *instance);

/*
 * That somebody asked for the machine's end, for who started it and sees it die: noted
 * before it ends, forgotten with its next start.
 */
void vm_instance_note_stop(const struct vm_instance *instance);
void vm_instance_clear_stop(const struct vm_instance *instance);
/* True as well when nothing of the instance is left: it was removed, after it was ended. */
bool vm_instance_was_stopped(const struct vm_instance *instance);

void vm_instance_unlock(struct vm_instance *instance);
#define AUTO_VM_INSTANCE CLEANUP(vm_instance_unlock)

/*
 * The record; CHR_E_MISSING when there is none, CHR_E_DAMAGED when it is not ours.  Where a
 * machine runs that the written one does not know of, it is vm_record_adopt()'s.
 */
int vm_record_read(const struct vm_instance *instance, struct vm_record *record,
                   struct chr_error *err);
int vm_record_write(const struct vm_instance *instance, const struct vm_record *record,
                    struct chr_error *err);
/*
 * Take away what a start leaves that was killed before it had written its record: an
 * empty folder.  One with anything in it stays.  Under the lock.
 */
void vm_record_sweep(const struct vm_instance *instance);
void vm_record_release(struct vm_record *record);
#define AUTO_VM_RECORD CLEANUP(vm_record_release)

/*
 * A record of the machine whose pid file is in the instance's runtime folder, made of the
 * arguments of its process (Linux); false when none runs.
 */
bool vm_record_adopt(const struct vm_instance *instance, struct vm_record *record);

/* Fill in the name, and where an instance that chrimg has not started has its sockets and logs. */
int vm_record_places(const struct vm_instance *instance, struct vm_record *record,
                     struct chr_error *err);

/* Fill in pid, start_time and boot_id. */
void vm_record_bind(struct vm_record *record, const struct vm_process *process);

/* Fill in the host and the container that RECORD is of: this one. */
void vm_record_set_origin(struct vm_record *record);

/* Fill in image_device and image_inode: of the file that has the image's path now. */
void vm_record_set_image(struct vm_record *record);

/* Whether they are known; records of older versions and of others' machines tell the path alone. */
bool vm_record_knows_image(const struct vm_record *record);

/* Whether FILE is the one that the machine was started from. */
bool vm_record_is_image(const struct vm_record *record, const struct stat *file);

enum vm_image_name {
    VM_IMAGE_NAMED,    /* the image's path leads to the file that the machine was started from */
    VM_IMAGE_REPLACED, /* to another one */
    VM_IMAGE_REMOVED,  /* to none */
};

/* Where the path leads by now; VM_IMAGE_NAMED where that cannot be told. */
enum vm_image_name vm_record_image_name(const struct vm_record *record);

/*
 * The file that RECORD's running machine was started from, whatever its name is, opened for
 * reading, without locks: a descriptor, or -1 where it cannot be had (Linux alone shows it).
 */
int vm_record_open_image(const struct vm_record *record);

/*
 * Whether RECORD was written on another host, or in another container that may still be
 * there: whether its machine runs cannot be told here, and what it keeps is not to be removed.
 */
bool vm_record_is_foreign(const struct vm_record *record);

/* The machine of RECORD, if it runs: true, and *PROCESS is to be released. */
bool vm_record_process(const struct vm_record *record, struct vm_process *process);

/*
 * Take away what a machine that is off leaves: its sockets, and with FORGET, or when it
 * was started so, everything else.  Under the lock.
 */
int vm_instance_tidy(struct vm_instance *instance, const struct vm_record *record, bool forget,
                     struct chr_error *err);

/* Before the machine is ended: whether what would be taken away is in folders of ours alone. */
int vm_instance_check_tidy(const struct vm_instance *instance, const struct vm_record *record,
                           bool forget, struct chr_error *err);

/* The names of all instances, sorted; free each and the list. */
int vm_instance_names(const struct vm_host *host, char ***names, size_t *count,
                      struct chr_error *err);
void vm_names_free(char **names, size_t count);

#endif
