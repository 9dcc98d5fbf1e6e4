/*
 * replay: what is left of a folder after a power cut.
 *
 *   replay LOG START OUT STEP VARIANT   make OUT (a new folder) what START (a copy
 *                                       of the folder before the program ran) has
 *                                       become when the power fails after STEP steps
 *   replay --count LOG                  the number of steps
 *   replay --list LOG                   the steps, one per line
 *   replay --same FILE FILE             exit 0 when two files are equal (knows holes)
 *   replay --digest FOLDER              a number for the names, sizes and contents in it,
 *                                       whatever of them is holes
 *
 * Variants:
 *   all          everything is there: the program was killed, the machine lives on
 *   durable      only what was made durable is there
 *   random:SEED  besides, each later write happens to be there whole or not at all
 *   torn:SEED    the same, but some are there in part: sectors are atomic, writes
 *                are not
 *
 * The model.  Each file has two contents: `cache`, with every step done, and
 * `disk`.  fsync copies the one to the other; where a variant decides that a
 * sector reaches the disk early, that sector is copied as it then is.  So every
 * sector on the disk is as it was at some time since the last fsync, which is all
 * that a disk promises.  A name is durable after fsync of its folder, and that of
 * a new file after fsync of the file (as ext4 has it); names that are not durable
 * may still be there, in the order in which they were made, as a journal keeps it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define PAGE 4096u
#define SECTOR 512u

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    fputs("replay: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

static void *allocate(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size);

    if (p == NULL)
        die("out of memory");
    return p;
}

/* Room for one more element behind COUNT of them; doubles at powers of two. */
static void *grown(void *array, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return array;
    array = realloc(array, (count != 0 ? 2 * count : 1) * size);
    if (array == NULL)
        die("out of memory");
    return array;
}

/* ---- contents: pages laid over a file of the starting state ---- */

struct content {
    int base;          /* descriptor, or -1 */
    uint64_t base_len; /* how much of the base still shows */
    uint64_t size;
    uint8_t **pages;
    size_t page_count;
};

