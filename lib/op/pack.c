/* The host's files on their way into an image. */
#include "op/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/shell.h"

/* As deep as a path of an image can be: each level takes two bytes of it. */
#define DEPTH_MAX 256

/* ---- one file ---- */

struct memory {
    const uint8_t *bytes;
};

static int read_memory(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    const struct memory *memory = context;

    (void)err;
    memcpy(buf, memory->bytes + off, len);
    return 0;
}

struct host_file {
    int fd;
    const char *name;
};

static int read_host(void *context, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    const struct host_file *file = context;
    uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = pread(file->fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read %s", file->name);
        if (n == 0)
            return err_set(err, CHR_E_IO, "%s became shorter while it was read", file->name);
        p += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int count_only(const struct pack *pack, const char *path, bool is_folder, uint64_t size,
                      struct chr_error *err)
{
    return shortage_add(pack->shortage, pack->session, pack->side, path, is_folder, size, err);
}

static int make_folder(const struct pack *pack, const char *path, bool is_above,
                       struct chr_error *err)
{
    struct packed packed = {.path = path, .is_folder = true, .is_above = is_above};
    struct edit_entry entry;

    if (side_stat(pack->session, pack->side, path, &entry, err) == 0 && entry.kind == FILE_FOLDER)
        return 0;
    if (pack->shortage->first != NULL)
        return count_only(pack, path, true, 0, err);
    if (side_make_folder(pack->session, pack->side, path, err) < 0)
        return err->code == CHR_E_SPACE ? count_only(pack, path, true, 0, err) : -1;
    if (side_stat(pack->session, pack->side, path, &entry, err) < 0)
        return -1;
    packed.mode = entry.attributes.mode;
    return pack->done(pack->context, &packed, err);
}

/* The folders above PATH that are missing, the topmost first. */
static int make_folders_above(const struct pack *pack, const char *path, struct chr_error *err)
{
    const char *last = strrchr(path, '/');
    char folder[FILE_PATH_MAX];
    struct edit_entry entry;

    if (strlen(path) >= sizeof folder)
        return err_set(err, CHR_E_USAGE, "a path of more than %zu bytes", sizeof folder - 1);
    if (last == NULL)
        return 0;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(last - path), path);
    if (side_stat(pack->session, pack->side, folder, &entry, err) == 0 &&
        entry.kind == FILE_FOLDER) /* as it is nearly always */
        return 0;
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (make_folder(pack, folder, true, err) < 0)
            return -1;
    }
    return 0;
}

static int check_place(const struct pack *pack, const char *path, bool *there,
                       struct chr_error *err)
{
    const char *prefix = pack->side->is_boot ? "boot:" : "";
    struct edit_entry entry;
    bool twice;

    *there = side_stat(pack->session, pack->side, path, &entry, err) == 0;
    if (!*there)
        return err->code == CHR_E_MISSING ? 0 : -1;
    if (entry.kind == FILE_FOLDER) {
        (void)err_set(err, CHR_E_REFUSED, "%s/%s is there already, and is a folder", prefix,
                      path);
        return err_hint(err, "/%s/ puts it into the folder", path);
    }
    if (entry.kind != FILE_REGULAR)
        return err_set(err, CHR_E_REFUSED, "%s/%s is there already, and is a link or a device",
                       prefix, path);
    if (pack->replace)
        return 0;
    if (side_has_put(pack->side, path, &twice, err) < 0)
        return -1;
    if (twice)
        return err_set(err, CHR_E_USAGE, "%s/%s is given twice", prefix, path);
    return err_set(err, CHR_E_EXISTS, "%s/%s is there already, %" PRIu64 " byte%s", prefix, path,
                   entry.size, entry.size == 1 ? "" : "s");
}

