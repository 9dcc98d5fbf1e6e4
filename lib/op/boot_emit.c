/* chr_boot_show(): the plan as text. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "op/boot.h"
#include "op/files.h"
#include "vm/emit.h"
#include "vm/text.h"

/* How every file of vm_emit_readconfig() begins. */
#define READCONFIG_HEAD "# The router "

/* One of ours is written anew; anything else stays what it is, as it may be an image. */
static int check_target(const char *file, struct chr_error *err)
{
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char head[sizeof READCONFIG_HEAD - 1];
    struct stat info;

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
        return err_set(err, CHR_E_USAGE, "--readconfig %s is a folder; name the file to write", file);
    if (fd >= 0 && read(fd, head, sizeof head) == sizeof head &&
        memcmp(head, READCONFIG_HEAD, sizeof head) == 0)
        return 0;
    (void)err_set(err, CHR_E_EXISTS, "--readconfig %s: the file exists, and is none that "
                  "--readconfig has made", file);
    return err_hint(err, "take another name, or remove it first");
}

/* The line is to run in any folder, as the other paths in it do. */
static char *absolute(const char *file, struct chr_error *err)
{
    AUTO_FREE char *here = NULL;

    if (file[0] == '/')
        return mem_strdup(file, err);
    here = getcwd(NULL, 0);
    if (here == NULL)
        (void)err_errno(err, errno, "cannot find the current folder");
    return here != NULL ? text_new(err, "%s/%s", here, file) : NULL;
}

/* The INI goes to its file, the shell line that uses it is the text. */
static int emit_readconfig(const struct vm_host *host, const struct vm_plan *plan,
                           const char *file, char **text, struct chr_error *err)
{
    AUTO_OUTPUT struct output output = {0};
    AUTO_FREE char *ini = NULL;
    AUTO_FREE char *place = NULL;
    size_t length;

    if (file == NULL)
        return err_set(err, CHR_E_USAGE, "--readconfig wants a file to write");
    if (check_target(file, err) < 0 || (place = absolute(file, err)) == NULL ||
        vm_emit_readconfig(host, plan, place, &ini, text, err) < 0)
        return -1;
    length = strlen(ini);
    if (output_begin(file, length, true, &output, err) < 0 ||
        blk_write(output.blk, 0, ini, length, err) < 0)
        return -1;
    return output_publish(&output, err);
}

int boot_emit(const struct vm_host *host, const struct vm_plan *plan,
              const struct chr_boot_options *options, char **text, struct chr_error *err)
{
    switch (options->show) {
    case CHR_SHOW_PRINT:
        return vm_emit_print(host, plan, text, err);
    case CHR_SHOW_SCRIPT:
        return vm_emit_script(host, plan, text, err);
    case CHR_SHOW_READCONFIG:
        return emit_readconfig(host, plan, options->show_target, text, err);
    case CHR_SHOW_SYSTEMD:
        return vm_emit_systemd(host, plan, options->show_target, text, err);
    case CHR_SHOW_LIBVIRT:
        return vm_emit_libvirt(host, plan, text, err);
    default:
        return err_set(err, CHR_E_USAGE, "nothing to show");
    }
}