static void base_read(const struct content *content, uint64_t off, uint8_t *out, size_t len)
{
    memset(out, 0, len);
    if (content->base < 0 || off >= content->base_len)
        return;
    if (len > content->base_len - off)
        len = (size_t)(content->base_len - off);
    while (len > 0) {
        ssize_t n = pread(content->base, out, len, (off_t)off);

        if (n <= 0)
            die("cannot read a file of the starting state");
        out += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
}

static uint8_t *page_if_there(const struct content *content, uint64_t index)
{
    return index < content->page_count ? content->pages[index] : NULL;
}

static uint8_t *page_of(struct content *content, uint64_t index)
{
    if (index >= content->page_count) {
        size_t count = (size_t)index + 1 + index / 2;

        content->pages = realloc(content->pages, count * sizeof *content->pages);
        if (content->pages == NULL)
            die("out of memory");
        memset(content->pages + content->page_count, 0,
               (count - content->page_count) * sizeof *content->pages);
        content->page_count = count;
    }
    if (content->pages[index] == NULL) {
        content->pages[index] = allocate(1, PAGE);
        base_read(content, index * PAGE, content->pages[index], PAGE);
    }
    return content->pages[index];
}

/* Write DATA, or zeros when it is NULL; the size stays. */
static void content_put(struct content *content, uint64_t off, const uint8_t *data, uint64_t len)
{
    while (len > 0) {
        uint64_t within = off % PAGE;
        uint64_t part = PAGE - within < len ? PAGE - within : len;

        if (data != NULL) {
            memcpy(page_of(content, off / PAGE) + within, data, part);
            data += part;
        } else if (page_if_there(content, off / PAGE) != NULL || off < content->base_len) {
            memset(page_of(content, off / PAGE) + within, 0, part);
        }
        off += part;
        len -= part;
    }
}

static void content_reach(struct content *content, uint64_t size)
{
    if (content->size < size)
        content->size = size;
}

static void content_truncate(struct content *content, uint64_t size)
{
    uint64_t first_gone = (size + PAGE - 1) / PAGE;

    if (size % PAGE != 0 && size < content->size)
        content_put(content, size, NULL, PAGE - size % PAGE);
    for (uint64_t i = first_gone; i < content->page_count; i++) {
        free(content->pages[i]);
        content->pages[i] = NULL;
    }
    if (content->base_len > size)
        content->base_len = size;
    content->size = size;
}

static void content_copy(struct content *to, const struct content *from)
{
    content_truncate(to, 0);
    to->base_len = from->base_len;
    to->size = from->size;
    for (size_t i = 0; i < from->page_count; i++)
        if (from->pages[i] != NULL)
            memcpy(page_of(to, i), from->pages[i], PAGE);
}

/* The sector at OFF reaches the disk as it is in the cache now. */
static void sector_copy(struct content *disk, const struct content *cache, uint64_t off)
{
    const uint8_t *page = page_if_there(cache, off / PAGE);
    uint8_t sector[SECTOR];
    uint64_t end = off + SECTOR < cache->size ? off + SECTOR : cache->size;

    if (page != NULL)
        memcpy(sector, page + off % PAGE, SECTOR);
    else
        base_read(cache, off, sector, SECTOR);
    content_put(disk, off, sector, SECTOR);
    content_reach(disk, end);
}

/* ---- files and names ---- */

struct file {
    uint64_t ino;
    mode_t mode;
    struct content cache;
    struct content disk;
    char *written_as; /* its first name in OUT, for hard links */
};

/* A change of names, kept until it is known what of it survives. */
struct name_change {
    uint32_t op;
    char *path;
    char *other;
    struct file *file;
    bool durable;
    bool other_folder_durable; /* of a rename between folders */
};

struct name {
    char *path;
    struct file *file; /* NULL: a folder */
};

static struct {
    struct file **files;
    size_t file_count;
    struct name_change *changes;
    size_t change_count;
    struct name *names;
    size_t name_count;
} world;

/* The youngest file of that inode number: numbers are used again. */
static struct file *file_by_ino(uint64_t ino)
{
    for (size_t i = world.file_count; i-- > 0;)
        if (world.files[i]->ino == ino)
            return world.files[i];
    die("the log speaks of inode %" PRIu64 ", which it never introduced", ino);
}

static struct file *file_new(uint64_t ino, int base)
{
    struct file *file = allocate(1, sizeof *file);
    struct stat stat;

    file->ino = ino;
    file->mode = 0644;
    file->cache.base = file->disk.base = base;
    if (base >= 0) {
        if (fstat(base, &stat) < 0)
            die("cannot stat a file of the starting state");
        file->mode = stat.st_mode & 07777;
        file->cache.size = file->cache.base_len = (uint64_t)stat.st_size;
        file->disk.size = file->disk.base_len = (uint64_t)stat.st_size;
    }
    world.files = grown(world.files, world.file_count, sizeof *world.files);
    world.files[world.file_count++] = file;
    return file;
}

static void name_add(const char *path, struct file *file)
{
    world.names = grown(world.names, world.name_count, sizeof *world.names);
    world.names[world.name_count++] = (struct name){strdup(path), file};
}

static struct name *name_find(const char *path)
{
    for (size_t i = 0; i < world.name_count; i++)
        if (strcmp(world.names[i].path, path) == 0)
            return &world.names[i];
    return NULL;
}

static void name_remove(const char *path)
{
    struct name *name = name_find(path);

    if (name != NULL) {
        memmove(name, name + 1,
                (size_t)(world.names + world.name_count - (name + 1)) * sizeof *name);
        world.name_count--;
    }
}

static bool lies_in(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;

    return strlen(folder) == len && strncmp(path, folder, len) == 0;
}

static void folder_is_durable(const char *folder)
{
    for (size_t i = 0; i < world.change_count; i++) {
        struct name_change *change = &world.changes[i];

        if (lies_in(change->path, folder) &&
            (change->other == NULL || lies_in(change->other, folder)))
            change->durable = true;
        else if (change->other != NULL && lies_in(change->other, folder))
            change->other_folder_durable = true;
        else if (change->other_folder_durable && lies_in(change->path, folder))
            change->durable = true;
    }
}

static void file_is_durable(struct file *file)
{
    content_copy(&file->disk, &file->cache);
    for (size_t i = 0; i < world.change_count; i++) {
        struct name_change *change = &world.changes[i];

        if (change->file == file && (change->op == OP_CREATE || change->op == OP_LINK))
            change->durable = true;
    }
}

/* A change whose names are not there (what it builds on was lost) has no effect. */
static void name_apply(const struct name_change *change)
{
    struct name *name = name_find(change->path);
    struct name *other;
    struct file *file;

    switch (change->op) {
    case OP_CREATE:
    case OP_LINK:
        name_remove(change->path);
        name_add(change->path, change->file);
        break;
    case OP_MKDIR:
        if (name == NULL)
            name_add(change->path, NULL);
        break;
    case OP_UNLINK:
    case OP_RMDIR:
        name_remove(change->path);
        break;
    case OP_RENAME:
        if (name == NULL)
            break;
        file = name->file;
        if (file == NULL)
            die("folders cannot be renamed here: %s", change->path);
        name_remove(change->other);
        name_remove(change->path);
        name_add(change->other, file);
        break;
    case OP_EXCHANGE:
        other = name_find(change->other);
        if (name == NULL || other == NULL)
            break;
        file = name->file;
        name->file = other->file;
        other->file = file;
        break;
    default:
        die("name change %u", change->op);
    }
}

/* ---- chance, the same for the same seed ---- */

enum variant_kind { VARIANT_ALL, VARIANT_DURABLE, VARIANT_RANDOM, VARIANT_TORN };

static struct {
    enum variant_kind kind;
    uint64_t seed;
} variant;

/* splitmix64 of seed, step and place. */
static uint64_t chance(uint64_t step, uint64_t place)
{
    uint64_t z = variant.seed * 0x9E3779B97F4A7C15u + step * 0xBF58476D1CE4E5B9u +
                 place * 0x94D049BB133111EBu + 0x632BE59BD9B4E019u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

enum fate { FATE_NOTHING, FATE_WHOLE, FATE_TORN };

/* What becomes of the contents changed in STEP while nobody asks for durability. */
static enum fate fate_of(uint64_t step)
{
    switch (variant.kind) {
    case VARIANT_RANDOM:
        return chance(step, UINT64_MAX) % 2 == 0 ? FATE_NOTHING : FATE_WHOLE;
    case VARIANT_TORN:
        return (enum fate)(chance(step, UINT64_MAX) % 3);
    default:
        return FATE_NOTHING;
    }
}

static void sectors_reach_disk(struct file *file, uint64_t step, uint64_t off, uint64_t len)
{
    enum fate fate = fate_of(step);
    uint64_t end = off + len < file->cache.size ? off + len : file->cache.size;

    if (fate == FATE_NOTHING)
        return;
    for (uint64_t at = off - off % SECTOR; at < end; at += SECTOR)
        if (fate == FATE_WHOLE || chance(step, at / SECTOR) % 2 == 0)
            sector_copy(&file->disk, &file->cache, at);
}

/* ---- the log ---- */

struct entry {
    const struct record *record;
    const char *path; /* not terminated */
    const char *other;
    const uint8_t *data;
};

struct log {
    const uint8_t *bytes;
    size_t size;
    size_t at;
};

static struct log log_open(const char *path)
{
    struct log log = {0};
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &stat) < 0)
        die("%s: %s", path, strerror(errno));
    log.size = (size_t)stat.st_size;
    if (log.size > 0) {
        log.bytes = mmap(NULL, log.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (log.bytes == MAP_FAILED)
            die("%s: %s", path, strerror(errno));
    }
    close(fd);
    return log;
}

/* Records begin anywhere, so each is copied to where a struct may lie. */
static bool log_next(struct log *log, struct entry *entry)
{
    static struct record record;
    uint64_t length;

    if (log->at == log->size)
        return false;
    if (log->size - log->at < sizeof record)
        die("the log ends within a record");
    memcpy(&record, log->bytes + log->at, sizeof record);
    length = (uint64_t)record.path_len + record.other_len + record.data_len;
    if (record.magic != RECORD_MAGIC || log->size - log->at - sizeof record < length)
        die("the log is damaged at byte %zu", log->at);
    log->at += sizeof record;
    entry->record = &record;
    entry->path = (const char *)log->bytes + log->at;
    entry->other = entry->path + record.path_len;
    entry->data = (const uint8_t *)entry->other + record.other_len;
    log->at += length;
    return true;
}

static bool is_step(const struct record *record)
{
    return record->more == 0 && record->op >= OP_WRITE;
}

static char *text(const char *start, uint32_t len)
{
    char *copy = strndup(start, len);

    if (copy == NULL)
        die("out of memory");
    return copy;
}

static uint64_t count_steps(const char *path)
{
    struct log log = log_open(path);
    struct entry entry;
    uint64_t steps = 0;

    while (log_next(&log, &entry))
        steps += is_step(entry.record);
    return steps;
}

static void list_steps(const char *path)
{
    static const char *const names[] = {
        [OP_START_FILE] = "start-file", [OP_START_FOLDER] = "start-folder",
        [OP_WRITE] = "write",           [OP_ZERO] = "zero",
        [OP_ALLOCATE] = "allocate",     [OP_TRUNCATE] = "truncate",
        [OP_CREATE] = "create",         [OP_TMPFILE] = "tmpfile",
        [OP_LINK] = "link",             [OP_RENAME] = "rename",
        [OP_EXCHANGE] = "exchange",     [OP_UNLINK] = "unlink",
        [OP_MKDIR] = "mkdir",           [OP_RMDIR] = "rmdir",
        [OP_SYNC] = "sync",             [OP_SYNC_FOLDER] = "sync-folder",
        [OP_SYNC_ALL] = "sync-all",     [OP_WRITEBACK] = "writeback",
    };
    struct log log = log_open(path);
    struct entry entry;
    uint64_t step = 0;

    while (log_next(&log, &entry)) {
        const struct record *r = entry.record;
        const char *name = r->op < sizeof names / sizeof *names ? names[r->op] : NULL;

        step += is_step(r);
        printf("%" PRIu64 "%s %s%s", step, r->more != 0 ? "+" : "", r->copied != 0 ? "copy " : "",
               name != NULL ? name : "?");
        if (r->ino != 0)
            printf(" inode %" PRIu64, r->ino);
        if (r->path_len != 0)
            printf(" %.*s", (int)r->path_len, entry.path);
        if (r->other_len != 0)
            printf(" -> %.*s", (int)r->other_len, entry.other);
        if (r->op == OP_WRITE || r->op == OP_ZERO || r->op == OP_ALLOCATE)
            printf(" off %" PRIu64 " len %" PRIu64, r->off,
                   r->op == OP_WRITE ? r->data_len : r->len);
        if (r->op == OP_TRUNCATE)
            printf(" size %" PRIu64, r->len);
        putchar('\n');
    }
}

/* ---- replaying ---- */

static void start_entry(const struct entry *entry, int start)
{
    char *path = text(entry->path, entry->record->path_len);

    if (entry->record->op == OP_START_FOLDER) {
        name_add(path, NULL);
    } else {
        int base = openat(start, path, O_RDONLY | O_CLOEXEC);

        if (base < 0)
            die("%s is not in the starting state: %s", path, strerror(errno));
        name_add(path, file_new(entry->record->ino, base));
    }
    free(path);
}

static void name_entry(const struct entry *entry, struct file *file)
{
    const struct record *r = entry->record;

    world.changes = grown(world.changes, world.change_count, sizeof *world.changes);
    world.changes[world.change_count++] = (struct name_change){
        .op = r->op,
        .path = text(entry->path, r->path_len),
        .other = r->other_len != 0 ? text(entry->other, r->other_len) : NULL,
        .file = file,
    };
}

static void content_entry(const struct entry *entry, uint64_t step)
{
    const struct record *r = entry->record;
    struct file *file = file_by_ino(r->ino);
    /* Pieces of one step meet their fate piece by piece. */
    uint64_t lot = step * 65536 + (r->more != 0 ? r->off / PAGE + 1 : 0);

    switch (r->op) {
    case OP_WRITE:
        content_put(&file->cache, r->off, entry->data, r->data_len);
        content_reach(&file->cache, r->off + r->data_len);
        sectors_reach_disk(file, lot, r->off, r->data_len);
        break;
    case OP_ZERO:
        content_put(&file->cache, r->off, NULL, r->len);
        sectors_reach_disk(file, lot, r->off, r->len);
        break;
    case OP_ALLOCATE:
        content_reach(&file->cache, r->off + r->len);
        if (fate_of(lot) != FATE_NOTHING)
            content_reach(&file->disk, r->off + r->len);
        break;
    case OP_TRUNCATE:
        content_truncate(&file->cache, r->len);
        if (fate_of(lot) != FATE_NOTHING)
            content_truncate(&file->disk, r->len);
        break;
    default:
        die("content change %u", r->op);
    }
}

static void sync_entry(const struct entry *entry)
{
    const struct record *r = entry->record;
    char *path;

    switch (r->op) {
    case OP_SYNC:
        file_is_durable(file_by_ino(r->ino));
        break;
    case OP_SYNC_FOLDER:
        path = text(entry->path, r->path_len);
        folder_is_durable(path);
        free(path);
        break;
    case OP_SYNC_ALL:
        for (size_t i = 0; i < world.file_count; i++)
            file_is_durable(world.files[i]);
        for (size_t i = 0; i < world.change_count; i++)
            world.changes[i].durable = true;
        break;
    default:
        break; /* OP_WRITEBACK */
    }
}

static void replay_entry(const struct entry *entry, uint64_t step, int start)
{
    switch (entry->record->op) {
    case OP_START_FILE:
    case OP_START_FOLDER:
        start_entry(entry, start);
        break;
    case OP_WRITE:
    case OP_ZERO:
    case OP_ALLOCATE:
    case OP_TRUNCATE:
        content_entry(entry, step);
        break;
    case OP_CREATE:
        name_entry(entry, file_new(entry->record->ino, -1));
        break;
    case OP_TMPFILE:
        (void)file_new(entry->record->ino, -1);
        break;
    case OP_LINK:
        name_entry(entry, file_by_ino(entry->record->ino));
        break;
    case OP_RENAME:
    case OP_EXCHANGE:
    case OP_UNLINK:
    case OP_MKDIR:
    case OP_RMDIR:
        name_entry(entry, NULL);
        break;
    case OP_SYNC:
    case OP_SYNC_FOLDER:
    case OP_SYNC_ALL:
    case OP_WRITEBACK:
        sync_entry(entry);
        break;
    default:
        die("the log has an unknown operation %u", entry->record->op);
    }
}

/* Decide which changes of names survive, and make them. */
static void settle_names(uint64_t step)
{
    uint64_t pending = 0;
    uint64_t lucky;

    for (size_t i = 0; i < world.change_count; i++)
        pending += !world.changes[i].durable;
    if (variant.kind == VARIANT_ALL)
        lucky = pending;
    else if (variant.kind == VARIANT_DURABLE)
        lucky = 0;
    else
        lucky = chance(step, UINT64_MAX - 1) % (pending + 1);
    for (size_t i = 0; i < world.change_count; i++) {
        if (world.changes[i].durable) {
            name_apply(&world.changes[i]);
        } else if (lucky > 0) {
            lucky--;
            name_apply(&world.changes[i]);
        }
    }
}

static void write_all(int fd, const uint8_t *data, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)off);

        if (n <= 0)
            die("cannot write the result: %s", strerror(errno));
        data += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
}

