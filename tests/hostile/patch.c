/*
 * patch: change named fields of a disk image, to make a hostile one of a good one.
 *
 *   patch IMAGE PLACE=VALUE...
 *
 * Each change is printed as "PLACE: old -> new".  One that changes nothing is an
 * error: an image that is no worse than before would prove nothing.  CRCs of a GPT
 * copy are mended after changes to it, so that the field itself is what is wrong;
 * the fields `crc` and `entries_crc` are set last and stay as they are given (the
 * header's CRC is right for a wrong `entries_crc`).
 *
 * Places:
 *   mbr.signature, mbrN.status|type|first|sectors         N: 1-4
 *   gpt.FIELD, gptN.FIELD, bak.FIELD, bakN.FIELD           primary and backup, N: 1-128
 *   sb.FIELD, gd.FIELD, inodeN.FIELD                       ext of the boot partition
 *   root.FIELD                                             superblock of the second partition
 *   blockN+OFF:WIDTH                                       ext block N, byte OFF
 *   bpb.FIELD, fatN, fataN                                 FAT entry N in both copies, in the first
 *   p1+OFF:WIDTH, p2+OFF:WIDTH, disk+OFF:WIDTH             bytes of a partition, or of the file
 * WIDTH is 8, 16, 32 or 64 (bits, little-endian).  VALUE is a number (0x..., -1), or
 * 'TEXT for the characters of TEXT as they are.
 *
 * The boot partition is where MBR entry 1 says, the second where entry 2 says, before
 * any change.  Fields are at the offsets of the formats' own documents; nothing here
 * is shared with the library.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;

    fputs("patch: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

struct field {
    const char *name;
    unsigned off;
    unsigned bits;
};

static const struct field mbr_fields[] = {
    {"signature", 510, 16},
    {NULL, 0, 0},
};

static const struct field mbr_entry_fields[] = {
    {"status", 0, 8}, {"type", 4, 8}, {"first", 8, 32}, {"sectors", 12, 32}, {NULL, 0, 0},
};

/* UEFI 2.10, table 5-5 */
static const struct field gpt_fields[] = {
    {"signature", 0, 64},    {"revision", 8, 32},    {"header_size", 12, 32},
    {"crc", 16, 32},         {"own", 24, 64},        {"other", 32, 64},
    {"first_usable", 40, 64}, {"last_usable", 48, 64}, {"entries", 72, 64},
    {"count", 80, 32},       {"entry_size", 84, 32}, {"entries_crc", 88, 32},
    {NULL, 0, 0},
};

/* UEFI 2.10, table 5-6 */
static const struct field gpt_entry_fields[] = {
    {"type", 0, 64}, {"first", 32, 64}, {"last", 40, 64}, {"attributes", 48, 64},
    {"name", 56, 64}, {NULL, 0, 0},
};

/* Linux kernel, Documentation/filesystems/ext4/super.rst */
static const struct field ext_super_fields[] = {
    {"inodes", 0, 32},            {"blocks", 4, 32},       {"free_blocks", 12, 32},
    {"free_inodes", 16, 32},      {"first_data_block", 20, 32}, {"log_block_size", 24, 32},
    {"log_cluster_size", 28, 32}, {"blocks_per_group", 32, 32}, {"clusters_per_group", 36, 32},
    {"inodes_per_group", 40, 32}, {"magic", 56, 16},       {"state", 58, 16},
    {"revision", 76, 32},         {"first_inode", 84, 32}, {"inode_size", 88, 16},
    {"compat", 92, 32},           {"incompat", 96, 32},    {"ro_compat", 100, 32},
    {"label", 120, 64},           {"journal_inode", 224, 32}, {"desc_size", 254, 16},
    {"first_meta_bg", 260, 32},   {NULL, 0, 0},
};

/* .../group_descr.rst */
static const struct field ext_group_fields[] = {
    {"block_bitmap", 0, 32}, {"inode_bitmap", 4, 32}, {"inode_table", 8, 32},
    {"free_blocks", 12, 16}, {"free_inodes", 14, 16}, {NULL, 0, 0},
};

