/* PE and bzImage headers of the loader. */
#include "fs/kernel.h"

#include <inttypes.h>

#include "base/bytes.h"

enum {
    MZ_PE_OFFSET = 0x3C,
    BZ_SETUP_SECTS = 0x1F1,
    BZ_SYSSIZE = 0x1F4,
    BZ_BOOT_FLAG = 0x1FE,
    BZ_MAGIC = 0x202,

    COFF_MACHINE = 4, /* from the "PE\0\0" signature on */
    COFF_SECTION_COUNT = 6,
    COFF_OPTIONAL_SIZE = 20,
    COFF_SIZE = 24,

    OPTIONAL_MAGIC_32 = 0x10B,
    OPTIONAL_MAGIC_64 = 0x20B,
    OPTIONAL_SUBSYSTEM = 68,
    OPTIONAL_DIRECTORIES_32 = 96,
    OPTIONAL_DIRECTORIES_64 = 112,
    DIRECTORY_CERTIFICATES = 4,
    DIRECTORY_SIZE = 8,

    SUBSYSTEM_EFI_APPLICATION = 10,

    SECTION_SIZE = 40,
    SECTION_RAW_SIZE = 16,
    SECTION_RAW_OFFSET = 20,
    /* The PE loader of Windows takes 96 at the most. */
    MAX_SECTIONS = 96,
};

bool kernel_probe(const uint8_t *head)
{
    return head[0] == 'M' && head[1] == 'Z';
}

static bool is_bzimage(const uint8_t *head, size_t len)
{
    return len >= BZ_MAGIC + 4 && memcmp(head + BZ_MAGIC, "HdrS", 4) == 0 &&
           le16(head + BZ_BOOT_FLAG) == 0xAA55;
}

/* boot.rst: setup_sects 0 means 4; the boot sector comes on top; syssize counts 16 bytes. */
static uint64_t bzimage_size(const uint8_t *head)
{
    uint64_t setup = head[BZ_SETUP_SECTS] != 0 ? head[BZ_SETUP_SECTS] : 4;

    return (setup + 1) * 512 + (uint64_t)le32(head + BZ_SYSSIZE) * 16;
}

/* The certificate table lies behind the sections, and is given as a file offset. */
static uint64_t certificates_end(const uint8_t *optional, size_t size)
{
    size_t directories = le16(optional) == OPTIONAL_MAGIC_64 ? OPTIONAL_DIRECTORIES_64
                                                             : OPTIONAL_DIRECTORIES_32;
    size_t at = directories + DIRECTORY_CERTIFICATES * DIRECTORY_SIZE;

    if (size < at + DIRECTORY_SIZE || le32(optional + directories - 4) <= DIRECTORY_CERTIFICATES ||
        le32(optional + at + 4) == 0)
        return 0;
    return (uint64_t)le32(optional + at) + le32(optional + at + 4);
}

static uint64_t sections_end(const uint8_t *section, unsigned count)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < count; i++, section += SECTION_SIZE)
        if (le32(section + SECTION_RAW_SIZE) != 0)
            end = max_u64(end, (uint64_t)le32(section + SECTION_RAW_OFFSET) +
                                   le32(section + SECTION_RAW_SIZE));
    return end;
}

int kernel_decode(const uint8_t *head, size_t len, struct kernel *out, struct chr_error *err)
{
    uint32_t pe = len >= 64 ? le32(head + MZ_PE_OFFSET) : 0;
    const uint8_t *coff = head + pe;
    unsigned sections;
    size_t optional_size;
    uint64_t load_size;
    uint64_t size;

    if (len < 512 || !kernel_probe(head))
        return err_set(err, CHR_E_DAMAGED, "no MZ header: not an UEFI program");
    if (!range_within(pe, COFF_SIZE, len) || memcmp(coff, "PE\0\0", 4) != 0)
        return err_set(err, CHR_E_DAMAGED, "no PE header at offset %" PRIu32, pe);
    sections = le16(coff + COFF_SECTION_COUNT);
    optional_size = le16(coff + COFF_OPTIONAL_SIZE);
    if (sections == 0 || sections > MAX_SECTIONS)
        return err_set(err, CHR_E_DAMAGED, "PE header: %u sections", sections);
    if (optional_size < OPTIONAL_SUBSYSTEM + 2 ||
        !range_within(pe + COFF_SIZE, optional_size + sections * SECTION_SIZE, len))
        return err_set(err, CHR_E_DAMAGED, "PE header: its tables leave the first %zu bytes", len);
    if (le16(coff + COFF_SIZE + OPTIONAL_SUBSYSTEM) != SUBSYSTEM_EFI_APPLICATION)
        return err_set(err, CHR_E_DAMAGED, "PE header: subsystem %u is not an EFI application",
                       le16(coff + COFF_SIZE + OPTIONAL_SUBSYSTEM));
    load_size = max_u64(sections_end(coff + COFF_SIZE + optional_size, sections),
                        pe + COFF_SIZE + optional_size + sections * SECTION_SIZE);
    size = max_u64(load_size, certificates_end(coff + COFF_SIZE, optional_size));
    *out = (struct kernel){
        .machine = le16(coff + COFF_MACHINE),
        .load_size = load_size,
        .is_bzimage = is_bzimage(head, len),
        .file_size = is_bzimage(head, len) ? max_u64(size, bzimage_size(head)) : size,
    };
    return 0;
}

const char *kernel_machine_name(uint16_t machine)
{
    switch (machine) {
    case KERNEL_MACHINE_X86_64:
        return "x86_64";
    case KERNEL_MACHINE_ARM64:
        return "aarch64";
    case KERNEL_MACHINE_I386:
        return "i386";
    default:
        return "unknown";
    }
}
