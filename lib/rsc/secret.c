/* Buffers for secrets: anonymous pages, locked, not dumped, wiped. */
#include "rsc/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"

/* No text that we keep is larger, nor is what grows out of it by escapes. */
#define SECRET_MAX (64u << 20)

static void give_back(char *data, size_t capacity)
{
    if (data == NULL)
        return;
    explicit_bzero(data, capacity);
    (void)munmap(data, capacity); /* unlocks, too */
}

int secret_reserve(struct secret *secret, size_t len, struct chr_error *err)
{
    size_t capacity;
    char *data;

    if (len <= secret->capacity)
        return 0;
    if (len > SECRET_MAX)
        return err_set(err, CHR_E_REFUSED, "more than %u MiB of text", SECRET_MAX >> 20);
    capacity = (size_t)round_up(max_u64(len, 2 * secret->capacity),
                                (uint64_t)sysconf(_SC_PAGESIZE));
    data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return err_set(err, CHR_E_MEMORY, "out of memory: could not get %zu bytes", capacity);
    /* Neither is promised: RLIMIT_MEMLOCK may be small, and the bytes are needed all the same. */
    (void)mlock(data, capacity);
    (void)madvise(data, capacity, MADV_DONTDUMP);
    if (secret->len > 0)
        memcpy(data, secret->data, secret->len);
    give_back(secret->data, secret->capacity);
    secret->data = data;
    secret->capacity = capacity;
    return 0;
}

int secret_insert(struct secret *secret, size_t off, const void *bytes, size_t len,
                  struct chr_error *err)
{
    if (len == 0)
        return 0;
    if (len > SECRET_MAX)
        return err_set(err, CHR_E_REFUSED, "more than %u MiB of text", SECRET_MAX >> 20);
    if (secret_reserve(secret, secret->len + len, err) < 0)
        return -1;
    memmove(secret->data + off + len, secret->data + off, secret->len - off);
    memcpy(secret->data + off, bytes, len);
    secret->len += len;
    return 0;
}

int secret_append(struct secret *secret, const void *bytes, size_t len, struct chr_error *err)
{
    if (len > secret->capacity - secret->len)
        return secret_insert(secret, secret->len, bytes, len, err);
    if (len > 0) /* there may be no buffer yet */
        memcpy(secret->data + secret->len, bytes, len);
    secret->len += len;
    return 0;
}

int secret_append_text(struct secret *secret, const char *text, struct chr_error *err)
{
    return secret_append(secret, text, strlen(text), err);
}

int secret_read(struct secret *secret, int fd, size_t limit, const char *what,
                struct chr_error *err)
{
    size_t start = secret->len;

    for (;;) {
        size_t rest;
        ssize_t n;

        /* One byte more than allowed, so that a longer input is noticed. */
        if (secret_reserve(secret, secret->len + 1, err) < 0)
            return -1;
        rest = limit + 1 - (secret->len - start);
        n = read(fd, secret->data + secret->len,
                 (size_t)min_u64(secret->capacity - secret->len, rest));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read %s", what);
        if (n == 0)
            return 0;
        secret->len += (size_t)n;
        if (secret->len - start > limit)
            return err_set(err, CHR_E_REFUSED, "%s is larger than %zu KiB", what, limit >> 10);
    }
}

void secret_release(struct secret *secret)
{
    give_back(secret->data, secret->capacity);
    *secret = (struct secret){0};
}
