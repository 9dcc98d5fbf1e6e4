/*
 * writer: small programs that change a folder, to try the recorder and the replayer on.
 *
 *   writer careful    replaces `file`, 4000 x 'o', by 4000 x 'n' the right way: temporary
 *                     file, fsync, rename, fsync of the folder
 *   writer careless   the same without any fsync
 *   writer straight   overwrites `file` where it is and then calls fsync
 *   writer calls      uses every call that the recorder knows
 *   writer mapping, writer stdio, writer away    what the recorder must refuse
 *
 * Every call is checked: exit status 1 and a message when one fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LENGTH 4000

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "writer: %s: %s\n", what, strerror(errno));
    exit(1);
}

#define DO(call)                                 \
    __extension__({                              \
        __typeof__(call) result_ = (call);       \
        if (result_ < 0)                         \
            fail(#call);                         \
        result_;                                 \
    })

static void fill(int fd, char letter)
{
    char data[LENGTH];

    memset(data, letter, sizeof data);
    for (int i = 0; i < 4; i++)
        DO(write(fd, data, LENGTH / 4));
}

static void replace(int careful)
{
    int folder = DO(open(".", O_RDONLY | O_DIRECTORY));
    int fd = open("file.new", O_WRONLY | O_CREAT | O_TRUNC, 0644);

    if (fd < 0)
        fail("open");
    fill(fd, 'n');
    if (careful)
        DO(fsync(fd));
    DO(close(fd));
    DO(rename("file.new", "file"));
    if (careful)
        DO(fsync(folder));
}

static void straight(void)
{
    int fd = DO(open("file", O_WRONLY));

    fill(fd, 'n');
    DO(fdatasync(fd));
}

static void calls(void)
{
    char data[10000];
    struct iovec pieces[2] = {{data, 3000}, {data + 5000, 700}};
    char template[] = "made-XXXXXX";
    off_t off = 100;
    int folder = DO(open(".", O_RDONLY | O_DIRECTORY));
    int a;
    int b;
    int temporary;
    int dsync;
    int other;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31 + i / 256);
    a = DO(open("a", O_RDWR | O_CREAT | O_EXCL, 0600));
    DO(write(a, data, 10000));
    DO(pwrite(a, data, 1000, 20001));
    DO(writev(a, pieces, 2));
    DO(pwritev(a, pieces, 2, 40000));
    DO(fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 5000));
    DO(fallocate(a, 0, 50000, 5000));
    DO(fallocate(a, FALLOC_FL_KEEP_SIZE, 90000, 5000));
    DO(fallocate(a, FALLOC_FL_ZERO_RANGE, 54000, 9000));
    DO(ftruncate(a, 62000));
    DO(sync_file_range(a, 0, 0, SYNC_FILE_RANGE_WRITE));
    DO(fsync(a));
    DO(mkdir("sub", 0755));
    b = DO(creat("sub/b", 0644));
    DO(copy_file_range(a, &off, b, NULL, 30000, 0));
    off = 7;
    DO(sendfile(b, a, &off, 12345));
    DO(truncate("sub/b", 33333));
    temporary = DO(open(".", O_RDWR | O_TMPFILE, 0644));
    DO(pwrite(temporary, data, 5000, 0));
    DO(linkat(AT_FDCWD, "sub/b", AT_FDCWD, "c", 0));
    DO(link("a", "d"));
    {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", temporary);
        DO(linkat(AT_FDCWD, path, folder, "temporary", AT_SYMLINK_FOLLOW));
    }
    DO(rename("sub/b", "sub/bb"));
    DO(renameat2(AT_FDCWD, "c", AT_FDCWD, "temporary", RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "d", AT_FDCWD, "e", RENAME_NOREPLACE));
    other = DO(mkstemp(template));
    DO(write(other, data, 600));
    DO(rename(template, "made"));
    other = DO(open("gone", O_WRONLY | O_CREAT, 0644));
    DO(unlink("gone"));
    DO(mkdir("empty", 0755));
    DO(rmdir("empty"));
    dsync = DO(open("file", O_WRONLY | O_TRUNC | O_DSYNC));
    DO(write(dsync, data, 777));
    other = DO(dup(dsync));
    DO(write(other, data + 5000, 333));
    DO(fdatasync(b));
    DO(fsync(folder));
    DO(syncfs(folder));
}

static void mapping(void)
{
    int fd = DO(open("file", O_RDWR));

    if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ||
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED)
        fail("harmless mappings");
    (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";

    if (strcmp(what, "careful") == 0)
        replace(1);
    else if (strcmp(what, "careless") == 0)
        replace(0);
    else if (strcmp(what, "straight") == 0)
        straight();
    else if (strcmp(what, "calls") == 0)
        calls();
    else if (strcmp(what, "mapping") == 0)
        mapping();
    else if (strcmp(what, "stdio") == 0)
        (void)fopen("file", "r+");
    else if (strcmp(what, "away") == 0)
        (void)rename("file", "../file");
    else
        return 2;
    return 0;
}
