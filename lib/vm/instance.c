/* Names, folders, locks. */
#include "vm/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/inode.h"
#include "vm/clock.h"
#include "vm/host_parts.h"

#define LOCK_PATIENCE_MS 10000 /* a start copies firmware variables, maybe a zip's disk */
#define LOCK_STEP_MS 10
/* How often `chrimg ps` in a loop may take an empty folder away before it is locked. */
#define FOLDER_TRIES 100

/* ---- places ---- */

static int join(char path[VM_PATH_SIZE], const char *folder, const char *name,
                struct chr_error *err)
{
    int n = snprintf(path, VM_PATH_SIZE, "%s/%s", folder, name);

    return n < VM_PATH_SIZE ? 0 : err_set(err, CHR_E_USAGE, "%s is too long a path", folder);
}

int vm_instance_place(const struct vm_host *host, const char *name, struct vm_instance *instance,
                      struct chr_error *err)
{
    *instance = VM_NO_INSTANCE;
    if (vm_name_check(name, err) < 0 ||
        join(instance->runtime, host->runtime_folder, name, err) < 0 ||
        join(instance->state, host->state_folder, name, err) < 0)
        return -1;
    (void)strcpy(instance->name, name);
    return 0;
}

/* A folder that others may write to could be somebody else's trap. */
static int check_owner(const char *path, struct chr_error *err)
{
    struct stat info;

    if (lstat(path, &info) < 0)
        return err_errno(err, errno, "cannot look at %s", path);
    if (!S_ISDIR(info.st_mode))
        return err_set(err, CHR_E_REFUSED, "%s is in the way: it is no folder", path);
    if (info.st_uid != geteuid() || (info.st_mode & 0077) != 0) {
        (void)err_set(err, CHR_E_REFUSED, "%s belongs to somebody else, or others may use it", path);
        return err_hint(err, "it must be yours, with mode 0700");
    }
    return 0;
}

void vm_instance_hint(const char *variable, struct chr_error *err)
{
    size_t length = strlen(err->hint);

    (void)snprintf(err->hint + length, sizeof err->hint - length,
                   "%sset %s to a folder that is yours, can be written to and has room",
                   length > 0 ? "; or " : "", variable);
}

/* "$XDG_.../chrimg" is ours as well: who may rename in it may put another NAME there. */
static int make_private(const char *path, const char *variable, struct chr_error *err)
{
    char parent[VM_PATH_SIZE];
    int n = snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);

    if (n >= (int)sizeof parent)
        return err_set(err, CHR_E_USAGE, "%s is too long a path", path);
    if (host_make_folder(parent, err) == 0 && check_owner(parent, err) == 0 &&
        host_make_folder(path, err) == 0 && check_owner(path, err) == 0)
        return 0;
    vm_instance_hint(variable, err);
    return -1;
}

/* ---- the lock ---- */

/* The lock on the folder PATH as *FD; -2 where it went away meanwhile. */
static int take_lock(const char *path, int64_t patience_ms, int *fd, struct chr_error *err)
{
    int64_t deadline = clock_ms() + patience_ms;
    AUTO_CLOSE int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (folder < 0 && errno == ENOENT)
        return -2;
    if (folder < 0)
        return err_errno(err, errno, "cannot open %s", path);
    while (flock(folder, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, errno, "cannot lock %s", path);
        if (clock_ms() >= deadline)
            return err_set(err, CHR_E_BUSY, "another chrimg is at work on %s", path);
        clock_sleep(LOCK_STEP_MS);
    }
    /* The folder may have been removed, or another one made, while we waited. */
    if (!path_leads_to(path, folder))
        return -2;
    *fd = folder;
    folder = -1;
    return 0;
}

int vm_instance_lock_new(struct vm_instance *instance, struct chr_error *err)
{
    unsigned tries = FOLDER_TRIES;
    int result;

    do {
        if (make_private(instance->state, "XDG_STATE_HOME", err) == 0)
            result = take_lock(instance->state, LOCK_PATIENCE_MS, &instance->lock, err);
        else
            result = err->code == CHR_E_MISSING && tries-- > 0 ? -2 : -1;
    } while (result == -2);
    return result;
}