/* .../inodes.rst */
static const struct field ext_inode_fields[] = {
    {"mode", 0, 16},     {"size", 4, 32},      {"links", 26, 16},   {"sectors", 28, 32},
    {"flags", 32, 32},   {"block0", 40, 32},   {"block1", 44, 32},  {"block11", 84, 32},
    {"ind", 88, 32},     {"dind", 92, 32},     {"tind", 96, 32},    {"size_high", 108, 32},
    {"extent_magic", 40, 16}, {"extent_entries", 42, 16}, {"extent_depth", 46, 16},
    {"extent_first", 52, 32}, {"extent_len", 56, 16}, {"extent_start", 60, 32},
    {NULL, 0, 0},
};

/* FATGEN103, "Boot Sector and BPB" */
static const struct field bpb_fields[] = {
    {"jump", 0, 8},          {"sector_size", 11, 16},   {"cluster_sectors", 13, 8},
    {"reserved", 14, 16},    {"fats", 16, 8},           {"root_entries", 17, 16},
    {"sectors16", 19, 16},   {"media", 21, 8},          {"fat_sectors", 22, 16},
    {"sectors32", 32, 32},   {"signature", 510, 16},    {NULL, 0, 0},
};

static struct {
    int fd;
    uint64_t size;
    uint64_t boot;   /* byte offset of partition 1 */
    uint64_t second; /* ... and of partition 2 */
    uint64_t backup; /* byte offset of the GPT's backup header; 0: none */
    bool seal_primary;
    bool seal_backup;
} image;

static void image_read(uint64_t off, uint8_t *buffer, size_t len)
{
    if (pread(image.fd, buffer, len, (off_t)off) != (ssize_t)len)
        die("cannot read at byte %" PRIu64, off);
}

static void image_write(uint64_t off, const uint8_t *buffer, size_t len)
{
    if (off > image.size || len > image.size - off)
        die("byte %" PRIu64 " is outside the image", off);
    if (pwrite(image.fd, buffer, len, (off_t)off) != (ssize_t)len)
        die("cannot write at byte %" PRIu64, off);
}

