/*
 * What Linux does in one call and others in two, or under another name: macOS has
 * neither pipe2() nor SOCK_CLOEXEC, and calls a file's times differently.
 */
#ifndef CHRIMG_BASE_COMPAT_H
#define CHRIMG_BASE_COMPAT_H

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

/* Both ends closed at exec(), and NONBLOCKING where that is asked for; -1 and errno. */
int pipe_cloexec(int ends[2], bool nonblocking);

/* socket(2), closed at exec(), and NONBLOCKING where that is asked for; -1 and errno. */
int socket_cloexec(int domain, int type, bool nonblocking);

/* When the file's bytes were changed last, and when anything of it was (its place, its mode). */
struct timespec stat_mtime(const struct stat *info);
struct timespec stat_ctime(const struct stat *info);

/* Whether A is later than B. */
bool time_is_later(struct timespec a, struct timespec b);

#endif
