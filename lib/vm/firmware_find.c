/* Which firmware is there: folders of descriptors, known paths, and what the user names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vm/firmware.h"

/* ---- files ---- */

#define FIRMWARE_SIZE_MAX (256u * 1024 * 1024) /* a pflash unit has 64 MiB at most */

/* Virtual size of the file; 0 when it is not there, no file, or of no sensible size. */
static uint64_t firmware_size(const char *path, bool is_qcow2)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat stat;
    uint64_t size;

    if (fd < 0 || fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode))
        return 0;
    size = (uint64_t)stat.st_size;
    if (is_qcow2) {
        uint8_t header[32]; /* magic at 0, virtual size at 24; docs/interop/qcow2.txt */

        if (read(fd, header, sizeof header) != sizeof header || be32(header) != 0x514649FB)
            return 0;
        size = be64(header + 24);
    }
    return size <= FIRMWARE_SIZE_MAX ? size : 0;
}

static bool measure(struct vm_firmware *firmware)
{
    firmware->code_size = firmware_size(firmware->code, firmware->code_is_qcow2);
    if (firmware->vars[0] != '\0')
        firmware->vars_size = firmware_size(firmware->vars, firmware->vars_is_qcow2);
    return firmware->code_size > 0 && (firmware->vars[0] == '\0' || firmware->vars_size > 0);
}

/* From BEFORE on, only what is there stays. */
static void drop_missing(struct vm_firmwares *list, size_t before)
{
    size_t kept = before;

    for (size_t i = before; i < list->count; i++)
        if (measure(&list->items[i]))
            list->items[kept++] = list->items[i];
    list->count = kept;
}

/* ---- descriptors ---- */

struct descriptor {
    char name[256];
    unsigned folder; /* index: the smaller one hides the larger */
};

struct descriptors {
    struct descriptor *items;
    size_t count;
    size_t capacity;
};

static int by_name(const void *a_, const void *b_)
{
    const struct descriptor *a = a_;
    const struct descriptor *b = b_;
    int order = strcmp(a->name, b->name);

    return order != 0 ? order : (a->folder > b->folder) - (a->folder < b->folder);
}

static bool is_descriptor_name(const char *name)
{
    size_t length = strlen(name);

    return name[0] != '.' && length > 5 && length < 256 && strcmp(name + length - 5, ".json") == 0;
}

static int list_folder(const char *path, unsigned folder, struct descriptors *found,
                       struct chr_error *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int result = 0;

    if (dir == NULL)
        return 0;
    while (result == 0 && found->count < VM_DESCRIPTORS_MAX && (entry = readdir(dir)) != NULL) {
        if (!is_descriptor_name(entry->d_name))
            continue;
        result = mem_grow(&found->items, &found->capacity, found->count, sizeof *found->items, err);
        if (result == 0) {
            struct descriptor *item = &found->items[found->count++];

            (void)snprintf(item->name, sizeof item->name, "%s", entry->d_name);
            item->folder = folder;
        }
    }
    (void)closedir(dir);
    return result;
}

/* The bytes of a descriptor; 0 for an empty or unreadable one, and one too large is cut above the
 * limit, so that the parser refuses it. */
static size_t read_descriptor(const char *path, char *text)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t length = 0;
    ssize_t got;

    if (fd < 0)
        return 0;
    while (length <= VM_DESCRIPTOR_SIZE_MAX &&
           (got = read(fd, text + length, VM_DESCRIPTOR_SIZE_MAX + 1 - length)) > 0)
        length += (size_t)got;
    return length;
}

static int read_listed(const char *const *folders, const struct descriptors *found,
                       struct vm_firmwares *list, struct chr_error *err)
{
    AUTO_FREE char *text = mem_new(1, VM_DESCRIPTOR_SIZE_MAX + 1, err);