static void copy_base(const struct content *content, int fd)
{
    off_t at = 0;
    off_t end = (off_t)content->base_len;

    while (at < end) {
        off_t data = lseek(content->base, at, SEEK_DATA);
        off_t hole = data >= 0 ? lseek(content->base, data, SEEK_HOLE) : -1;

        if (data < 0 || data >= end)
            break;
        if (hole < 0 || hole > end)
            hole = end;
        for (at = data; at < hole;) {
            loff_t from = at;
            loff_t to = at;
            ssize_t n = copy_file_range(content->base, &from, fd, &to, (size_t)(hole - at), 0);

            if (n <= 0)
                die("cannot copy the starting state: %s", strerror(errno));
            at += n;
        }
    }
}

static void write_file(int out, const char *path, const struct file *file)
{
    const struct content *content = variant.kind == VARIANT_ALL ? &file->cache : &file->disk;
    int fd = openat(out, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);

    if (fd < 0 || ftruncate(fd, (off_t)content->size) < 0)
        die("cannot make %s: %s", path, strerror(errno));
    if (content->base >= 0)
        copy_base(content, fd);
    for (uint64_t i = 0; i < content->page_count && i * PAGE < content->size; i++) {
        uint64_t left = content->size - i * PAGE;

        if (content->pages[i] != NULL)
            write_all(fd, content->pages[i], left < PAGE ? (size_t)left : PAGE, i * PAGE);
    }
    if (close(fd) < 0)
        die("cannot write %s: %s", path, strerror(errno));
}

