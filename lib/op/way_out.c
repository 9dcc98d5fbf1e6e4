/* Hints that are commands. */
#include "op/way_out.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "vm/text.h"

static char *shell_word(const char *value, struct chr_error *err)
{
    AUTO_TEXT struct text text = {0};
    char *word = NULL;

    text_add_shell_word(&text, value);
    return text_take(&text, &word, err) < 0 ? NULL : word;
}

/* PATH with ENDING (NULL: its own).  Never PATH itself, as a command will write there. */
static char *with_ending(const char *path, const char *ending, struct chr_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    int stem = (int)(dot != NULL && dot > name ? (size_t)(dot - path) : strlen(path));
    int length = ending != NULL ? (int)strlen(ending) : 0;

    if (ending == NULL)
        return mem_strdup(path, err);
    if (stem > length && strncmp(path + stem - length, ending, (size_t)length) == 0)
        return text_new(err, "%.*s", stem, path); /* "chr.img.gz" becomes "chr.img" */
    if (strcmp(path + stem, ending) == 0)
        return text_new(err, "%.*s-new%s", stem, path, ending);
    return text_new(err, "%.*s%s", stem, path, ending);
}

char *way_out_name(const char *path, const char *ending, struct chr_error *err)
{
    AUTO_FREE char *name = with_ending(path, ending, err);

    return name != NULL ? shell_word(name, err) : NULL;
}

/* e2fsck takes a file system inside of a file: "FILE?offset=BYTES". */
static char *at_offset(const char *path, const char *ending, const struct partition *partition,
                       struct chr_error *err)
{
    AUTO_FREE char *name = with_ending(path, ending, err);
    AUTO_FREE char *place =
        name != NULL ? text_new(err, "%s?offset=%" PRIu64, name,
                                partition->first_lba * CHR_SECTOR_SIZE)
                     : NULL;

    return place != NULL ? shell_word(place, err) : NULL;
}

static char *command_for_raw(const struct chr_image *image, const struct partition *partition,
                             struct chr_error *err)
{
    AUTO_FREE char *place = at_offset(image->path, NULL, partition, err);

    return place == NULL ? NULL : text_new(err, "e2fsck -f %s", place);
}

/* By way of a raw image; under new names, so that nothing is lost, snapshots least of all. */
static char *command_for_others(const struct chr_image *image, const struct partition *partition,
                                struct chr_error *err)
{
    AUTO_FREE char *source = way_out_name(image->path, NULL, err);
    AUTO_FREE char *raw = way_out_name(image->path, "-raw.img", err);
    AUTO_FREE char *place = at_offset(image->path, "-raw.img", partition, err);
    AUTO_FREE char *mended = way_out_name(image->path, "-mended.qcow2", err);

    if (source == NULL || raw == NULL || place == NULL || mended == NULL)
        return NULL;
    return text_new(err, "chrimg convert %s %s; e2fsck -f %s; chrimg convert %s %s", source, raw,
                    place, raw, mended);
}

int way_out_by_e2fsck(const struct chr_image *image, const struct partition *partition,
                      struct chr_error *err)
{
    /* An interrupted change that was taken back in memory is still in the file. */
    bool plain = image->format == CHR_FORMAT_RAW && image->undo == NULL;
    bool damaged = err->code == CHR_E_DAMAGED && err->hint[0] == '\0';
    AUTO_FREE char *command = NULL;
    char hint[CHR_HINT_SIZE];
    struct chr_error problem;

    if (!damaged && strstr(err->hint, "e2fsck") == NULL)
        return -1;
    command = plain ? command_for_raw(image, partition, &problem)
                    : command_for_others(image, partition, &problem);
    memcpy(hint, err->hint, sizeof hint);
    /* Half a command is worse than none. */
    if (command == NULL || strlen(hint) + strlen(command) + 3 > sizeof hint)
        return -1;
    return err_hint(err, "%s%s%s", hint, hint[0] != '\0' ? ": " : "", command);
}
