/*
 * UTF-8 and UTF-16LE: names in partition tables and in VFAT entries.
 */
#ifndef CHRIMG_BASE_UTF_H
#define CHRIMG_BASE_UTF_H

#include <stddef.h>
#include <stdint.h>

/*
 * Turn at most UNITS units of UTF-16LE at IN into UTF-8; stops at a zero unit.
 * OUT must have room for 3 x UNITS + 1 bytes.  An unpaired surrogate becomes
 * U+FFFD, so that the result is always sound UTF-8.
 */
void utf16le_to_utf8(const uint8_t *in, size_t units, char *out);

/*
 * Turn IN into UTF-16 units, at most ROOM of them, without an end mark.
 * Returns the count, or -1 when IN is not sound UTF-8 (overlong forms and
 * surrogates included) or does not fit.
 */
int utf8_to_utf16(const char *in, uint16_t *out, size_t room);

#endif
