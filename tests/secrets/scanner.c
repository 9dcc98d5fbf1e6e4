/*
 * Loaded into a program (LD_PRELOAD), looks at its end through all of its writable
 * memory for a secret, and appends "found N" to a file.
 *
 *   SCAN_SECRET=FILE   the secret, each byte XOR 0x55, so that it is nowhere in clear
 *   SCAN_REPORT=FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MASK 0x55
#define SECRET_MAX 256
#define MAPS_MAX (1 << 20)

static unsigned char masked[SECRET_MAX];
static size_t masked_length;
static char maps[MAPS_MAX];

static size_t read_file(const char *path, void *buf, size_t size)
{
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    size_t length = 0;
    ssize_t n;

    if (fd < 0)
        abort();
    while (length < size && (n = read(fd, (char *)buf + length, size - length)) > 0)
        length += (size_t)n;
    close(fd);
    return length;
}

static unsigned long scan(const unsigned char *begin, const unsigned char *end)
{
    unsigned long found = 0;

    for (const unsigned char *p = begin; p + masked_length <= end; p++) {
        size_t i = 0;

        while (i < masked_length && (p[i] ^ MASK) == masked[i])
            i++;
        found += i == masked_length;
    }
    return found;
}

__attribute__((destructor)) static void scan_all(void)
{
    unsigned long found = 0;
    char text[64];
    int fd;
    int length;

    masked_length = read_file(getenv("SCAN_SECRET"), masked, sizeof masked);
    maps[read_file("/proc/self/maps", maps, sizeof maps - 1)] = '\0';
    if (masked_length < 8)
        abort();
    for (char *line = maps; *line != '\0';) {
        unsigned long begin;
        unsigned long end;
        char rights[5];

        if (sscanf(line, "%lx-%lx %4s", &begin, &end, rights) == 3 && rights[0] == 'r' &&
            rights[1] == 'w')
            found += scan((const unsigned char *)(uintptr_t)begin,
                          (const unsigned char *)(uintptr_t)end);
        while (*line != '\0' && *line++ != '\n')
            ;
    }
    fd = open(getenv("SCAN_REPORT"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    length = snprintf(text, sizeof text, "found %lu\n", found);
    if (fd < 0 || write(fd, text, (size_t)length) != length)
        abort();
    close(fd);
}