int vm_instance_prepare(const struct vm_instance *instance, struct chr_error *err)
{
    return make_private(instance->runtime, "XDG_RUNTIME_DIR", err);
}

bool vm_instance_keeps(const struct vm_instance *instance)
{
    static const char *const kept[] = {VM_DISK_PREFIX, VM_VARS_PREFIX, VM_COMBINED_PREFIX};
    DIR *folder = opendir(instance->state);
    const struct dirent *entry;
    bool found = false;

    while (folder != NULL && !found && (entry = readdir(folder)) != NULL)
        for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
            found = found || strncmp(entry->d_name, kept[i], strlen(kept[i])) == 0;
    if (folder != NULL)
        (void)closedir(folder);
    return found;
}

static int lock_old(struct vm_instance *instance, int64_t patience_ms, struct chr_error *err)
{
    int result = take_lock(instance->state, patience_ms, &instance->lock, err);

    if (result != -2)
        return result;
    (void)err_set(err, CHR_E_MISSING, "there is no instance %s", instance->name);
    return err_hint(err, "chrimg ps -a lists them");
}

int vm_instance_lock(struct vm_instance *instance, struct chr_error *err)
{
    return lock_old(instance, LOCK_PATIENCE_MS, err);
}

int vm_instance_try_lock(struct vm_instance *instance, struct chr_error *err)
{
    return lock_old(instance, 0, err);
}

void vm_instance_unlock(struct vm_instance *instance)
{
    cleanup_close(&instance->lock);
    instance->lock = -1;
}

/* ---- asked to stop ---- */

#define STOP_NAME "stop-asked"

static void stop_path(const struct vm_instance *instance, char path[VM_PATH_SIZE + 32])
{
    (void)snprintf(path, VM_PATH_SIZE + 32, "%s/" STOP_NAME, instance->state);
}

/* Without it, a start may take the end for a failure: no reason not to stop. */
void vm_instance_note_stop(const struct vm_instance *instance)
{
    char path[VM_PATH_SIZE + 32];
    int fd;

    stop_path(instance, path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        (void)close(fd);
}

void vm_instance_clear_stop(const struct vm_instance *instance)
{
    char path[VM_PATH_SIZE + 32];

    stop_path(instance, path);
    (void)unlink(path);
}

bool vm_instance_was_stopped(const struct vm_instance *instance)
{
    char path[VM_PATH_SIZE + 32];

    stop_path(instance, path);
    return access(instance->state, F_OK) < 0 || access(path, F_OK) == 0;
}

/* ---- taking away ---- */

/* The folder PATH itself, and not what a link in its place leads to, as *FD; -1 there: none. */
static int open_private(const char *path, int *fd, struct chr_error *err)
{
    char parent[VM_PATH_SIZE];
    struct stat info;

    *fd = -1;
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (lstat(path, &info) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    /* In /tmp anybody may have made the parent since ours went: what is below is then not ours. */
    if (check_owner(parent, err) < 0 || check_owner(path, err) < 0)
        return -1;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *fd >= 0 || errno == ENOENT ? 0 : err_errno(err, errno, "cannot open %s", path);
}

static int check_private(const char *path, struct chr_error *err)
{
    AUTO_CLOSE int fd = -1;

    return open_private(path, &fd, err);
}

int vm_instance_check_tidy(const struct vm_instance *instance, const struct vm_record *record,
                           bool forget, struct chr_error *err)
{
    if (check_private(instance->runtime, err) < 0)
        return -1;
    return forget || record->remove ? check_private(instance->state, err) : 0;
}

/* Our folders are flat.  What is none of ours, a folder, stays, and its parent with it. */
static int empty_folder(const char *path, struct chr_error *err)
{
    const struct dirent *entry;
    DIR *folder;
    int result = 0;
    int fd;

    if (open_private(path, &fd, err) < 0)
        return -1;
    if (fd < 0)
        return 0;
    folder = fdopendir(fd);
    if (folder == NULL) {
        result = err_errno(err, errno, "cannot read %s", path);
        (void)close(fd);
        return result;
    }
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(folder), entry->d_name, 0) < 0 && errno != ENOENT)
            result = err_errno(err, errno, "cannot remove %s/%s", path, entry->d_name);
    (void)closedir(folder);
    if (result == 0 && rmdir(path) < 0 && errno != ENOENT)
        return err_errno(err, errno, "cannot remove %s", path);
    return result;
}

