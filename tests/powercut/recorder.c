/*
 * recorder.so: preloaded into a program, it logs every change the program makes
 * below one folder, and makes a chosen one of them fail.
 *
 *   POWERCUT_DIR=FOLDER   what to watch
 *   POWERCUT_LOG=FILE     where to log (see log.h); must lie outside the folder
 *   FAULT_AT=K            the K-th step (from 1) is not done but fails ...
 *   FAULT=EIO|ENOSPC|KILL|STOP ... with that error, or the process is killed or stopped there
 *   FAULT_LASTING=1       every later step fails as well: the disk is gone
 *
 * A step is one successful call that changes contents or names, or makes them
 * durable.  What cannot be recorded (a shared writable mapping, stdio, ...) ends
 * the program with status 99: a log with a gap would prove nothing.
 *
 * The program's clock stands still, so that it writes the same bytes in each run: what is
 * left of different runs can then be compared.
 *
 * Whether a descriptor is watched is asked from the kernel each time, by the
 * name of what it has open: duplicates and inherited descriptors need no book.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

/* Beside errno numbers. */
enum { FAULT_KILL = -1, FAULT_STOP = -2 };

#define EXIT_UNRECORDABLE 99
#define PIECE (1 << 20)

static struct {
    bool active;
    char folder[PATH_MAX];
    size_t folder_len;
    int log;
    unsigned long step;
    unsigned long fault_at;
    int fault; /* an errno, or -1: kill */
    bool fault_lasts;
    pthread_mutex_t lock;
} state = {.log = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

/* The libc's own function of that name. */
#define REAL(name) ((__typeof__(&name))real_function(#name))

static void *real_function(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL)
        abort();
    return function;
}

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...)
{
    char text[PATH_MAX + 256] = "powercut recorder: ";
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text + used, sizeof text - used - 1, format, args);
    va_end(args);
    strcat(text, "\n");
    (void)syscall(SYS_write, STDERR_FILENO, text, strlen(text));
    syscall(SYS_exit_group, EXIT_UNRECORDABLE);
    abort();
}

/* ---- the log ---- */

