/* Package heads; the format is in the header. */
#include "fs/npk.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"

enum {
    OFF_PART_TYPE = 8,
    OFF_PART_LENGTH = 10,
    OFF_INFO = 14,
    INFO_SIZE = 32,
    INFO_NAME_SIZE = 16,
    INFO_REVISION = 16,
    INFO_BUILD = 17,
    INFO_MINOR = 18,
    INFO_MAJOR = 19,
    INFO_TIME = 20,
    PART_INFO = 1,

    BUILD_ALPHA = 97,
    BUILD_BETA = 98,
    BUILD_RC = 99,
    BUILD_FINAL = 102,
};

static const uint8_t magic[4] = {0x1E, 0xF1, 0xD0, 0xBA};

/* "7.20rc2" for what precedes a release, "7.19" and "7.19.4" for releases. */
static void version_text(const uint8_t *info, char *out)
{
    unsigned revision = info[INFO_REVISION];
    const char *kind = info[INFO_BUILD] == BUILD_ALPHA  ? "alpha"
                       : info[INFO_BUILD] == BUILD_BETA ? "beta"
                       : info[INFO_BUILD] == BUILD_RC   ? "rc"
                                                        : ".";
    int length = snprintf(out, NPK_VERSION_SIZE, "%u.%u", info[INFO_MAJOR], info[INFO_MINOR]);

    if (info[INFO_BUILD] != BUILD_FINAL || revision != 0)
        (void)snprintf(out + length, NPK_VERSION_SIZE - (size_t)length, "%s%u", kind, revision);
}

int npk_decode(const uint8_t *head, size_t len, struct npk *out, struct chr_error *err)
{
    const uint8_t *info = head + OFF_INFO;
    struct npk npk = {0};

    if (len < NPK_HEAD_SIZE || memcmp(head, magic, sizeof magic) != 0)
        return err_set(err, CHR_E_DAMAGED, "not a RouterOS package: no NPK magic");
    if (le16(head + OFF_PART_TYPE) != PART_INFO || le32(head + OFF_PART_LENGTH) != INFO_SIZE)
        return err_set(err, CHR_E_DAMAGED, "package: its first part has type %u and %" PRIu32
                       " bytes, not 1 and 32", le16(head + OFF_PART_TYPE),
                       le32(head + OFF_PART_LENGTH));
    memcpy(npk.name, info, INFO_NAME_SIZE);
    for (const char *p = npk.name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("-_.+", *p) == NULL)
            return err_set(err, CHR_E_DAMAGED, "package: its name holds the byte %02x",
                           (unsigned char)*p);
    npk.major = info[INFO_MAJOR];
    npk.minor = info[INFO_MINOR];
    npk.build_time = le32(info + INFO_TIME);
    version_text(info, npk.version);
    *out = npk;
    return 0;
}
