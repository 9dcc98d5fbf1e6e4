/* System calls that not every system has. */
#include "base/compat.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __linux__

int pipe_cloexec(int ends[2], bool nonblocking)
{
    return pipe2(ends, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0));
}

int socket_cloexec(int domain, int type, bool nonblocking)
{
    return socket(domain, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
}

#else

/* A fork() in another thread in between would pass them on: no other call prevents that here. */
static int set_flags(int fd, bool nonblocking)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return nonblocking ? fcntl(fd, F_SETFL, O_NONBLOCK) : 0;
}

static int close_keeping_errno(int fd)
{
    int number = errno;

    (void)close(fd);
    errno = number;
    return -1;
}

int pipe_cloexec(int ends[2], bool nonblocking)
{
    if (pipe(ends) < 0)
        return -1;
    if (set_flags(ends[0], nonblocking) == 0 && set_flags(ends[1], nonblocking) == 0)
        return 0;
    (void)close_keeping_errno(ends[0]);
    return close_keeping_errno(ends[1]);
}

int socket_cloexec(int domain, int type, bool nonblocking)
{
    int fd = socket(domain, type, 0);

    return fd < 0 || set_flags(fd, nonblocking) == 0 ? fd : close_keeping_errno(fd);
}

#endif

#ifdef __APPLE__

struct timespec stat_mtime(const struct stat *info)
{
    return info->st_mtimespec;
}

struct timespec stat_ctime(const struct stat *info)
{
    return info->st_ctimespec;
}

#else

struct timespec stat_mtime(const struct stat *info)
{
    return info->st_mtim;
}

struct timespec stat_ctime(const struct stat *info)
{
    return info->st_ctim;
}

#endif

bool time_is_later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}