static void log_bytes(const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        long n = syscall(SYS_write, state.log, p, len);

        if (n <= 0)
            give_up("cannot write the log: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

static void log_record(struct record record, const char *path, const char *other,
                       const void *data)
{
    if (state.log < 0)
        return;
    record.magic = RECORD_MAGIC;
    record.path_len = path != NULL ? (uint32_t)strlen(path) : 0;
    record.other_len = other != NULL ? (uint32_t)strlen(other) : 0;
    log_bytes(&record, sizeof record);
    log_bytes(path, record.path_len);
    log_bytes(other, record.other_len);
    log_bytes(data, record.data_len);
}

/* ---- what is watched ---- */

/* PATH below the folder, relative to it ("" is the folder itself), or NULL. */
static const char *below(const char *path)
{
    if (strncmp(path, state.folder, state.folder_len) != 0)
        return NULL;
    path += state.folder_len;
    if (*path == '\0')
        return path;
    return *path == '/' ? path + 1 : NULL;
}

static bool name_of_fd(int fd, char name[PATH_MAX])
{
    char link[64];
    ssize_t len;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, name, PATH_MAX - 1);
    if (len < 0)
        return false;
    name[len] = '\0';
    return true;
}

/* Whether FD has something watched open; then STAT says what, PATH its relative name. */
static bool fd_is_watched(int fd, struct stat *stat, char path[PATH_MAX])
{
    char name[PATH_MAX];
    const char *relative;
    int saved = errno;
    bool watched = false;

    if (state.active && fd != state.log && fstat(fd, stat) == 0 &&
        (S_ISREG(stat->st_mode) || S_ISDIR(stat->st_mode)) && name_of_fd(fd, name)) {
        relative = below(name);
        watched = relative != NULL;
        if (watched)
            strcpy(path, relative);
    }
    errno = saved;
    return watched;
}

static bool file_is_watched(int fd, struct stat *stat)
{
    char path[PATH_MAX];

    return fd_is_watched(fd, stat, path) && S_ISREG(stat->st_mode);
}

/*
 * Whether the name PATH (relative to FOLDER_FD) lies below the folder; then OUT
 * is its name relative to that.  Links within the folders above it are followed,
 * the last component is not.
 */
static bool name_is_watched(int folder_fd, const char *path, char out[PATH_MAX])
{
    char full[2 * PATH_MAX];
    char parent[PATH_MAX];
    char *slash;
    const char *relative;
    int saved = errno;
    size_t len;

    if (!state.active || path == NULL || strlen(path) >= PATH_MAX)
        return false;
    if (path[0] == '/') {
        strcpy(full, path);
    } else {
        if (folder_fd == AT_FDCWD ? getcwd(full, PATH_MAX) == NULL : !name_of_fd(folder_fd, full))
            return false;
        strcat(full, "/");
        strcat(full, path);
    }
    len = strlen(full);
    while (len > 1 && full[len - 1] == '/')
        full[--len] = '\0';
    slash = strrchr(full, '/');
    *slash = '\0';
    if (realpath(slash == full ? "/" : full, parent) == NULL) {
        errno = saved;
        return false;
    }
    errno = saved;
    if (strlen(parent) + strlen(slash + 1) + 2 > PATH_MAX)
        return false;
    strcat(parent, "/");
    strcat(parent, slash + 1);
    relative = below(parent);
    if (relative == NULL)
        return false;
    strcpy(out, relative);
    return true;
}

/* ---- steps ---- */

static void step_lock(void)
{
    pthread_mutex_lock(&state.lock);
}

static void step_unlock(void)
{
    int saved = errno;

    pthread_mutex_unlock(&state.lock);
    errno = saved;
}

/* Called with the lock held, before a step is done: whether it is to fail (errno is set). */
static bool fault_is_due(void)
{
    unsigned long number = state.step + 1;

    if (state.fault_at == 0 || number < state.fault_at ||
        (number > state.fault_at && !state.fault_lasts))
        return false;
    if (state.fault == FAULT_STOP) {
        kill(getpid(), SIGSTOP); /* until somebody continues it: then all is as if nothing were */
        return false;
    }
    if (state.fault == FAULT_KILL) {
        kill(getpid(), SIGKILL);
        pause();
    }
    state.step++; /* one that failed counts, so that only the chosen one fails */
    errno = state.fault;
    return true;
}

static void step_done(struct record record, const char *path, const char *other, const void *data)
{
    int saved = errno;

    state.step++;
    log_record(record, path, other, data);
    errno = saved;
}

static struct record about(uint32_t op, const struct stat *stat)
{
    return (struct record){.op = op, .ino = stat != NULL ? stat->st_ino : 0};
}

/* ---- start ---- */

static void log_start(const char *folder, const char *relative)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    if (dir == NULL)
        give_up("cannot open %s: %s", folder, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        char path[PATH_MAX];
        char name[PATH_MAX];
        struct stat stat;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= PATH_MAX ||
            snprintf(name, sizeof name, "%s%s%s", relative, *relative != '\0' ? "/" : "",
                     entry->d_name) >= PATH_MAX)
            give_up("a name below %s is too long", folder);
        if (lstat(path, &stat) < 0)
            give_up("cannot stat %s: %s", path, strerror(errno));
        if (S_ISDIR(stat.st_mode)) {
            log_record(about(OP_START_FOLDER, NULL), name, NULL, NULL);
            log_start(path, name);
        } else if (S_ISREG(stat.st_mode)) {
            log_record(about(OP_START_FILE, &stat), name, NULL, NULL);
        } else {
            give_up("%s is neither a file nor a folder", path);
        }
    }
    closedir(dir);
}

static int fault_by_name(const char *name)
{
    if (name == NULL || strcmp(name, "EIO") == 0)
        return EIO;
    if (strcmp(name, "ENOSPC") == 0)
        return ENOSPC;
    if (strcmp(name, "KILL") == 0)
        return FAULT_KILL;
    if (strcmp(name, "STOP") == 0)
        return FAULT_STOP;
    give_up("FAULT=%s is none of EIO, ENOSPC, KILL, STOP", name);
}

