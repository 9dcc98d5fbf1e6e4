/*
 * The boot loader of a CHR is its kernel: a PE/COFF program for UEFI that is
 * a Linux bzImage too.  What it is for and how long it is, from its headers.
 *
 * Formats: Microsoft PE/COFF (MZ, e_lfanew at 0x3C, "PE\0\0", COFF header,
 * section table); Linux Documentation/arch/x86/boot.rst (setup_sects 0x1F1,
 * syssize 0x1F4, "HdrS" 0x202); Documentation/arch/arm64/booting.rst
 * ("ARM\x64" at 0x38).
 */
#ifndef CHRIMG_FS_KERNEL_H
#define CHRIMG_FS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What kernel_decode() wants to see of the file, or all of a shorter one. */
#define KERNEL_HEAD_SIZE 8192

enum {
    KERNEL_MACHINE_I386 = 0x014C,
    KERNEL_MACHINE_X86_64 = 0x8664,
    KERNEL_MACHINE_ARM64 = 0xAA64,
};

struct kernel {
    uint16_t machine;   /* of the COFF header */
    bool is_bzimage;    /* has the x86 boot protocol's header too */
    uint64_t load_size; /* what a PE loader reads: headers and sections */
    uint64_t file_size; /* all that the headers account for: certificates and bzImage too */
};

/* Whether HEAD (512 bytes at least) begins like a PE program; a cheap first look. */
bool kernel_probe(const uint8_t *head);

/*
 * Decode the headers in HEAD, LEN bytes.  CHR_E_DAMAGED with the reason when
 * they are not those of an UEFI program.
 */
int kernel_decode(const uint8_t *head, size_t len, struct kernel *out, struct chr_error *err);

/* "x86_64", "aarch64", "i386", or "unknown". */
const char *kernel_machine_name(uint16_t machine);

#endif
