/* chr_place_parse(): "IMG:/PATH", "IMG@TAG:boot:/PATH". */
#include "op/place.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

#define BOOT_PREFIX "boot:"

void chr_place_release(struct chr_place *place)
{
    free(place->image);
    free(place->path);
    *place = (struct chr_place){0};
}

static bool is_folder(const char *name)
{
    struct stat st;

    return stat(name, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_file(const char *name)
{
    return access(name, F_OK) == 0 && !is_folder(name);
}

/* Whether NAME is an image's, as chr_image_open() takes it: a file, or a file before an @. */
static bool is_there(const char *name, struct chr_error *err)
{
    AUTO_FREE char *copy = mem_strdup(name, err);
    bool there = copy != NULL && name[0] != '\0' && is_file(name);

    if (copy == NULL || name[0] == '\0')
        return false;
    for (char *at = strchr(copy + 1, '@'); !there && at != NULL; at = strchr(at + 1, '@')) {
        *at = '\0';
        there = is_file(copy);
        *at = '@';
    }
    return there;
}

/* Whether the colon at P begins a path: ":/...", ":boot:/...", and each without anything. */
static bool begins_path(const char *p)
{
    if (strncmp(p + 1, BOOT_PREFIX, strlen(BOOT_PREFIX)) == 0)
        p += strlen(BOOT_PREFIX);
    return p[1] == '/' || p[1] == '\0';
}

/* "d:/file" where d: is a folder of the host; COLON is the one behind the d. */
static bool is_in_folder(const char *text, const char *colon, struct chr_error *err)
{
    AUTO_FREE char *folder = mem_strdup(text, err);
    const char *slash = strrchr(colon, '/');

    if (folder == NULL || slash == NULL)
        return false;
    folder[slash - text] = '\0';
    return is_folder(folder);
}

/*
 * The colon behind the image: of the first split whose image is there; else the first, unless
 * it is part of a folder's name.
 */
static const char *find_split(const char *text, struct chr_error *err)
{
    const char *first = NULL;

    for (const char *p = strchr(text, ':'); p != NULL; p = strchr(p + 1, ':')) {
        AUTO_FREE char *image = NULL;

        if (!begins_path(p) || p == text)
            continue;
        image = mem_strdup(text, err);
        if (image == NULL)
            return NULL;
        image[p - text] = '\0';
        if (is_there(image, err))
            return p;
        first = first != NULL ? first : p;
    }
    return first != NULL && is_in_folder(text, first, err) ? NULL : first;
}

/* "router.img:rw", as scp(1) has it: neither an image nor a file that anybody would make. */
static int refuse_relative(const char *text, struct chr_error *err)
{
    for (const char *p = strchr(text, ':'); p != NULL; p = strchr(p + 1, ':')) {
        AUTO_FREE char *image = mem_strdup(text, err);

        if (image == NULL)
            return -1;
        image[p - text] = '\0';
        if (!is_there(image, err))
            continue;
        (void)err_set(err, CHR_E_USAGE, "%s: a path in an image begins with a slash", text);
        return err_hint(err, "IMG:/PATH, or IMG:boot:/PATH");
    }
    return 0;
}

int place_normalise(const char *path, const char *given, char *out, struct chr_error *err)
{
    size_t length = 0;

    for (const char *part = path; *part != '\0';) {
        size_t size = strcspn(part, "/");

        if (size == 2 && strncmp(part, "..", 2) == 0) {
            (void)err_set(err, CHR_E_USAGE, "%s: a path in an image has no ..", given);
            return err_hint(err, "name the folder itself");
        }
        if (size > 0 && !(size == 1 && part[0] == '.')) {
            if (length > 0)
                out[length++] = '/';
            memmove(out + length, part, size);
            length += size;
        }
        part += size;
        part += strspn(part, "/");
    }
    out[length] = '\0';
    return 0;
}

static int take_path(const char *path, struct chr_place *place, struct chr_error *err)
{
    place->on_boot = strncmp(path, BOOT_PREFIX, strlen(BOOT_PREFIX)) == 0;
    if (place->on_boot)
        path += strlen(BOOT_PREFIX);
    place->named = true;
    place->wants_folder = path[0] == '\0' || path[strlen(path) - 1] == '/';
    place->path = mem_new(1, strlen(path) + 1, err);
    return place->path == NULL ? -1 : place_normalise(path, path, place->path, err);
}

int chr_place_parse(const char *text, struct chr_place *out, struct chr_error *err)
{
    struct chr_place place = {0};
    const char *split = access(text, F_OK) == 0 ? NULL : find_split(text, err);

    if (split == NULL && !is_there(text, err) && refuse_relative(text, err) < 0)
        return -1;
    place.image = mem_strdup(text, err);
    if (place.image == NULL)
        return -1;
    if (split != NULL)
        place.image[split - text] = '\0';
    if (split == NULL)
        place.path = mem_strdup("", err);
    if ((split == NULL && place.path == NULL) ||
        (split != NULL && take_path(split + 1, &place, err) < 0)) {
        chr_place_release(&place);
        return -1;
    }
    *out = place;
    return 0;
}