__attribute__((constructor)) static void recorder_start(void)
{
    const char *folder = getenv("POWERCUT_DIR");
    const char *log = getenv("POWERCUT_LOG");
    const char *fault_at = getenv("FAULT_AT");

    if (folder == NULL)
        return;
    if (realpath(folder, state.folder) == NULL)
        give_up("POWERCUT_DIR=%s: %s", folder, strerror(errno));
    state.folder_len = strlen(state.folder);
    if (fault_at != NULL) {
        state.fault_at = strtoul(fault_at, NULL, 10);
        state.fault = fault_by_name(getenv("FAULT"));
        state.fault_lasts = getenv("FAULT_LASTING") != NULL;
    }
    if (log != NULL) {
        struct stat stat;
        int fd = (int)syscall(SYS_openat, AT_FDCWD, log,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

        if (fd < 0)
            give_up("POWERCUT_LOG=%s: %s", log, strerror(errno));
        /* Out of the way of programs that count on low numbers. */
        state.log = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 200);
        if (state.log < 0)
            state.log = fd;
        else
            syscall(SYS_close, fd);
        if (fstat(state.log, &stat) == 0 && stat.st_size == 0)
            log_start(state.folder, "");
    }
    state.active = true;
}

/* ---- opening ---- */

static int open_at(int folder_fd, const char *path, int flags, mode_t mode)
{
    char name[PATH_MAX];
    char name_now[PATH_MAX];
    struct stat stat;
    bool temporary = (flags & O_TMPFILE) == O_TMPFILE;
    bool there;
    bool creates;
    bool truncates;
    int fd;

    if ((flags & (O_CREAT | O_TRUNC)) == 0 && !temporary)
        return (int)syscall(SYS_openat, folder_fd, path, flags, mode);
    if (!name_is_watched(folder_fd, path, name))
        return (int)syscall(SYS_openat, folder_fd, path, flags, mode);
    step_lock();
    there = fstatat(folder_fd, path, &stat, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISLNK(stat.st_mode))
        give_up("%s is a symbolic link", path);
    creates = temporary || (!there && (flags & O_CREAT) != 0);
    truncates = there && !temporary && (flags & O_TRUNC) != 0 && (flags & O_EXCL) == 0;
    if ((creates || truncates) && fault_is_due()) {
        step_unlock();
        return -1;
    }
    fd = (int)syscall(SYS_openat, folder_fd, path, flags, mode);
    if (fd >= 0 && (creates || truncates)) {
        if (!fd_is_watched(fd, &stat, name_now))
            give_up("%s was opened and is not to be seen", path);
        if (temporary)
            step_done(about(OP_TMPFILE, &stat), NULL, NULL, NULL);
        else if (creates)
            step_done(about(OP_CREATE, &stat), name, NULL, NULL);
        else
            step_done(about(OP_TRUNCATE, &stat), NULL, NULL, NULL);
    }
    step_unlock();
    return fd;
}

#define OPEN_MODE(last)                                                    \
    __extension__({                                                        \
        mode_t mode_ = 0;                                                  \
        if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {  \
            va_list args_;                                                 \
            va_start(args_, last);                                         \
            mode_ = va_arg(args_, mode_t);                                 \
            va_end(args_);                                                 \
        }                                                                  \
        mode_;                                                             \
    })

int open(const char *path, int flags, ...)
{
    return open_at(AT_FDCWD, path, flags, OPEN_MODE(flags));
}

int open64(const char *path, int flags, ...)
{
    return open_at(AT_FDCWD, path, flags | O_LARGEFILE, OPEN_MODE(flags));
}

int openat(int fd, const char *path, int flags, ...)
{
    return open_at(fd, path, flags, OPEN_MODE(flags));
}

int openat64(int fd, const char *path, int flags, ...)
{
    return open_at(fd, path, flags | O_LARGEFILE, OPEN_MODE(flags));
}