static void write_world(const char *folder)
{
    int out;

    if (mkdir(folder, 0777) < 0)
        die("cannot make %s: %s", folder, strerror(errno));
    out = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out < 0)
        die("cannot open %s: %s", folder, strerror(errno));
    for (size_t i = 0; i < world.name_count; i++) {
        const struct name *name = &world.names[i];

        if (name->file == NULL) {
            if (mkdirat(out, name->path, 0777) < 0)
                die("cannot make %s: %s", name->path, strerror(errno));
        } else if (name->file->written_as != NULL) {
            if (linkat(out, name->file->written_as, out, name->path, 0) < 0)
                die("cannot link %s: %s", name->path, strerror(errno));
        } else {
            write_file(out, name->path, name->file);
            name->file->written_as = name->path;
        }
    }
    close(out);
}

static void replay(const char *log_path, const char *start_path, const char *out, uint64_t last)
{
    struct log log = log_open(log_path);
    struct entry entry;
    uint64_t step = 0;
    int start = open(start_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (start < 0)
        die("%s: %s", start_path, strerror(errno));
    while (log_next(&log, &entry)) {
        step += is_step(entry.record);
        if (step > last)
            break;
        replay_entry(&entry, step, start);
    }
    if (step < last)
        die("the log has %" PRIu64 " steps only", step);
    settle_names(last);
    write_world(out);
}

/* ---- comparing ---- */

static uint64_t next_data(int fd, uint64_t off, uint64_t size)
{
    off_t data = lseek(fd, (off_t)off, SEEK_DATA);

    return data < 0 ? size : (uint64_t)data;
}

static bool same(const char *path_a, const char *path_b)
{
    static uint8_t buffer_a[1 << 16];
    static uint8_t buffer_b[1 << 16];
    int a = open(path_a, O_RDONLY | O_CLOEXEC);
    int b = open(path_b, O_RDONLY | O_CLOEXEC);
    struct stat stat_a;
    struct stat stat_b;
    uint64_t off = 0;
    uint64_t size;

    if (a < 0 || b < 0 || fstat(a, &stat_a) < 0 || fstat(b, &stat_b) < 0)
        die("cannot open %s: %s", a < 0 ? path_a : path_b, strerror(errno));
    if (stat_a.st_size != stat_b.st_size) {
        printf("%s has %" PRIu64 " bytes, %s %" PRIu64 "\n", path_a, (uint64_t)stat_a.st_size,
               path_b, (uint64_t)stat_b.st_size);
        return false;
    }
    size = (uint64_t)stat_a.st_size;
    while (off < size) {
        uint64_t data_a = next_data(a, off, size);
        uint64_t data_b = next_data(b, off, size);
        uint64_t data = data_a < data_b ? data_a : data_b;
        size_t len;

        off = data > off ? data : off;
        if (off >= size)
            break;
        len = size - off < sizeof buffer_a ? (size_t)(size - off) : sizeof buffer_a;
        if (pread(a, buffer_a, len, (off_t)off) != (ssize_t)len ||
            pread(b, buffer_b, len, (off_t)off) != (ssize_t)len)
            die("cannot read %s and %s", path_a, path_b);
        if (memcmp(buffer_a, buffer_b, len) != 0) {
            size_t at = 0;

            while (buffer_a[at] == buffer_b[at])
                at++;
            printf("%s and %s differ from byte %" PRIu64 "\n", path_a, path_b, off + at);
            return false;
        }
        off += len;
    }
    return true;
}

/* ---- a number for a folder ---- */

/* 64 bits are enough against chance, and nobody here has other intentions. */
static uint64_t mix(uint64_t digest, uint64_t word)
{
    digest = (digest ^ word) * 0x9E3779B97F4A7C15u;
    return digest ^ (digest >> 29);
}

static uint64_t digest_page(uint64_t digest, const uint64_t words[PAGE / 8], uint64_t off)
{
    static const uint64_t zeros[PAGE / 8];

    if (memcmp(words, zeros, PAGE) == 0)
        return digest;
    digest = mix(digest, off);
    for (size_t i = 0; i < PAGE / 8; i++)
        digest = mix(digest, words[i]);
    return digest;
}

static uint64_t digest_file(uint64_t digest, int fd, uint64_t size)
{
    uint64_t words[PAGE / 8];

    digest = mix(digest, size);
    for (uint64_t off = next_data(fd, 0, size); off < size; off = next_data(fd, off + PAGE, size)) {
        off -= off % PAGE;
        memset(words, 0, sizeof words);
        if (pread(fd, words, PAGE, (off_t)off) <= 0)
            die("cannot read a file");
        digest = digest_page(digest, words, off);
    }
    return digest;
}

static uint64_t digest_entry(uint64_t digest, const char *path, const struct stat *stat)
{
    int fd;

    for (const char *c = path; *c != '\0'; c++)
        digest = mix(digest, (uint8_t)*c);
    digest = mix(digest, stat->st_mode);
    if (!S_ISREG(stat->st_mode))
        return digest;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("cannot read %s: %s", path, strerror(errno));
    digest = digest_file(digest, fd, (uint64_t)stat->st_size);
    close(fd);
    return digest;
}

static uint64_t folder_digest;

/* Entries come in any order, so their numbers are added. */
static int add_entry(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)kind;
    if (place->level > 0)
        folder_digest += digest_entry(1, path, stat);
    return 0;
}