static uint64_t get(const uint8_t *p, unsigned bits)
{
    uint64_t value = 0;

    for (unsigned i = bits / 8; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static uint64_t image_get(uint64_t off, unsigned bits)
{
    uint8_t bytes[8];

    image_read(off, bytes, bits / 8);
    return get(bytes, bits);
}

static void image_put(uint64_t off, unsigned bits, uint64_t value)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < bits / 8; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    image_write(off, bytes, bits / 8);
}

/* ---- GPT seals ---- */

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

/* The CRC of the entries covers what the header claims, as far as the image goes. */
static void seal_entries(uint64_t header)
{
    uint64_t entries = image_get(header + 72, 64) * SECTOR;
    uint64_t len = image_get(header + 80, 32) * image_get(header + 84, 32);

    if (len <= 1 << 20 && entries < image.size && len <= image.size - entries) {
        uint8_t *table = malloc(len + 1);

        if (table == NULL)
            die("out of memory");
        image_read(entries, table, len);
        image_put(header + 88, 32, crc32_of(table, len));
        free(table);
    }
}

static void seal_header(uint64_t header)
{
    uint8_t sector[SECTOR];
    uint32_t header_size = (uint32_t)image_get(header + 12, 32);

    image_put(header + 16, 32, 0);
    image_read(header, sector, sizeof sector);
    image_put(header + 16, 32,
              crc32_of(sector, header_size <= SECTOR ? header_size : SECTOR));
}

/* ---- places ---- */

struct place {
    uint64_t off;
    unsigned bits;
};

static struct place field_at(const struct field *fields, const char *name, uint64_t base)
{
    for (; fields->name != NULL; fields++)
        if (strcmp(fields->name, name) == 0)
            return (struct place){base + fields->off, fields->bits};
    die("no field %s", name);
}

static uint64_t block_size(void)
{
    return 1024ull << image_get(image.boot + 1024 + 24, 32);
}

static uint64_t group_descriptor(void)
{
    uint64_t first_data_block = image_get(image.boot + 1024 + 20, 32);

    return image.boot + (first_data_block + 1) * block_size();
}

/* One block group is all that boot partitions have. */
static uint64_t inode_at(unsigned long number)
{
    uint64_t table = image_get(group_descriptor() + 8, 32);
    uint64_t size = image_get(image.boot + 1024 + 88, 16);

    return image.boot + table * block_size() + (number - 1) * size;
}

static struct place gpt_place(const char *field, unsigned long index, uint64_t header, bool *sealed)
{
    uint64_t entries;

    if (header == 0)
        die("there is no such copy of the GPT");
    if (index == 0) {
        if (strcmp(field, "crc") != 0)
            *sealed = true;
        return field_at(gpt_fields, field, header);
    }
    *sealed = true;
    entries = image_get(header + 72, 64) * SECTOR;
    return field_at(gpt_entry_fields, field, entries + (index - 1) * 128);
}

static struct place fat_place(unsigned long index, unsigned copy)
{
    uint64_t reserved = image_get(image.boot + 14, 16);
    uint64_t fat_sectors = image_get(image.boot + 22, 16);

    return (struct place){image.boot + (reserved + copy * fat_sectors) * SECTOR + 2 * index, 16};
}

/* NAME[INDEX].FIELD, NAME[INDEX]+OFF:WIDTH, or NAME INDEX alone. */
static struct place resolve(const char *text)
{
    char name[32] = "";
    char field[64] = "";
    unsigned long index = 0;
    uint64_t off = 0;
    unsigned bits = 0;
    const char *p = text;
    size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz");

    if ((strncmp(p, "p1+", 3) == 0 || strncmp(p, "p2+", 3) == 0))
        len = 2;
    if (len == 0 || len >= sizeof name)
        die("no place %s", text);
    memcpy(name, p, len);
    p += len;
    /* strtoul would take the + of an offset for a sign. */
    if (*p >= '0' && *p <= '9')
        index = strtoul(p, (char **)&p, 10);
    if (*p == '+') {
        if (sscanf(p, "+%" SCNi64 ":%u", (int64_t *)&off, &bits) != 2 ||
            (bits != 8 && bits != 16 && bits != 32 && bits != 64))
            die("%s: wants +OFFSET:WIDTH", text);
    } else if (*p == '.') {
        (void)snprintf(field, sizeof field, "%s", p + 1);
    } else if (*p != '\0') {
        die("no place %s", text);
    }

    if (strcmp(name, "disk") == 0)
        return (struct place){off, bits};
    if (strcmp(name, "p1") == 0)
        return (struct place){image.boot + off, bits};
    if (strcmp(name, "p2") == 0)
        return (struct place){image.second + off, bits};
    if (strcmp(name, "block") == 0)
        return (struct place){image.boot + index * block_size() + off, bits};
    if (strcmp(name, "fat") == 0 || strcmp(name, "fata") == 0)
        return fat_place(index, 0);
    if (strcmp(name, "mbr") == 0)
        return index == 0 ? field_at(mbr_fields, field, 0)
                          : field_at(mbr_entry_fields, field, 446 + 16 * (index - 1));
    if (strcmp(name, "gpt") == 0)
        return gpt_place(field, index, SECTOR, &image.seal_primary);
    if (strcmp(name, "bak") == 0)
        return gpt_place(field, index, image.backup, &image.seal_backup);
    if (strcmp(name, "sb") == 0)
        return field_at(ext_super_fields, field, image.boot + 1024);
    if (strcmp(name, "root") == 0)
        return field_at(ext_super_fields, field, image.second + 1024);
    if (strcmp(name, "gd") == 0)
        return field_at(ext_group_fields, field, group_descriptor());
    if (strcmp(name, "inode") == 0)
        return field_at(ext_inode_fields, field, inode_at(index));
    if (strcmp(name, "bpb") == 0)
        return field_at(bpb_fields, field, image.boot);
    die("no place %s", text);
}

static void put_text(const char *name, struct place place, const char *value)
{
    size_t len = strlen(value);
    uint8_t old[256];

    if (len == 0 || len > sizeof old)
        die("%s: text of 1 to %zu bytes", name, sizeof old);
    image_read(place.off, old, len);
    if (memcmp(old, value, len) == 0)
        die("%s is \"%s\" already", name, value);
    image_write(place.off, (const uint8_t *)value, len);
    printf("%s: -> \"%s\"\n", name, value);
}

static void put_number(const char *name, struct place place, const char *value)
{
    char *end;
    uint64_t mask = place.bits == 64 ? UINT64_MAX : (1ull << place.bits) - 1;
    uint64_t new = (value[0] == '-' ? (uint64_t)strtoll(value, &end, 0)
                                    : strtoull(value, &end, 0)) & mask;
    uint64_t old = image_get(place.off, place.bits);

    if (*value == '\0' || *end != '\0')
        die("%s: %s is no number", name, value);
    if (old == new)
        die("%s is 0x%" PRIx64 " already", name, old);
    image_put(place.off, place.bits, new);
    printf("%s: 0x%" PRIx64 " -> 0x%" PRIx64 "\n", name, old, new);
}

enum edit_kind { NOT_A_CRC, ENTRIES_CRC, HEADER_CRC };

static enum edit_kind kind_of(const char *edit)
{
    if (strstr(edit, ".entries_crc=") != NULL)
        return ENTRIES_CRC;
    return strstr(edit, ".crc=") != NULL ? HEADER_CRC : NOT_A_CRC;
}

static void apply(const char *edit)
{
    const char *equals = strchr(edit, '=');
    char *name;
    struct place place;

    if (equals == NULL)
        die("%s: wants PLACE=VALUE", edit);
    name = strndup(edit, (size_t)(equals - edit));
    if (name == NULL)
        die("out of memory");
    place = resolve(name);
    if (equals[1] == '\'')
        put_text(name, place, equals + 2);
    else
        put_number(name, place, equals + 1);
    /* "fatN" means both copies of the table. */
    if (strncmp(name, "fat", 3) == 0 && name[3] != 'a')
        put_number(name, fat_place(strtoul(name + 3, NULL, 10), 1), equals + 1);
    free(name);
}

/* Make those of the changes (up to a NULL) that are of that kind. */
static void apply_all(char **edits, enum edit_kind kind)
{
    for (; *edits != NULL; edits++)
        if (kind_of(*edits) == kind)
            apply(*edits);
}

static void image_open(const char *path)
{
    struct stat stat;

    image.fd = open(path, O_RDWR | O_CLOEXEC);
    if (image.fd < 0 || fstat(image.fd, &stat) < 0)
        die("cannot open %s", path);
    image.size = (uint64_t)stat.st_size;
    image.boot = image_get(446 + 8, 32) * SECTOR;
    image.second = image_get(446 + 16 + 8, 32) * SECTOR;
    if (image_get(SECTOR, 64) == 0x5452415020494645) /* "EFI PART" */
        image.backup = image_get(SECTOR + 32, 64) * SECTOR;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: patch IMAGE PLACE=VALUE...");
    image_open(argv[1]);
    /* The header's CRC covers that of the entries, so they come one after the other. */
    apply_all(argv + 2, NOT_A_CRC);
    if (image.seal_primary)
        seal_entries(SECTOR);
    if (image.seal_backup)
        seal_entries(image.backup);
    apply_all(argv + 2, ENTRIES_CRC);
    if (image.seal_primary)
        seal_header(SECTOR);
    if (image.seal_backup)
        seal_header(image.backup);
    apply_all(argv + 2, HEADER_CRC);
    if (close(image.fd) < 0)
        die("cannot write %s", argv[1]);
    return 0;
}