/* The names that _FORTIFY_SOURCE gives them. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int fd, const char *path, int flags);
int __openat64_2(int fd, const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags | O_LARGEFILE, 0);
}

int __openat_2(int fd, const char *path, int flags)
{
    return open_at(fd, path, flags, 0);
}

int __openat64_2(int fd, const char *path, int flags)
{
    return open_at(fd, path, flags | O_LARGEFILE, 0);
}

int creat(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode);
}

/* mkstemp and its kin open inside the libc; here the same through open_at(). */
static int make_temporary(char *template, int suffix, int flags)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static unsigned long serial;
    size_t len = strlen(template);
    char *x = template + len - (size_t)suffix - 6;

    if (suffix < 0 || len < (size_t)suffix + 6 || strncmp(x, "XXXXXX", 6) != 0) {
        errno = EINVAL;
        return -1;
    }
    for (;;) {
        unsigned long value = (unsigned long)getpid() * 7919 + serial++;
        int fd;

        for (int i = 0; i < 6; i++, value /= 36)
            x[i] = letters[value % 36];
        fd = open_at(AT_FDCWD, template, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
}

int mkstemp(char *template) { return make_temporary(template, 0, 0); }
int mkstemp64(char *template) { return make_temporary(template, 0, 0); }
int mkostemp(char *template, int flags) { return make_temporary(template, 0, flags); }
int mkostemp64(char *template, int flags) { return make_temporary(template, 0, flags); }
int mkstemps(char *template, int suffix) { return make_temporary(template, suffix, 0); }
int mkstemps64(char *template, int suffix) { return make_temporary(template, suffix, 0); }
int mkostemps(char *template, int suffix, int flags)
{
    return make_temporary(template, suffix, flags);
}
int mkostemps64(char *template, int suffix, int flags)
{
    return make_temporary(template, suffix, flags);
}

/* stdio writes inside the libc, where nobody can see it. */
static void refuse_stdio(const char *path, const char *mode)
{
    char name[PATH_MAX];

    if (strpbrk(mode, "wa+") != NULL && name_is_watched(AT_FDCWD, path, name))
        give_up("%s is opened for writing with stdio", path);
}

FILE *fopen(const char *path, const char *mode)
{
    refuse_stdio(path, mode);
    return REAL(fopen)(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    refuse_stdio(path, mode);
    return REAL(fopen64)(path, mode);
}

FILE *fdopen(int fd, const char *mode)
{
    struct stat stat;

    if (strpbrk(mode, "wa+") != NULL && file_is_watched(fd, &stat))
        give_up("a watched file is written with stdio");
    return REAL(fdopen)(fd, mode);
}

/* ---- writing ---- */

/* A finished write of RESULT bytes at OFF; durable at once under O_SYNC and O_DSYNC. */
static void written(int fd, const struct stat *stat, uint64_t off, const void *data, size_t len)
{
    struct record record = about(OP_WRITE, stat);

    record.off = off;
    record.data_len = len;
    step_done(record, NULL, NULL, data);
    if ((fcntl(fd, F_GETFL) & (O_SYNC | O_DSYNC)) != 0) {
        struct record sync = about(OP_SYNC, stat);

        sync.more = 1;
        log_record(sync, NULL, NULL, NULL);
    }
}

/* Where write() puts its first byte. */
static uint64_t position(int fd, const struct stat *stat)
{
    if ((fcntl(fd, F_GETFL) & O_APPEND) != 0)
        return (uint64_t)stat->st_size;
    return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

static ssize_t write_at(int fd, const void *data, size_t len, off64_t off)
{
    struct stat stat;
    ssize_t n = -1;

    if (!file_is_watched(fd, &stat))
        return syscall(SYS_pwrite64, fd, data, len, off);
    if ((fcntl(fd, F_GETFL) & O_APPEND) != 0)
        give_up("pwrite with O_APPEND, which goes elsewhere");
    step_lock();
    if (!fault_is_due()) {
        n = syscall(SYS_pwrite64, fd, data, len, off);
        if (n > 0)
            written(fd, &stat, (uint64_t)off, data, (size_t)n);
    }
    step_unlock();
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t off)
{
    return write_at(fd, data, len, off);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t off)
{
    return write_at(fd, data, len, off);
}

ssize_t write(int fd, const void *data, size_t len)
{
    struct stat stat;
    ssize_t n = -1;

    if (!file_is_watched(fd, &stat))
        return syscall(SYS_write, fd, data, len);
    step_lock();
    if (!fault_is_due()) {
        uint64_t off = position(fd, &stat);

        n = syscall(SYS_write, fd, data, len);
        if (n > 0)
            written(fd, &stat, off, data, (size_t)n);
    }
    step_unlock();
    return n;
}

/* The first LEN bytes of IOV in one buffer, which the caller frees. */
static char *gathered(const struct iovec *iov, int count, size_t len)
{
    char *all = malloc(len + 1);
    size_t used = 0;

    if (all == NULL)
        give_up("out of memory");
    for (int i = 0; i < count && used < len; i++) {
        size_t part = iov[i].iov_len < len - used ? iov[i].iov_len : len - used;

        memcpy(all + used, iov[i].iov_base, part);
        used += part;
    }
    return all;
}

/* OFF -1: at the file's position. */
static ssize_t write_vector(int fd, const struct iovec *iov, int count, off64_t off, int flags)
{
    struct stat stat;
    ssize_t n = -1;
    bool watched = file_is_watched(fd, &stat);

    if (watched && flags != 0)
        give_up("pwritev2 with flags %d", flags);
    if (watched)
        step_lock();
    if (!watched || !fault_is_due()) {
        uint64_t at = watched && off < 0 ? position(fd, &stat) : (uint64_t)off;

        if (off < 0)
            n = syscall(SYS_writev, fd, iov, count);
        else
            n = syscall(SYS_pwritev2, fd, iov, count, off, 0, flags);
        if (watched && n > 0) {
            char *all = gathered(iov, count, (size_t)n);

            written(fd, &stat, at, all, (size_t)n);
            free(all);
        }
    }
    if (watched)
        step_unlock();
    return n;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return write_vector(fd, iov, count, -1, 0);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t off)
{
    return write_vector(fd, iov, count, off, 0);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t off)
{
    return write_vector(fd, iov, count, off, 0);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t off, int flags)
{
    return write_vector(fd, iov, count, off, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t off, int flags)
{
    return write_vector(fd, iov, count, off, flags);
}

/*
 * Log what FD holds in [off, off + len) after a copy by the kernel, as one step:
 * holes as zeros, the rest read back.
 */
static void log_contents(int fd, const struct stat *stat, uint64_t off, uint64_t len)
{
    char link[64];
    char *buffer = malloc(PIECE);
    uint64_t end = off + len;
    uint32_t more = 0;
    int reader;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    reader = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    if (buffer == NULL || reader < 0)
        give_up("cannot read back what was copied: %s", strerror(errno));
    while (off < end) {
        off_t data = lseek(reader, (off_t)off, SEEK_DATA);
        uint64_t hole_end = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
        struct record record = about(hole_end > off ? OP_ZERO : OP_WRITE, stat);
        ssize_t n;

        record.off = off;
        record.more = more;
        record.copied = 1;
        if (hole_end > off) {
            struct record reach = about(OP_ALLOCATE, stat);

            record.len = hole_end - off;
            reach.off = off;
            reach.len = hole_end - off;
            reach.more = 1;
            log_record(record, NULL, NULL, NULL);
            log_record(reach, NULL, NULL, NULL);
            off = hole_end;
        } else {
            n = pread(reader, buffer, end - off < PIECE ? end - off : PIECE, (off_t)off);
            if (n <= 0)
                give_up("cannot read back what was copied");
            record.data_len = (uint64_t)n;
            log_record(record, NULL, NULL, buffer);
            off += (uint64_t)n;
        }
        more = 1;
    }
    state.step++;
    syscall(SYS_close, reader);
    free(buffer);
}

ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t len,
                        unsigned flags)
{
    struct stat stat;
    ssize_t n = -1;

    if (!file_is_watched(out, &stat))
        return REAL(copy_file_range)(in, in_off, out, out_off, len, flags);
    step_lock();
    if (!fault_is_due()) {
        uint64_t off = out_off != NULL ? (uint64_t)*out_off : position(out, &stat);

        n = syscall(SYS_copy_file_range, in, in_off, out, out_off, len, flags);
        if (n > 0) {
            int saved = errno;

            log_contents(out, &stat, off, (uint64_t)n);
            errno = saved;
        }
    }
    step_unlock();
    return n;
}

static ssize_t send_file(int out, int in, off64_t *in_off, size_t len)
{
    struct stat stat;
    ssize_t n = -1;

    if (!file_is_watched(out, &stat))
        return syscall(SYS_sendfile, out, in, in_off, len);
    step_lock();
    if (!fault_is_due()) {
        uint64_t off = position(out, &stat);

        n = syscall(SYS_sendfile, out, in, in_off, len);
        if (n > 0) {
            int saved = errno;

            log_contents(out, &stat, off, (uint64_t)n);
            errno = saved;
        }
    }
    step_unlock();
    return n;
}

ssize_t sendfile(int out, int in, off_t *in_off, size_t len)
{
    return send_file(out, in, in_off, len);
}

ssize_t sendfile64(int out, int in, off64_t *in_off, size_t len)
{
    return send_file(out, in, in_off, len);
}

ssize_t splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t len, unsigned flags)
{
    struct stat stat;

    if (file_is_watched(out, &stat))
        give_up("splice into a watched file");
    return REAL(splice)(in, in_off, out, out_off, len, flags);
}

/* A clone that failed leaves a target without contents, as long as it was before. */
static void undo_clone(int fd, const struct stat *before)
{
    int saved = errno;

    if (syscall(SYS_ftruncate, fd, 0) < 0 || syscall(SYS_ftruncate, fd, before->st_size) < 0)
        give_up("cannot undo a clone: %s", strerror(errno));
    errno = saved;
}

int ioctl(int fd, unsigned long request, ...)
{
    struct stat stat;
    va_list args;
    void *argument;
    int result = -1;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if ((request != FICLONE && request != FICLONERANGE) || !file_is_watched(fd, &stat))
        return (int)syscall(SYS_ioctl, fd, request, argument);
    step_lock();
    /* Most file systems cannot share blocks, which is no step: so it is tried first. */
    result = (int)syscall(SYS_ioctl, fd, request, argument);
    if (result == 0 && fault_is_due()) {
        undo_clone(fd, &stat);
        result = -1;
    } else if (result == 0 && fstat(fd, &stat) == 0) {
        const struct file_clone_range *range = argument;
        bool whole = request == FICLONE || range->src_length == 0;
        uint64_t off = request == FICLONE ? 0 : range->dest_offset;

        log_contents(fd, &stat, off, whole ? (uint64_t)stat.st_size - off : range->src_length);
    }
    step_unlock();
    return result;
}

static void refuse_mapping(int protection, int flags, int fd)
{
    struct stat stat;

    if ((flags & MAP_TYPE) != MAP_PRIVATE && (flags & MAP_ANONYMOUS) == 0 &&
        (protection & PROT_WRITE) != 0 && file_is_watched(fd, &stat))
        give_up("a shared writable mapping of a watched file");
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t off)
{
    refuse_mapping(protection, flags, fd);
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, off);
}

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t off)
{
    refuse_mapping(protection, flags, fd);
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, off);
}