/* The folder of all instances goes with the last one; that it holds others is usual. */
static void remove_parent(const char *path)
{
    char parent[VM_PATH_SIZE];

    (void)snprintf(parent, sizeof parent, "%.*s", (int)(strrchr(path, '/') - path), path);
    (void)rmdir(parent);
}

int vm_instance_tidy(struct vm_instance *instance, const struct vm_record *record, bool forget,
                     struct chr_error *err)
{
    int result = empty_folder(instance->runtime, err);

    remove_parent(instance->runtime);
    if ((forget || record->remove) && empty_folder(instance->state, err) < 0)
        return -1;
    if (forget || record->remove)
        remove_parent(instance->state);
    return result;
}

/* As large as a record; it goes with the folder. */
static int try_file(const char *folder, const char *variable, struct chr_error *err)
{
    static const char bytes[4096];
    char path[VM_PATH_SIZE + 8];
    AUTO_CLOSE int fd = -1;
    ssize_t written;

    errno = 0;
    (void)snprintf(path, sizeof path, "%s/trial", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    written = fd >= 0 ? write(fd, bytes, sizeof bytes) : -1;
    if (written == (ssize_t)sizeof bytes && fsync(fd) == 0)
        return 0;
    (void)err_errno(err, errno != 0 ? errno : ENOSPC, "cannot write %s", path);
    vm_instance_hint(variable, err);
    return -1;
}

int vm_instance_try_folders(const struct vm_host *host, struct chr_error *err)
{
    AUTO_VM_INSTANCE struct vm_instance instance = VM_NO_INSTANCE;
    const struct vm_record nothing = {0};
    struct chr_error ignored;
    char name[CHR_BOOT_NAME_MAX + 1];
    int result;

    /* An empty folder of a process that was killed goes with the next `chrimg ps`. */
    (void)snprintf(name, sizeof name, "doctor-%ld", (long)getpid());
    if (vm_instance_place(host, name, &instance, err) < 0 ||
        vm_instance_lock_new(&instance, err) < 0)
        return -1;
    result = vm_instance_prepare(&instance, err) < 0 ||
                     try_file(instance.state, "XDG_STATE_HOME", err) < 0 ||
                     try_file(instance.runtime, "XDG_RUNTIME_DIR", err) < 0
                 ? -1
                 : 0;
    (void)vm_instance_tidy(&instance, &nothing, true, &ignored);
    return result;
}

/* ---- all of them ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void vm_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static int add_name(char ***names, size_t *count, size_t *capacity, const char *name,
                    struct chr_error *err)
{
    if (mem_grow(names, capacity, *count, sizeof **names, err) < 0)
        return -1;
    (*names)[*count] = mem_strdup(name, err);
    if ((*names)[*count] == NULL)
        return -1;
    (*count)++;
    return 0;
}

int vm_instance_names(const struct vm_host *host, char ***names, size_t *count,
                      struct chr_error *err)
{
    DIR *folder = opendir(host->state_folder);
    struct chr_error ignored;
    const struct dirent *entry;
    size_t capacity = 0;
    int result = 0;

    *names = NULL;
    *count = 0;
    if (folder == NULL && errno == ENOENT)
        return 0;
    if (folder == NULL) {
        (void)err_errno(err, errno, "cannot read %s", host->state_folder);
        vm_instance_hint("XDG_STATE_HOME", err);
        return -1;
    }
    while (result == 0 && (entry = readdir(folder)) != NULL)
        if (vm_name_check(entry->d_name, &ignored) == 0)
            result = add_name(names, count, &capacity, entry->d_name, err);
    (void)closedir(folder);
    if (result < 0) {
        vm_names_free(*names, *count);
        return -1;
    }
    if (*count > 1)
        qsort(*names, *count, sizeof **names, by_name);
    return 0;
}