    if (text == NULL)
        return -1;
    for (size_t i = 0; i < found->count; i++) {
        const struct descriptor *item = &found->items[i];
        char path[VM_PATH_SIZE];
        size_t length;

        if (i > 0 && strcmp(item->name, found->items[i - 1].name) == 0)
            continue; /* hidden by the folder that comes first */
        if (snprintf(path, sizeof path, "%s/%s", folders[item->folder], item->name) >=
            (int)sizeof path)
            continue;
        length = read_descriptor(path, text);
        if (length > 0 && vm_firmware_parse(text, length, path, list, err) < 0 &&
            err->code != CHR_E_DAMAGED)
            return -1;
    }
    return 0;
}

int vm_firmware_read(const char *const *folders, size_t folder_count, struct vm_firmwares *list,
                     struct chr_error *err)
{
    struct descriptors found = {0};
    size_t before = list->count;
    int result = 0;

    for (size_t i = 0; i < folder_count && result == 0; i++)
        result = list_folder(folders[i], (unsigned)i, &found, err);
    if (result == 0 && found.count > 0) {
        qsort(found.items, found.count, sizeof *found.items, by_name);
        result = read_listed(folders, &found, list, err);
    }
    free(found.items);
    drop_missing(list, before);
    return result;
}

/* ---- known paths ---- */

