/* "UEFI: yes, because ..." and "BIOS: no, because ...". */
#include <stdio.h>
#include <string.h>

#include "op/analysis.h"

static void say(struct chr_verdict *verdict, bool yes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct chr_verdict *verdict, bool yes, const char *format, ...)
{
    va_list args;

    verdict->yes = yes;
    va_start(args, format);
    (void)vsnprintf(verdict->reason, sizeof verdict->reason, format, args);
    va_end(args);
}

static bool is_esp(const struct analysis *a)
{
    const struct gpt *gpt = table_gpt(a->table);

    return gpt != NULL && a->boot->gpt_slot >= 0 &&
           memcmp(gpt->entries[a->boot->gpt_slot].type, gpt_type_esp, GPT_GUID_SIZE) == 0;
}

void judge_uefi(const struct analysis *a, struct chr_verdict *verdict)
{
    const char *path = a->loader != NULL ? a->loader->path : "";

    if (!a->readable && a->contents != CHR_CONTENTS_UNKNOWN && a->contents != CHR_CONTENTS_EMPTY)
        say(verdict, false, "the boot partition cannot be read: %.180s", a->problem.message);
    else if (a->loader == NULL)
        say(verdict, false, "there is no EFI loader (EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI)");
    else if (!a->loader_sound)
        say(verdict, false, "%.80s is not a loader: %.120s", path, a->loader_problem.message);
    else if (a->contents == CHR_CONTENTS_EXT)
        say(verdict, false, "%s is on %s, which UEFI cannot read; chrimg fatten mends that", path,
            ext_super_kind(&a->super));
    else if (a->contents == CHR_CONTENTS_KERNEL)
        say(verdict, false, "the loader lies on the disk without a file system; chrimg fatten mends "
                            "that");
    else if (table_gpt(a->table) == NULL)
        say(verdict, true, "%s is on FAT%u; there is no GPT, so firmware must accept an MBR "
                           "partition of type %02x, as EDK2 does",
            path, a->fat.bits,
            a->boot->mbr_slot >= 0 ? a->table->mbr.entries[a->boot->mbr_slot].type : 0u);
    else if (!is_esp(a))
        say(verdict, true, "%s is on FAT%u, but the GPT does not call it an EFI system partition: "
                           "some firmware will not look", path, a->fat.bits);
    else
        say(verdict, true, "%s is on FAT%u in an EFI system partition", path, a->fat.bits);
}

static bool any_active(const struct analysis *a)
{
    for (int i = 0; i < MBR_ENTRIES; i++)
        if (a->table->mbr.entries[i].status == MBR_STATUS_ACTIVE)
            return true;
    return false;
}

void judge_bios(const struct analysis *a, struct chr_verdict *verdict)
{
    if (a->loader_sound && a->kernel.machine == KERNEL_MACHINE_ARM64)
        say(verdict, false, "the loader is for aarch64, which has no BIOS");
    else if (!a->table->has_mbr || !a->table->mbr.has_boot_code)
        say(verdict, false, "the MBR holds no boot code");
    else if (!any_active(a))
        say(verdict, false, "the MBR marks no partition as active");
    else if (a->boot_code == BOOT_CODE_MESSAGE)
        say(verdict, false, "its boot sector holds no BIOS loader, only chrimg's message that the "
                            "disk wants UEFI");
    else if (a->boot_code == BOOT_CODE_NONE)
        say(verdict, false, "the boot partition's first sector holds no boot code");
    else if (a->boot_code == BOOT_CODE_FOREIGN)
        say(verdict, false, "the boot sector is that of a FAT formatter, not RouterOS's loader");
    else if (a->contents == CHR_CONTENTS_FAT && a->boot_code == BOOT_CODE_NO_HOLE)
        say(verdict, false, "the FAT's parameters lie in the middle of the boot code");
    else
        say(verdict, true, "MBR and boot sector hold boot code%s",
            a->has_map ? ", and map is there" : "");
}
