/* QEMU's image locks; the protocol is in the header. */
#include "block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define LOCK_PERM_BASE 100
#define LOCK_UNSHARED_BASE 200

/* QEMU's BLK_PERM_* bits (include/block/block-common.h). */
enum {
    PERM_CONSISTENT_READ = 1 << 0,
    PERM_WRITE = 1 << 1,
    PERM_WRITE_UNCHANGED = 1 << 2,
    PERM_RESIZE = 1 << 3,
    PERM_ALL = PERM_CONSISTENT_READ | PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE,
    PERM_BITS = 4,
};

#ifdef F_OFD_SETLK
#define SET_LOCK F_OFD_SETLK
#define GET_LOCK F_OFD_GETLK
#else
/* macOS has the same under these names only within its own frameworks; its
 * QEMU uses plain POSIX locks, and so do we there. */
#define SET_LOCK F_SETLK
#define GET_LOCK F_GETLK
#endif

static bool locks_unavailable(int number)
{
    return number == EINVAL || number == ENOSYS || number == ENOLCK || number == EOPNOTSUPP;
}

static int hold(int fd, int byte)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, SET_LOCK, &lock);
}

/* Whether another process holds any lock on BYTE. */
static int held_elsewhere(int fd, int byte, bool *held)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, GET_LOCK, &lock) < 0)
        return -1;
    *held = lock.l_type != F_UNLCK;
    return 0;
}

static int in_use(struct chr_error *err, const char *name, bool writing)
{
    (void)err_set(err, CHR_E_BUSY, "%s is in use by another process", name);
    return err_hint(err, writing ? "stop the VM (or the other command) that holds it"
                                 : "stop the VM that holds it; info, ls, cat and cp read it as it is "
                                   "with --force-share");
}

int lock_image(int fd, bool writing, const char *name, struct chr_error *err)
{
    int perm = PERM_CONSISTENT_READ | (writing ? PERM_WRITE | PERM_RESIZE : 0);
    int unshared = writing ? PERM_ALL : PERM_WRITE | PERM_RESIZE;

    for (int bit = 0; bit < PERM_BITS; bit++) {
        if ((perm & 1 << bit) != 0 && hold(fd, LOCK_PERM_BASE + bit) < 0)
            return locks_unavailable(errno) ? 0 : in_use(err, name, writing);
        if ((unshared & 1 << bit) != 0 && hold(fd, LOCK_UNSHARED_BASE + bit) < 0)
            return locks_unavailable(errno) ? 0 : in_use(err, name, writing);
    }
    for (int bit = 0; bit < PERM_BITS; bit++) {
        bool forbidden = false;
        bool used = false;

        if ((perm & 1 << bit) != 0 && held_elsewhere(fd, LOCK_UNSHARED_BASE + bit, &forbidden) < 0)
            return err_errno(err, errno, "%s: cannot ask for its locks", name);
        if ((unshared & 1 << bit) != 0 && held_elsewhere(fd, LOCK_PERM_BASE + bit, &used) < 0)
            return err_errno(err, errno, "%s: cannot ask for its locks", name);
        if (forbidden || used)
            return in_use(err, name, writing);
    }
    return 0;
}
