/*
 * Strings of RouterOS scripts.
 *
 * A string stands in double quotes; in it, \" \\ \$ \n \r \t and \XX (two capital
 * hexadecimal digits) stand for one byte each, and a plain $ begins a variable or an
 * expression (RouterOS manual, Scripting, section "Constant Escape Sequences").
 */
#ifndef CHRIMG_RSC_QUOTE_H
#define CHRIMG_RSC_QUOTE_H

#include "rsc/secret.h"

/*
 * Append BYTES as the inside of a string: they cannot end it, begin an expression or
 * a new line.  What is not printable ASCII becomes \XX, as RouterOS itself exports
 * it.  A NUL, which no string can hold, is CHR_E_REFUSED.
 */
int rsc_quote_inside(struct secret *out, const char *bytes, size_t len, struct chr_error *err);

/* The same with the quotes around it. */
int rsc_quote(struct secret *out, const char *bytes, size_t len, struct chr_error *err);

/* Append C as \XX: what stands before cannot go on in it, as the name of a variable would. */
int rsc_quote_hex(struct secret *out, char c, struct chr_error *err);

#endif