/* NAME is that of the host's file, or NULL. */
static int put(const struct pack *pack, const struct edit_source *source, const char *name,
               const char *path, struct chr_error *err)
{
    struct packed packed = {.path = path, .source = name, .size = source->size,
                            .holds_values = pack->holds_values};
    struct edit_attributes attributes;

    /* First the folder, whose attributes the file may take. */
    if (make_folders_above(pack, path, err) < 0 ||
        check_place(pack, path, &packed.replaced, err) < 0)
        return -1;
    if (pack->shortage->first != NULL)
        return count_only(pack, path, false, source->size, err);
    if (side_attributes(pack->session, pack->side, path, FILE_REGULAR, &attributes, err) < 0)
        return -1;
    if (pack->mode != NULL)
        attributes.mode = *pack->mode;
    packed.mode = attributes.mode;
    if (side_put(pack->session, pack->side, path, source, &attributes, err) < 0)
        return err->code == CHR_E_SPACE ? count_only(pack, path, false, source->size, err) : -1;
    return pack->done(pack->context, &packed, err);
}

int pack_bytes(const struct pack *pack, const void *bytes, size_t len, const char *path,
               struct chr_error *err)
{
    struct memory memory = {bytes};
    const struct edit_source source = {.size = len, .read = read_memory, .context = &memory};

    return put(pack, &source, NULL, path, err);
}

/* ---- folders ---- */

static int pack_opened(const struct pack *pack, int fd, const char *name, const char *path,
                       unsigned depth, struct chr_error *err);

static int not_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* By bytes: the same order everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int pack_entry(const struct pack *pack, int folder, const char *entry, const char *name,
                      const char *path, unsigned depth, struct chr_error *err)
{
    AUTO_CLOSE int fd = openat(folder, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    AUTO_FREE char *entry_name = mem_new(1, strlen(name) + strlen(entry) + 2, err);
    AUTO_FREE char *entry_path = mem_new(1, strlen(path) + strlen(entry) + 2, err);

    if (entry_name == NULL || entry_path == NULL)
        return -1;
    (void)sprintf(entry_name, "%s/%s", name, entry);
    (void)sprintf(entry_path, "%s%s%s", path, path[0] != '\0' ? "/" : "", entry);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, CHR_E_REFUSED, "%s of the host is a symbolic link, which is not followed",
                       entry_name);
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", entry_name);
    return pack_opened(pack, fd, entry_name, entry_path, depth + 1, err);
}

static int pack_folder(const struct pack *pack, int fd, const char *name, const char *path,
                       unsigned depth, struct chr_error *err)
{
    struct dirent **entries = NULL;
    int count;
    int result;

    if (!pack->recursive)
        return err_set(err, CHR_E_USAGE, "%s is a folder; -r copies folders", name);
    if (depth > DEPTH_MAX)
        return err_set(err, CHR_E_REFUSED, "%s is more than %d folders deep", name, DEPTH_MAX);
    if (make_folders_above(pack, path, err) < 0 || make_folder(pack, path, false, err) < 0)
        return -1;
    count = scandirat(fd, ".", &entries, not_dots, by_name);
    if (count < 0)
        return err_errno(err, errno, "cannot read the folder %s", name);
    result = 0;
    for (int i = 0; i < count; i++) {
        if (result == 0)
            result = pack_entry(pack, fd, entries[i]->d_name, name, path, depth, err);
        free(entries[i]);
    }
    free(entries);
    return result;
}

static int pack_opened(const struct pack *pack, int fd, const char *name, const char *path,
                       unsigned depth, struct chr_error *err)
{
    struct host_file file = {fd, name};
    struct edit_source source = {.read = read_host, .context = &file};
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(err, errno, "%s: cannot stat", name);
    if (S_ISDIR(st.st_mode))
        return pack_folder(pack, fd, name, path, depth, err);
    if (!S_ISREG(st.st_mode)) {
        (void)err_set(err, CHR_E_REFUSED, "%s is neither a file nor a folder", name);
        if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
            return -1;
        return err_hint(err, "chrimg cp - IMG:%s/%s < %s puts what it says there",
                        pack->side->is_boot ? "boot:" : "", path, HINT_WORD(name));
    }
    source.size = (uint64_t)st.st_size;
    return put(pack, &source, name, path, err);
}

int pack_source(const struct pack *pack, const char *source, const char *path,
                struct chr_error *err)
{
    AUTO_CLOSE int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (source[0] == '\0')
        return err_set(err, CHR_E_USAGE, "the name of the file to copy is empty");
    if (fd < 0)
        return err_errno(err, errno, "cannot open %s", source);
    return pack_opened(pack, fd, source, path, 0, err);
}
