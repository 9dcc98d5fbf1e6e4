/*
 * QEMU's programs and what they can do.
 *
 * Asking QEMU for its version takes longer than all of our own work, so the
 * answer is kept in the cache folder, by path, size, times and inode of the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/compat.h"
#include "base/environment.h"
#include "base/spawn.h"
#include "vm/clock.h"
#include "vm/host_parts.h"
#include "vm/text.h"

#define ANSWER_SECONDS 10 /* for QEMU to say its version, on a busy host */
#define CACHE_LINES_MAX 64

/* ---- asking ---- */

/* What the program says on its standard output; -1 when that does not end in time, or in SIZE. */
static int read_answer(int fd, int64_t deadline, char *out, size_t size)
{
    size_t length = 0;

    while (clock_ms() < deadline && length < size - 1) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&wait, 1, 1000) <= 0)
            continue;
        got = read(fd, out + length, size - 1 - length);
        if (got <= 0) {
            out[length] = '\0';
            return got < 0 ? -1 : 0;
        }
        length += (size_t)got;
    }
    return -1;
}

/* Its exit status once it has ended; it is killed when that takes too long. */
static int await_end(pid_t pid, int64_t deadline)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int status = -1;
    pid_t ended;

    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && clock_ms() < deadline)
        (void)nanosleep(&pause, NULL);
    if (ended == 0) {
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    return status;
}

/* 0 when ARGV has said something and ended well; else -1, or the error of starting it. */
static int ask(char *const *argv, char *answer, size_t size)
{
    int64_t deadline = clock_ms() + ANSWER_SECONDS * 1000;
    int ends[2];
    pid_t pid;
    int status;
    int result;

    if (pipe_cloexec(ends, false) < 0)
        return -1;
    result = spawn_program(argv, ends[1], -1, &pid);
    (void)close(ends[1]);
    if (result != 0) {
        (void)close(ends[0]);
        return result;
    }
    result = read_answer(ends[0], deadline, answer, size);
    (void)close(ends[0]);
    status = await_end(pid, result == 0 ? deadline : 0);
    return result == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

bool host_parse_version(const char *text, unsigned *major, unsigned *minor)
{
    const char *at = strstr(text, "version ");

    return at != NULL && sscanf(at, "version %3u.%3u", major, minor) == 2;
}

/* Options are looked at in their order, so -sandbox fails before -version where there is none. */
static void ask_version(struct vm_binary *binary)
{
    char sandbox[] = "-sandbox";
    char on[] = "on";
    char version[] = "-version";
    char *with[] = {binary->path, sandbox, on, version, NULL};
    char *without[] = {binary->path, version, NULL};
    char answer[512];
    int result = ask(with, answer, sizeof answer);

    binary->seccomp = result == 0;
    if (result < 0)
        result = ask(without, answer, sizeof answer);
    binary->start_error = result > 0 ? result : 0;
    if (result != 0)
        return;
    if (!host_parse_version(answer, &binary->major, &binary->minor))
        binary->major = binary->minor = 0;
}

/* ---- the cache: "SIZE MTIME CTIME INODE MAJOR MINOR SECCOMP PATH" on each line ---- */

static void key_of(const struct stat *stat_, char *key, size_t size)
{
    const struct timespec modified = stat_mtime(stat_);
    const struct timespec changed = stat_ctime(stat_);

    (void)snprintf(key, size, "%jd %jd.%09ld %jd.%09ld %ju", (intmax_t)stat_->st_size,
                   (intmax_t)modified.tv_sec, modified.tv_nsec, (intmax_t)changed.tv_sec,
                   changed.tv_nsec, (uintmax_t)stat_->st_ino);
}

/* The rest of LINE when it is about this file. */
static bool take_line(const char *line, const char *key, struct vm_binary *binary)
{
    size_t length = strlen(key);
    unsigned seccomp;
    int path_at = 0;

    if (strncmp(line, key, length) != 0 || line[length] != ' ' ||
        sscanf(line + length, " %3u %3u %1u %n", &binary->major, &binary->minor, &seccomp,
               &path_at) != 3 || path_at == 0)
        return false;
    binary->seccomp = seccomp != 0;
    return strncmp(line + length + path_at, binary->path, strlen(binary->path)) == 0 &&
           line[length + (size_t)path_at + strlen(binary->path)] == '\n';
}

static bool look_up(const char *cache, const char *key, struct vm_binary *binary)
{
    FILE *file = fopen(cache, "re");
    char line[VM_PATH_SIZE + 256];
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = take_line(line, key, binary);
    (void)fclose(file);
    return found;
}

/* Lines about other files of the cache stay. */
static void copy_others(struct text *to, const char *cache, const char *path)
{
    FILE *from = fopen(cache, "re");
    char line[VM_PATH_SIZE + 256];
    int lines = 0;

    if (from == NULL)
        return;
    while (lines++ < CACHE_LINES_MAX && fgets(line, sizeof line, from) != NULL) {
        const char *other = strchr(line, '/');
        size_t length = strlen(path);

        if (other != NULL && (strncmp(other, path, length) != 0 || other[length] != '\n'))
            text_add(to, "%s", line);
    }
    (void)fclose(from);
}

int host_make_folder(const char *path, struct chr_error *err)
{
    char parent[VM_PATH_SIZE];
    char *slash;

    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    (void)snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (errno != ENOENT || slash == NULL || slash == parent)
        return err_errno(err, errno, "cannot make the folder %s", path);
    *slash = '\0';
    if (host_make_folder(parent, err) < 0)
        return -1;
    return mkdir(path, 0700) == 0 || errno == EEXIST
               ? 0
               : err_errno(err, errno, "cannot make the folder %s", path);
}

int host_write_file(const char *path, const char *bytes, size_t length, struct chr_error *err)
{
    char temporary[VM_PATH_SIZE + 64];
    int fd;
    bool whole;

    if (snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid()) >=
        (int)sizeof temporary)
        return err_set(err, CHR_E_USAGE, "%s: the path is too long", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "%s", temporary);
    whole = write(fd, bytes, length) == (ssize_t)length;
    if (close(fd) == 0 && whole && rename(temporary, path) == 0)
        return 0;
    (void)err_errno(err, errno, "%s", path);
    (void)unlink(temporary);
    return -1;
}