static const struct known {
    const char *arch;
    const char *code;
    const char *vars; /* NULL: none is shipped */
} known_paths[] = {
    /* Debian, Ubuntu */
    {"x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
    {"x86_64", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
    {"aarch64", "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
    {"aarch64", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
    /* Fedora */
    {"x86_64", "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"},
    {"x86_64", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
    {"aarch64", "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
     "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
    {"aarch64", "/usr/share/edk2/aarch64/QEMU_EFI-pflash.qcow2",
     "/usr/share/edk2/aarch64/vars-template-pflash.qcow2"},
    /* Arch */
    {"x86_64", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
    {"x86_64", "/usr/share/edk2/x64/OVMF_CODE.fd", "/usr/share/edk2/x64/OVMF_VARS.fd"},
    {"aarch64", "/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
    {"aarch64", "/usr/share/edk2-armvirt/aarch64/QEMU_CODE.fd",
     "/usr/share/edk2-armvirt/aarch64/QEMU_VARS.fd"},
    /* Homebrew on Apple Silicon and on Intel */
    {"x86_64", "/opt/homebrew/share/qemu/edk2-x86_64-code.fd",
     "/opt/homebrew/share/qemu/edk2-i386-vars.fd"},
    {"aarch64", "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
     "/opt/homebrew/share/qemu/edk2-arm-vars.fd"},
    {"x86_64", "/usr/local/share/qemu/edk2-x86_64-code.fd",
     "/usr/local/share/qemu/edk2-i386-vars.fd"},
    {"aarch64", "/usr/local/share/qemu/edk2-aarch64-code.fd",
     "/usr/local/share/qemu/edk2-arm-vars.fd"},
    /* what QEMU itself installs */
    {"x86_64", "/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"},
    {"aarch64", "/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"},
    /* 2 MiB without variables: padded to the size of a pflash unit, and blank variables beside it */
    {"aarch64", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", NULL},
    {"aarch64", "/usr/share/edk2/aarch64/QEMU_EFI.fd", NULL},
};

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* What is beside code without variables: aarch64's formats blank ones, x86_64's does without. */
static enum vm_firmware_mode mode_of(const char *arch, const char *vars)
{
    return vars[0] != '\0' || strcmp(arch, "aarch64") == 0 ? VM_FIRMWARE_SPLIT
                                                          : VM_FIRMWARE_STATELESS;
}

static void fill(struct vm_firmware *firmware, const char *arch, const char *root,
                 const char *code, const char *vars)
{
    *firmware = (struct vm_firmware){0};
    (void)snprintf(firmware->arch, sizeof firmware->arch, "%s", arch);
    (void)snprintf(firmware->code, sizeof firmware->code, "%s%s", root, code);
    if (vars != NULL)
        (void)snprintf(firmware->vars, sizeof firmware->vars, "%s%s", root, vars);
    firmware->code_is_qcow2 = ends_with(firmware->code, ".qcow2");
    firmware->vars_is_qcow2 = ends_with(firmware->vars, ".qcow2");
    firmware->mode = mode_of(arch, firmware->vars);
}

static int append(struct vm_firmwares *list, const struct vm_firmware *firmware,
                  struct chr_error *err)
{
    if (mem_grow(&list->items, &list->capacity, list->count, sizeof *list->items, err) < 0)
        return -1;
    list->items[list->count++] = *firmware;
    return 0;
}

int vm_firmware_known(const char *root, struct vm_firmwares *list, struct chr_error *err)
{
    AUTO_FREE struct vm_firmware *firmware = mem_new(1, sizeof *firmware, err);

    if (firmware == NULL)
        return -1;
    for (size_t i = 0; i < sizeof known_paths / sizeof known_paths[0]; i++) {
        fill(firmware, known_paths[i].arch, root, known_paths[i].code, known_paths[i].vars);
        if (measure(firmware) && append(list, firmware, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what the user names ---- */

static int resolve(const char *path, char *out, struct chr_error *err)
{
    AUTO_FREE char *absolute = realpath(path, NULL);

    if (absolute == NULL) {
        (void)err_errno(err, errno, "firmware %s", path);
        return err_hint(err, "--firmware is CODE or CODE,VARS, which are files; chrimg doctor shows what "
                        "is found without it");
    }
    if (strlen(absolute) >= VM_PATH_SIZE)
        return err_set(err, CHR_E_USAGE, "firmware %s: its path is longer than %d bytes", path,
                       VM_PATH_SIZE - 1);
    memcpy(out, absolute, strlen(absolute) + 1);
    return 0;
}

/* QEMU is told the format, so it must not be guessed by the name alone. */
static bool is_qcow2_file(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t magic[4];

    return fd >= 0 && read(fd, magic, sizeof magic) == sizeof magic && be32(magic) == 0x514649FB;
}

/* A known pair of code and variables, for code that is named alone. */
static const struct vm_firmware *pair_of(const struct vm_firmwares *list,
                                         const struct vm_firmware *given)
{
    for (size_t i = 0; i < list->count; i++) {
        AUTO_FREE char *code = realpath(list->items[i].code, NULL);

        if (code != NULL && list->items[i].vars[0] != '\0' && !list->items[i].enrolled_keys &&
            strcmp(code, given->code) == 0)
            return &list->items[i];
    }
    return NULL;
}

int vm_firmware_given(const char *code, const char *vars, const char *arch,
                      struct vm_firmwares *list, struct chr_error *err)
{
    AUTO_FREE struct vm_firmware *firmware = mem_new(1, sizeof *firmware, err);
    const struct vm_firmware *pair;

    if (firmware == NULL || resolve(code, firmware->code, err) < 0 ||
        (vars != NULL && resolve(vars, firmware->vars, err) < 0))
        return -1;
    (void)snprintf(firmware->arch, sizeof firmware->arch, "%s", arch);
    pair = vars == NULL ? pair_of(list, firmware) : NULL;
    if (pair != NULL)
        memcpy(firmware->vars, pair->vars, sizeof firmware->vars);
    firmware->code_is_qcow2 = is_qcow2_file(firmware->code);
    firmware->vars_is_qcow2 = firmware->vars[0] != '\0' && is_qcow2_file(firmware->vars);
    firmware->mode = mode_of(arch, firmware->vars);
    firmware->given = true;
    if (!measure(firmware))
        return err_set(err, CHR_E_REFUSED, "firmware %s: empty, larger than 256 MiB, or no file",
                       firmware->code_size == 0 ? code : vars != NULL ? vars : firmware->vars);
    if (append(list, firmware, err) < 0)
        return -1;
    memmove(list->items + 1, list->items, (list->count - 1) * sizeof *list->items);
    list->items[0] = *firmware;
    return 0;
}
