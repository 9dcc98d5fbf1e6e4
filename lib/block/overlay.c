/*
 * The overlay is a sorted array of pages; a page is eight sectors and a mask
 * of those that were written.  Pages that are too many for memory are written
 * into a file, each where it is on the disk: the file is all holes but for them.
 */
#include "block/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/raw.h"

#define PAGE_SECTORS 8
#define PAGE_SIZE_BYTES (PAGE_SECTORS * OVERLAY_SECTOR)
#define PAGES_IN_MEMORY 4096 /* 16 MiB */

struct page {
    uint64_t index; /* offset / PAGE_SIZE_BYTES */
    uint8_t written; /* bit N: sector N of the page is ours */
    bool stays; /* in memory */
    uint8_t *bytes; /* NULL: they are in the file */
};

struct overlay {
    struct blk blk;
    struct blk *base; /* borrowed */
    struct page *pages; /* ascending */
    size_t count;
    size_t capacity;
    size_t in_memory; /* pages that need not stay there */
    size_t next_out;  /* where to look for one that can leave it */
    char *folder;     /* for the file; NULL: there is none, and will be none */
    struct blk *file; /* NULL as long as none was needed */
};

static struct overlay *overlay_of(struct blk *blk)
{
    return (struct overlay *)blk;
}

/* The position of the first page whose index is not below INDEX. */
static size_t lower_bound(const struct overlay *overlay, uint64_t index)
{
    size_t low = 0;
    size_t high = overlay->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (overlay->pages[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct page *find_page(const struct overlay *overlay, uint64_t index)
{
    size_t at = lower_bound(overlay, index);

    return at < overlay->count && overlay->pages[at].index == index ? &overlay->pages[at] : NULL;
}

/* ---- pages that are too many ---- */

/* A file that is gone with the process; NULL where the host has none. */
static struct blk *open_file(const struct overlay *overlay)
{
    struct blk *file = NULL;
#ifdef O_TMPFILE
    struct chr_error ignored;
    int fd = open(overlay->folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        (void)raw_from_fd(fd, "a temporary file", INT64_MAX, true, &file, &ignored);
#endif
    return file;
}

static void forget_bytes(struct page *page)
{
    explicit_bzero(page->bytes, PAGE_SIZE_BYTES); /* may hold a password */
    free(page->bytes);
    page->bytes = NULL;
}

/* The next page in turn that can leave the memory; there is one. */
static struct page *choose_page(struct overlay *overlay)
{
    for (;; overlay->next_out++) {
        if (overlay->next_out >= overlay->count)
            overlay->next_out = 0;
        if (overlay->pages[overlay->next_out].bytes != NULL &&
            !overlay->pages[overlay->next_out].stays)
            return &overlay->pages[overlay->next_out++];
    }
}

/* Before one more page comes into memory another leaves it, where it can. */
static void make_room(struct overlay *overlay)
{
    struct chr_error ignored;
    struct page *page;

    if (overlay->in_memory < PAGES_IN_MEMORY || overlay->folder == NULL)
        return;
    if (overlay->file == NULL)
        overlay->file = open_file(overlay);
    page = choose_page(overlay);
    if (overlay->file != NULL && blk_write(overlay->file, page->index * PAGE_SIZE_BYTES,
                                           page->bytes, PAGE_SIZE_BYTES, &ignored) == 0) {
        forget_bytes(page);
        overlay->in_memory--;
        return;
    }
    /* What has gone can still be read. */
    free(overlay->folder);
    overlay->folder = NULL;
}

static int bring_in(struct overlay *overlay, struct page *page, struct chr_error *err)
{
    AUTO_FREE uint8_t *bytes = NULL;

    if (page->bytes != NULL)
        return 0;
    make_room(overlay);
    bytes = mem_new(1, PAGE_SIZE_BYTES, err);
    if (bytes == NULL ||
        blk_read(overlay->file, page->index * PAGE_SIZE_BYTES, bytes, PAGE_SIZE_BYTES, err) < 0)
        return -1;
    page->bytes = STEAL(bytes);
    overlay->in_memory++;
    return 0;
}

int overlay_spill(struct blk *blk, const char *folder, struct chr_error *err)
{
    struct overlay *overlay = overlay_of(blk);

    if (overlay->folder != NULL)
        return 0;
    overlay->folder = mem_strdup(folder, err);
    if (overlay->folder == NULL)
        return -1;
    for (size_t i = 0; i < overlay->count; i++)
        overlay->pages[i].stays = overlay->pages[i].bytes != NULL;
    overlay->in_memory = 0;
    return 0;
}

/* ---- reading and writing ---- */

static struct page *make_page(struct overlay *overlay, uint64_t index, struct chr_error *err)
{
    size_t at = lower_bound(overlay, index);
    uint8_t *bytes;

    if (at < overlay->count && overlay->pages[at].index == index)
        return bring_in(overlay, &overlay->pages[at], err) < 0 ? NULL : &overlay->pages[at];
    make_room(overlay);
    if (mem_grow(&overlay->pages, &overlay->capacity, overlay->count, sizeof *overlay->pages,
                 err) < 0)
        return NULL;
    bytes = mem_new(1, PAGE_SIZE_BYTES, err);
    if (bytes == NULL)
        return NULL;
    memmove(overlay->pages + at + 1, overlay->pages + at,
            (overlay->count - at) * sizeof *overlay->pages);
    overlay->count++;
    overlay->in_memory++;
    overlay->pages[at] = (struct page){.index = index, .bytes = bytes};
    return &overlay->pages[at];
}

/* Read from PAGE, at most LEN bytes from OFF: a run of sectors that are ours, or that are not. */
static int read_page_part(struct overlay *overlay, const struct page *page, uint64_t off,
                          uint8_t *buf, size_t *len, struct chr_error *err)
{
    size_t sector = (size_t)(off % PAGE_SIZE_BYTES) / OVERLAY_SECTOR;
    bool ours = (page->written & 1 << sector) != 0;
    size_t end = sector + 1;

    while (end < PAGE_SECTORS && ((page->written & 1 << end) != 0) == ours)
        end++;
    *len = (size_t)min_u64(*len, end * OVERLAY_SECTOR - off % PAGE_SIZE_BYTES);
    if (!ours || page->bytes == NULL)
        return blk_read(ours ? overlay->file : overlay->base, off, buf, *len, err);
    memcpy(buf, page->bytes + off % PAGE_SIZE_BYTES, *len);
    return 0;
}

/* The stretch from OFF that no page covers is read from below in one piece. */
static uint64_t uncovered(const struct overlay *overlay, uint64_t off, uint64_t len)
{
    size_t at = lower_bound(overlay, off / PAGE_SIZE_BYTES);
    uint64_t start;

    if (at == overlay->count)
        return len;
    start = overlay->pages[at].index * PAGE_SIZE_BYTES;
    return start <= off ? 0 : min_u64(len, start - off);
}

static int overlay_read(struct blk *blk, uint64_t off, void *buf, size_t len, struct chr_error *err)
{
    struct overlay *overlay = overlay_of(blk);
    uint8_t *p = buf;

    while (len > 0) {
        size_t step = (size_t)uncovered(overlay, off, len);

        if (step == 0) {
            step = len;
            if (read_page_part(overlay, find_page(overlay, off / PAGE_SIZE_BYTES), off, p, &step,
                               err) < 0)
                return -1;
        } else if (blk_read(overlay->base, off, p, step, err) < 0) {
            return -1;
        }
        p += step;
        off += step;
        len -= step;
    }
    return 0;
}

static int write_sector_part(struct overlay *overlay, uint64_t off, const uint8_t *buf, size_t len,
                             struct chr_error *err)
{
    struct page *page = make_page(overlay, off / PAGE_SIZE_BYTES, err);
    size_t sector = (size_t)(off % PAGE_SIZE_BYTES) / OVERLAY_SECTOR;
    uint8_t *bytes;

    if (page == NULL)
        return -1;
    bytes = page->bytes + sector * OVERLAY_SECTOR;
    if (len < OVERLAY_SECTOR && (page->written & 1 << sector) == 0 &&
        blk_read(overlay->base, round_down(off, OVERLAY_SECTOR), bytes, OVERLAY_SECTOR, err) < 0)
        return -1;
    memcpy(bytes + off % OVERLAY_SECTOR, buf, len);
    page->written |= (uint8_t)(1 << sector);
    return 0;
}

static int overlay_write(struct blk *blk, uint64_t off, const void *buf, size_t len,
                         struct chr_error *err)
{
    const uint8_t *p = buf;

    while (len > 0) {
        size_t step = (size_t)min_u64(len, OVERLAY_SECTOR - off % OVERLAY_SECTOR);

        if (write_sector_part(overlay_of(blk), off, p, step, err) < 0)
            return -1;
        p += step;
        off += step;
        len -= step;
    }
    return 0;
}

static int overlay_extent(struct blk *blk, uint64_t off, uint64_t len, struct blk_extent *extent,
                          struct chr_error *err)
{
    struct overlay *overlay = overlay_of(blk);
    uint64_t below = uncovered(overlay, off, len);

    if (below > 0)
        return blk_extent(overlay->base, off, below, extent, err);
    extent->length = min_u64(len, PAGE_SIZE_BYTES - off % PAGE_SIZE_BYTES);
    return 0;
}

static int overlay_close(struct blk *blk, struct chr_error *err)
{
    struct overlay *overlay = overlay_of(blk);

    (void)err;
    for (size_t i = 0; i < overlay->count; i++)
        if (overlay->pages[i].bytes != NULL)
            forget_bytes(&overlay->pages[i]);
    blk_cleanup(&overlay->file);
    free(overlay->folder);
    free(overlay->pages);
    free(overlay);
    return 0;
}

static const struct blk_ops overlay_ops = {
    .read = overlay_read,
    .write = overlay_write,
    .extent = overlay_extent,
    .close = overlay_close,
};

int overlay_open(struct blk *base, struct blk **out, struct chr_error *err)
{
    struct overlay *overlay = mem_new(1, sizeof *overlay, err);

    if (overlay == NULL)
        return -1;
    overlay->blk = (struct blk){.ops = &overlay_ops,
                                .size = round_down(base->size, OVERLAY_SECTOR),
                                .writable = true,
                                .fd = -1};
    overlay->base = base;
    *out = &overlay->blk;
    return 0;
}

bool overlay_next(struct blk *blk, uint64_t off, struct overlay_run *run)
{
    const struct overlay *overlay = overlay_of(blk);

    for (size_t at = lower_bound(overlay, off / PAGE_SIZE_BYTES); at < overlay->count; at++) {
        const struct page *page = &overlay->pages[at];
        uint64_t start = page->index * PAGE_SIZE_BYTES;
        unsigned first = start < off ? (unsigned)((off - start + OVERLAY_SECTOR - 1) /
                                                  OVERLAY_SECTOR)
                                     : 0;
        unsigned end;

        while (first < PAGE_SECTORS && (page->written & 1 << first) == 0)
            first++;
        if (first >= PAGE_SECTORS)
            continue;
        for (end = first; end < PAGE_SECTORS && (page->written & 1 << end) != 0;)
            end++;
        run->off = start + first * OVERLAY_SECTOR;
        run->length = (end - first) * OVERLAY_SECTOR;
        return true;
    }
    return false;
}

/* Of the sectors in MASK, those where A and B differ. */
static uint8_t differing(uint8_t mask, const uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < PAGE_SECTORS; i++)
        if ((mask & 1 << i) != 0 &&
            memcmp(a + i * OVERLAY_SECTOR, b + i * OVERLAY_SECTOR, OVERLAY_SECTOR) == 0)
            mask &= (uint8_t)~(1 << i);
    return mask;
}

int overlay_drop_unchanged(struct blk *blk, struct chr_error *err)
{
    struct overlay *overlay = overlay_of(blk);
    uint8_t below[PAGE_SIZE_BYTES];
    uint8_t ours[PAGE_SIZE_BYTES];

    for (size_t at = 0; at < overlay->count; at++) {
        struct page *page = &overlay->pages[at];
        uint64_t off = page->index * PAGE_SIZE_BYTES;
        size_t len = (size_t)min_u64(sizeof below, overlay->base->size - off);

        if (blk_read(overlay->base, off, below, len, err) < 0 ||
            (page->bytes == NULL && blk_read(overlay->file, off, ours, sizeof ours, err) < 0))
            return -1;
        page->written = differing(page->written, below, page->bytes != NULL ? page->bytes : ours);
    }
    return 0;
}

uint64_t overlay_changed(const struct blk *blk)
{
    const struct overlay *overlay = (const struct overlay *)blk;
    uint64_t bytes = 0;

    for (size_t at = 0; at < overlay->count; at++)
        bytes += (uint64_t)__builtin_popcount(overlay->pages[at].written) * OVERLAY_SECTOR;
    return bytes;
}