/* Without a cache everything works, only slower: failures are no matter. */
static void remember(const char *folder, const char *cache, const char *key,
                     const struct vm_binary *binary)
{
    AUTO_TEXT struct text text = {0};
    struct chr_error ignored;

    if (strchr(binary->path, '\n') != NULL || host_make_folder(folder, &ignored) < 0)
        return;
    copy_others(&text, cache, binary->path);
    text_add(&text, "%s %u %u %d %s\n", key, binary->major, binary->minor, binary->seccomp,
             binary->path);
    if (!text.failed)
        (void)host_write_file(cache, text.bytes, text.length, &ignored);
}

static void learn_version(const struct vm_host *host, struct vm_binary *binary)
{
    struct vm_binary known = *binary;
    char cache[VM_PATH_SIZE + 32];
    char key[128];
    struct stat stat_;

    if (stat(binary->path, &stat_) < 0)
        return;
    key_of(&stat_, key, sizeof key);
    (void)snprintf(cache, sizeof cache, "%s/qemu-versions", host->cache_folder);
    if (look_up(cache, key, &known)) {
        *binary = known;
        return;
    }
    ask_version(binary);
    if (binary->major != 0)
        remember(host->cache_folder, cache, key, binary);
}

/* ---- the whole ---- */

static int add_binary(struct vm_host *host, const char *arch, const char *path,
                      struct chr_error *err)
{
    struct vm_binary *grown = realloc(host->binaries, (host->binary_count + 1) * sizeof *grown);
    struct vm_binary *binary;

    if (grown == NULL)
        return err_set(err, CHR_E_MEMORY, "out of memory for a list of programs");
    host->binaries = grown;
    binary = &grown[host->binary_count++];
    *binary = (struct vm_binary){0};
    (void)snprintf(binary->arch, sizeof binary->arch, "%s", arch);
    (void)snprintf(binary->path, sizeof binary->path, "%s", path);
    learn_version(host, binary);
    return 0;
}

static int add_named(struct vm_host *host, const char *name, const char *arch,
                     struct chr_error *err)
{
    char path[VM_PATH_SIZE];
    AUTO_FREE char *absolute = NULL;

    if (strchr(name, '/') == NULL)
        (void)find_program(name, path, sizeof path);
    else if ((absolute = realpath(name, NULL)) == NULL ||
             snprintf(path, sizeof path, "%s", absolute) >= (int)sizeof path || !is_program(path))
        path[0] = '\0';
    if (path[0] == '\0') {
        (void)err_set(err, CHR_E_MISSING, "--qemu %s: there is no such program", name);
        return err_hint(err, "chrimg doctor shows those that are found without --qemu");
    }
    return add_binary(host, arch, path, err);
}

static int add_found(struct vm_host *host, const char *arch, struct chr_error *err)
{
    static const char red_hat[] = "/usr/libexec/qemu-kvm"; /* for the host's architecture */
    char name[64];
    char path[VM_PATH_SIZE];

    (void)snprintf(name, sizeof name, "qemu-system-%.20s", arch);
    if (find_program(name, path, sizeof path))
        return add_binary(host, arch, path, err);
    return strcmp(arch, host->arch) == 0 && is_program(red_hat)
               ? add_binary(host, arch, red_hat, err)
               : 0;
}

int host_find_qemu(struct vm_host *host, const struct chr_boot_options *options, const char *arch,
                   struct chr_error *err)
{
    if (options->qemu != NULL)
        return add_named(host, options->qemu, arch != NULL ? arch : host->arch, err);
    if (arch != NULL)
        return add_found(host, arch, err);
    if (add_found(host, "x86_64", err) < 0)
        return -1;
    return add_found(host, "aarch64", err);
}