/* ---- sizes ---- */

static int truncate_fd(int fd, off64_t size)
{
    struct stat stat;
    int result = -1;

    if (!file_is_watched(fd, &stat))
        return (int)syscall(SYS_ftruncate, fd, size);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_ftruncate, fd, size);
        if (result == 0) {
            struct record record = about(OP_TRUNCATE, &stat);

            record.len = (uint64_t)size;
            step_done(record, NULL, NULL, NULL);
        }
    }
    step_unlock();
    return result;
}

int ftruncate(int fd, off_t size) { return truncate_fd(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_fd(fd, size); }

static int truncate_name(const char *path, off64_t size)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    int result;
    int saved;

    if (fd < 0)
        return -1;
    result = truncate_fd(fd, size);
    saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
    return result;
}

int truncate(const char *path, off_t size) { return truncate_name(path, size); }
int truncate64(const char *path, off64_t size) { return truncate_name(path, size); }

static int allocate(int fd, int mode, off64_t off, off64_t len)
{
    struct stat stat;
    bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
    bool reaches = (mode & FALLOC_FL_KEEP_SIZE) == 0;
    int result = -1;

    if (!file_is_watched(fd, &stat))
        return (int)syscall(SYS_fallocate, fd, mode, off, len);
    if ((mode & ~(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)) != 0)
        give_up("fallocate with mode %d", mode);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_fallocate, fd, mode, off, len);
        if (result == 0) {
            struct record record = about(zeroes ? OP_ZERO : OP_ALLOCATE, &stat);

            /* Storage without a change of what is read: a step that changes nothing. */
            record.off = zeroes || reaches ? (uint64_t)off : 0;
            record.len = zeroes || reaches ? (uint64_t)len : 0;
            step_done(record, NULL, NULL, NULL);
            if (zeroes && reaches) {
                record.op = OP_ALLOCATE;
                record.more = 1;
                log_record(record, NULL, NULL, NULL);
            }
        }
    }
    step_unlock();
    return result;
}