static void print_digest(const char *folder)
{
    /* So that no name says where the folder lies. */
    if (chdir(folder) < 0 || nftw(".", add_entry, 8, FTW_PHYS) != 0)
        die("%s: %s", folder, strerror(errno));
    printf("%016" PRIx64 "\n", folder_digest);
}

/* ---- the command line ---- */

static bool parse_variant(const char *name)
{
    char *end = NULL;

    if (strcmp(name, "all") == 0)
        variant.kind = VARIANT_ALL;
    else if (strcmp(name, "durable") == 0)
        variant.kind = VARIANT_DURABLE;
    else if (strncmp(name, "random:", 7) == 0)
        variant.kind = VARIANT_RANDOM;
    else if (strncmp(name, "torn:", 5) == 0)
        variant.kind = VARIANT_TORN;
    else
        return false;
    if (variant.kind < VARIANT_RANDOM)
        return true;
    variant.seed = strtoull(strchr(name, ':') + 1, &end, 10);
    return end != NULL && *end == '\0';
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--count") == 0) {
        printf("%" PRIu64 "\n", count_steps(argv[2]));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--list") == 0) {
        list_steps(argv[2]);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--digest") == 0) {
        print_digest(argv[2]);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "--same") == 0)
        return same(argv[2], argv[3]) ? 0 : 1;
    if (argc == 6 && parse_variant(argv[5])) {
        replay(argv[1], argv[2], argv[3], strtoull(argv[4], NULL, 10));
        return 0;
    }
    fprintf(stderr, "usage: replay LOG START OUT STEP all|durable|random:SEED|torn:SEED\n"
                    "       replay --count LOG | --list LOG | --same FILE FILE | --digest FOLDER\n");
    return 2;
}
