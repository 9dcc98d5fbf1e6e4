/*
 * What is known of a large folder of an ext, so that thousands of files put into one cost
 * no thousand readings of it: which names it has, and where there is no room left.
 *
 * Names are kept as hashes.  A hash that is missing is a name that is missing; one that is
 * there is looked for in the block where it was last, and if it is not there, in all.
 */
#include "base/bytes.h"
#include "fs/ext_work.h"

enum {
    LARGE = 4,          /* blocks: a smaller folder is read as a whole */
    PLACES_FIRST = 256, /* of the table of names; a power of two */
    SIZE_STEP = 4,      /* an entry is a multiple of that, and no larger than: */
    SIZE_MAX_STEPS = 264 / SIZE_STEP,
};

struct name_place {
    uint64_t hash; /* 0: nothing */
    uint64_t block;
};

struct folder_names {
    struct folder_names *next;
    uint32_t ino;
    struct name_place *places;
    size_t count;
    size_t capacity;
    uint64_t full[SIZE_MAX_STEPS + 1]; /* [n]: blocks at the start without room for 4 n bytes */
};

/* ---- the table of names ---- */

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001B3);
    return hash != 0 ? hash : 1;
}

/* Where HASH is, or the empty place for it. */
static struct name_place *place_of(struct name_place *places, size_t capacity, uint64_t hash)
{
    size_t at = (size_t)hash & (capacity - 1);

    while (places[at].hash != 0 && places[at].hash != hash)
        at = (at + 1) & (capacity - 1);
    return &places[at];
}

static int grow(struct folder_names *names, struct chr_error *err)
{
    size_t capacity = names->capacity != 0 ? 2 * names->capacity : PLACES_FIRST;
    struct name_place *places = mem_new(capacity, sizeof *places, err);

    if (places == NULL)
        return -1;
    for (size_t i = 0; i < names->capacity; i++)
        if (names->places[i].hash != 0)
            *place_of(places, capacity, names->places[i].hash) = names->places[i];
    free(names->places);
    names->places = places;
    names->capacity = capacity;
    return 0;
}

static int add(struct folder_names *names, const char *name, uint64_t block, struct chr_error *err)
{
    uint64_t hash = hash_of(name);
    struct name_place *place;

    if (2 * (names->count + 1) > names->capacity && grow(names, err) < 0)
        return -1;
    place = place_of(names->places, names->capacity, hash);
    names->count += place->hash == 0;
    *place = (struct name_place){hash, block};
    return 0;
}

/* ---- of a folder ---- */

static struct folder_names **find(struct ext_edit *edit, uint32_t ino)
{
    struct folder_names **at = &edit->names;

    while (*at != NULL && (*at)->ino != ino)
        at = &(*at)->next;
    return at;
}

static void release(struct folder_names *names)
{
    free(names->places);
    free(names);
}

struct learning {
    struct folder_names *names;
    uint64_t block;
};

static int learn(void *context, const char *name, uint32_t ino, struct chr_error *err)
{
    struct learning *learning = context;

    (void)ino;
    return add(learning->names, name, learning->block, err);
}

static int learn_all(struct folder *folder, struct folder_names *names, struct chr_error *err)
{
    struct learning learning = {.names = names};

    for (; learning.block < folder->blocks; learning.block++)
        if (folder_walk_block(folder, learning.block, learn, &learning, err) < 0)
            return -1;
    return 0;
}

int names_open(struct folder *folder, struct folder_names **out, struct chr_error *err)
{
    struct folder_names **at = find(folder->edit, folder->ino);

    *out = *at;
    if (*out != NULL || folder->blocks < LARGE)
        return 0;
    *out = mem_new(1, sizeof **out, err);
    if (*out == NULL)
        return -1;
    (*out)->ino = folder->ino;
    if (grow(*out, err) < 0 || learn_all(folder, *out, err) < 0) {
        release(*out);
        return -1;
    }
    *at = *out;
    return 0;
}

void names_forget(struct ext_edit *edit, uint32_t ino)
{
    struct folder_names **at = find(edit, ino);
    struct folder_names *names = *at;

    if (names == NULL)
        return;
    *at = names->next;
    release(names);
}

void names_forget_all(struct ext_edit *edit)
{
    while (edit->names != NULL)
        names_forget(edit, edit->names->ino);
}

bool names_have(const struct folder_names *names, const char *name, uint64_t *block)
{
    const struct name_place *place = place_of(names->places, names->capacity, hash_of(name));

    *block = place->block;
    return place->hash != 0;
}

int names_add(struct folder *folder, const char *name, uint64_t block, struct chr_error *err)
{
    struct folder_names *names = *find(folder->edit, folder->ino);

    return names != NULL ? add(names, name, block, err) : 0;
}

/* ---- room ---- */

uint64_t names_first_room(const struct folder *folder, size_t size)
{
    const struct folder_names *names = *find(folder->edit, folder->ino);
    uint64_t first = 0;

    /* Where a smaller entry does not fit, this one does not either. */
    for (size_t i = 0; names != NULL && i <= size / SIZE_STEP; i++)
        first = max_u64(first, names->full[i]);
    return first;
}

void names_no_room(struct folder *folder, size_t size, uint64_t blocks)
{
    struct folder_names *names = *find(folder->edit, folder->ino);

    if (names != NULL)
        names->full[size / SIZE_STEP] = blocks;
}
