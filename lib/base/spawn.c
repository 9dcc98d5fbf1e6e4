/* posix_spawn(): no copy of our memory, which may hold secrets, on the way. */
#include "base/spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

extern char **environ;

static int redirect(posix_spawn_file_actions_t *actions, int output, int complaint)
{
    int number = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (number == 0)
        number = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (number != 0)
        return number;
    return complaint >= 0
               ? posix_spawn_file_actions_adddup2(actions, complaint, STDERR_FILENO)
               : posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
}

int spawn_program(char *const argv[], int output, int complaint, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    int number = posix_spawn_file_actions_init(&actions);

    if (number != 0)
        return number;
    number = redirect(&actions, output, complaint);
    if (number == 0)
        number = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return number;
}