int fallocate(int fd, int mode, off_t off, off_t len) { return allocate(fd, mode, off, len); }
int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
    return allocate(fd, mode, off, len);
}

/* Returns its error instead of setting errno. */
int posix_fallocate(int fd, off_t off, off_t len)
{
    return allocate(fd, 0, off, len) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off64_t off, off64_t len)
{
    return allocate(fd, 0, off, len) == 0 ? 0 : errno;
}

/* ---- names ---- */

static int rename_at(int old_fd, const char *old, int new_fd, const char *new, unsigned flags)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    bool from_watched = name_is_watched(old_fd, old, from);
    bool to_watched = name_is_watched(new_fd, new, to);
    int result = -1;

    if (!from_watched && !to_watched)
        return (int)syscall(SYS_renameat2, old_fd, old, new_fd, new, flags);
    if (from_watched != to_watched)
        give_up("%s is renamed to %s, across the folder's edge", old, new);
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0)
        give_up("renameat2 with flags %u", flags);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_renameat2, old_fd, old, new_fd, new, flags);
        if (result == 0)
            step_done(about((flags & RENAME_EXCHANGE) != 0 ? OP_EXCHANGE : OP_RENAME, NULL), from,
                      to, NULL);
    }
    step_unlock();
    return result;
}

int rename(const char *old, const char *new)
{
    return rename_at(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int renameat(int old_fd, const char *old, int new_fd, const char *new)
{
    return rename_at(old_fd, old, new_fd, new, 0);
}

int renameat2(int old_fd, const char *old, int new_fd, const char *new, unsigned flags)
{
    return rename_at(old_fd, old, new_fd, new, flags);
}

int linkat(int old_fd, const char *old, int new_fd, const char *new, int flags)
{
    char to[PATH_MAX];
    struct stat stat;
    int result = -1;

    if (!name_is_watched(new_fd, new, to))
        return (int)syscall(SYS_linkat, old_fd, old, new_fd, new, flags);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_linkat, old_fd, old, new_fd, new, flags);
        if (result == 0) {
            if (fstatat(new_fd, new, &stat, AT_SYMLINK_NOFOLLOW) < 0)
                give_up("%s was linked and is not to be seen", new);
            step_done(about(OP_LINK, &stat), to, NULL, NULL);
        }
    }
    step_unlock();
    return result;
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int unlinkat(int folder_fd, const char *path, int flags)
{
    char name[PATH_MAX];
    int result = -1;

    if (!name_is_watched(folder_fd, path, name))
        return (int)syscall(SYS_unlinkat, folder_fd, path, flags);
    step_lock();
    if (faccessat(folder_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 || !fault_is_due()) {
        result = (int)syscall(SYS_unlinkat, folder_fd, path, flags);
        if (result == 0)
            step_done(about((flags & AT_REMOVEDIR) != 0 ? OP_RMDIR : OP_UNLINK, NULL), name, NULL,
                      NULL);
    }
    step_unlock();
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int remove(const char *path)
{
    struct stat stat;

    if (lstat(path, &stat) < 0)
        return -1;
    return unlinkat(AT_FDCWD, path, S_ISDIR(stat.st_mode) ? AT_REMOVEDIR : 0);
}

int mkdirat(int folder_fd, const char *path, mode_t mode)
{
    char name[PATH_MAX];
    int result = -1;

    if (!name_is_watched(folder_fd, path, name))
        return (int)syscall(SYS_mkdirat, folder_fd, path, mode);
    step_lock();
    if (faccessat(folder_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || !fault_is_due()) {
        result = (int)syscall(SYS_mkdirat, folder_fd, path, mode);
        if (result == 0)
            step_done(about(OP_MKDIR, NULL), name, NULL, NULL);
    }
    step_unlock();
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int symlinkat(const char *target, int folder_fd, const char *path)
{
    char name[PATH_MAX];

    if (name_is_watched(folder_fd, path, name))
        give_up("a symbolic link is made: %s", path);
    return (int)syscall(SYS_symlinkat, target, folder_fd, path);
}

int symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

/* ---- durability ---- */

static int sync_fd(int fd, long call)
{
    struct stat stat;
    char path[PATH_MAX];
    int result = -1;

    if (!fd_is_watched(fd, &stat, path))
        return (int)syscall(call, fd);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(call, fd);
        if (result == 0 && S_ISDIR(stat.st_mode))
            step_done(about(OP_SYNC_FOLDER, NULL), path, NULL, NULL);
        else if (result == 0)
            step_done(about(OP_SYNC, &stat), NULL, NULL, NULL);
    }
    step_unlock();
    return result;
}

int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

static int sync_range(int fd, off64_t off, off64_t len, unsigned flags)
{
    struct stat stat;
    int result = -1;

    if (!file_is_watched(fd, &stat))
        return (int)syscall(SYS_sync_file_range, fd, off, len, flags);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_sync_file_range, fd, off, len, flags);
        if (result == 0)
            step_done(about(OP_WRITEBACK, &stat), NULL, NULL, NULL);
    }
    step_unlock();
    return result;
}

/* glibc has one symbol for both widths of off_t. */
int sync_file_range(int fd, off64_t off, off64_t len, unsigned flags)
{
    return sync_range(fd, off, len, flags);
}

int syncfs(int fd)
{
    struct stat stat;
    char path[PATH_MAX];
    int result = -1;

    if (!fd_is_watched(fd, &stat, path))
        return (int)syscall(SYS_syncfs, fd);
    step_lock();
    if (!fault_is_due()) {
        result = (int)syscall(SYS_syncfs, fd);
        if (result == 0)
            step_done(about(OP_SYNC_ALL, NULL), NULL, NULL, NULL);
    }
    step_unlock();
    return result;
}

void sync(void)
{
    step_lock();
    syscall(SYS_sync);
    if (state.active)
        step_done(about(OP_SYNC_ALL, NULL), NULL, NULL, NULL);
    step_unlock();
}

int msync(void *address, size_t len, int flags)
{
    /* Only private and read-only mappings are let through, which have nothing to write. */
    return (int)syscall(SYS_msync, address, len, flags);
}

/* ---- the clock ---- */

#define STANDING_TIME 1767225600 /* 2026-01-01 00:00:00 UTC */

int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, out);
    *out = (struct timespec){.tv_sec = STANDING_TIME};
    return 0;
}

time_t time(time_t *out)
{
    if (out != NULL)
        *out = STANDING_TIME;
    return STANDING_TIME;
}
