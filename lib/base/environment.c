/* PATH and TMPDIR */
#include "base/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USUAL_FOLDERS "/usr/bin:/usr/local/bin:/bin:/opt/homebrew/bin:/opt/local/bin"

bool is_program(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

static bool find_in(const char *folders, const char *name, char *out, size_t size)
{
    while (*folders != '\0') {
        size_t length = strcspn(folders, ":");

        if (folders[0] == '/' &&
            snprintf(out, size, "%.*s/%s", (int)length, folders, name) < (int)size &&
            is_program(out))
            return true;
        folders += length + (folders[length] == ':');
    }
    return false;
}

bool find_program(const char *name, char *out, size_t size)
{
    const char *path = getenv("PATH");

    if ((path != NULL && find_in(path, name, out, size)) ||
        find_in(USUAL_FOLDERS, name, out, size))
        return true;
    out[0] = '\0';
    return false;
}

const char *temporary_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder != NULL && folder[0] != '\0' ? folder : "/tmp";
}
