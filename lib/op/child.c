/* Running a program and keeping what it says. */
#include "op/child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/compat.h"
#include "base/spawn.h"

static void read_output(int reading, char *output, size_t size)
{
    char waste[4096];
    size_t length = 0;

    for (;;) {
        bool full = length + 1 >= size;
        ssize_t n = read(reading, full ? waste : output + length,
                         full ? sizeof waste : size - 1 - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        length += full ? 0 : (size_t)n;
    }
    output[length] = '\0';
}

int child_run(char *const argv[], char *output, size_t size, int *status, struct chr_error *err)
{
    AUTO_CLOSE int reading = -1;
    int pipes[2];
    int raw_status = 0;
    pid_t pid = 0;
    int number;

    if (pipe_cloexec(pipes, false) < 0)
        return err_errno(err, errno, "cannot make a pipe for %s", argv[0]);
    reading = pipes[0];
    number = spawn_program(argv, pipes[1], pipes[1], &pid);
    (void)close(pipes[1]);
    if (number != 0)
        return err_errno(err, number, "cannot start %s", argv[0]);
    read_output(reading, output, size);
    while (waitpid(pid, &raw_status, 0) < 0)
        if (errno != EINTR)
            return err_errno(err, errno, "cannot wait for %s", argv[0]);
    *status = WIFEXITED(raw_status) ? WEXITSTATUS(raw_status) : 128 + WTERMSIG(raw_status);
    return 0;
}
