/* chr_find_image(): the image that is meant when none is named. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "op/analysis.h"
#include "op/image.h"

#define ENVIRONMENT "CHRIMG_IMAGE"

static bool has_ending(const char *name)
{
    size_t length = strlen(name);

    return name[0] != '.' && length > 6 && strcasecmp(name + length - 6, ".qcow2") == 0;
}

/* A disk whose boot partition can be read and holds a loader, or whose second one is ext: enough. */
static bool holds_chr(const char *path)
{
    AUTO_IMAGE struct chr_image *image = NULL;
    AUTO_ANALYSIS struct analysis *analysis = NULL;
    struct chr_error ignored;

    return chr_image_open(path, CHR_OPEN_FORCE_SHARE, &image, &ignored) == 0 &&
           analyse(image->disk, &analysis, &ignored) == 0 && analysis->readable &&
           (analysis->loader != NULL || analysis->contents == CHR_CONTENTS_EXT);
}

struct candidates {
    unsigned count;
    char first[256];
    char list[400]; /* "a.qcow2, b.qcow2" */
};

static void add_candidate(struct candidates *found, const char *name)
{
    size_t length = strlen(found->list);

    if (found->count++ == 0)
        (void)snprintf(found->first, sizeof found->first, "%s", name);
    (void)snprintf(found->list + length, sizeof found->list - length, "%s%s",
                   length > 0 ? ", " : "", name);
}

static int search_folder(struct candidates *found, struct chr_error *err)
{
    DIR *folder = opendir(".");
    const struct dirent *entry;

    if (folder == NULL)
        return err_errno(err, errno, "cannot read the current folder");
    while ((entry = readdir(folder)) != NULL)
        if (has_ending(entry->d_name) && holds_chr(entry->d_name))
            add_candidate(found, entry->d_name);
    (void)closedir(folder);
    return 0;
}

int chr_find_image(char *path, size_t size, struct chr_error *err)
{
    const char *named = getenv(ENVIRONMENT);
    struct candidates found = {0};

    if (named != NULL && named[0] != '\0') {
        (void)snprintf(path, size, "%s", named);
        return 0;
    }
    if (search_folder(&found, err) < 0)
        return -1;
    if (found.count == 1) {
        (void)snprintf(path, size, "%s", found.first);
        return 0;
    }
    if (found.count == 0)
        (void)err_set(err, CHR_E_MISSING, "no *.qcow2 in the current folder holds a CHR");
    else
        (void)err_set(err, CHR_E_MISSING, "%u images could be meant: %s", found.count, found.list);
    return err_hint(err, "name the image, or set " ENVIRONMENT);
}
