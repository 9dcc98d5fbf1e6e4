/*
 * A configuration script under construction: sources in their order, each under a
 * comment that names it, with references replaced by their quoted values.
 *
 * All text is in secret buffers.  What was inserted is known byte by byte, so the
 * script can be shown with each value as ***, and checked with positions of the
 * sources as they were given.
 */
#ifndef CHRIMG_RSC_SCRIPT_H
#define CHRIMG_RSC_SCRIPT_H

#include "rsc/edit.h"
#include "rsc/remark.h"
#include "rsc/resolver.h"
#include "rsc/secret.h"

/* No source and no script may be larger; RouterOS reads it into memory at once. */
#define RSC_SIZE_MAX (4u << 20)

enum rsc_source_flags {
    RSC_HIDDEN = 1 << 0, /* may hold secrets already: shown nowhere, not even in parts */
};

struct rsc_section {
    char *name;       /* of the source, for messages */
    bool hidden;
    bool unfit;       /* it held a NUL or is UTF-16: question marks stand there, for lint */
    size_t head;      /* where its comment begins */
    size_t begin;     /* where its own text begins, and */
    size_t end;       /* ends */
    size_t boms;            /* how many lines began with one, which was taken away */
    size_t first_bom_line;  /* from 1; 0 when there is none */
    size_t crlf_lines;      /* how many lines ended in CR LF */
    size_t first_crlf_line; /* from 1; 0 when there is none */
};

struct rsc_script {
    struct secret text;
    struct rsc_section *sections;
    size_t section_count;
    size_t section_capacity;
    struct rsc_edits edits;     /* by position in TEXT */
    struct rsc_remarks remarks; /* of sources that were added without a resolver */
};

/*
 * Read a source: the file NAME, or standard input for "-"; at most RSC_SIZE_MAX bytes.
 * *FLAGS gets RSC_HIDDEN for standard input and for pipes, as <(op inject ...) is one:
 * another program may have put secrets in.
 */
int rsc_read_source(const char *name, struct secret *out, unsigned *flags,
                    struct chr_error *err);

/*
 * Append a source.  CR LF becomes LF, a BOM that begins a line is taken away (the section says so);
 * NUL and UTF-16 are CHR_E_REFUSED; other bytes stay as they are, UTF-8 or not.  References are replaced by what
 * RESOLVER knows.  Without one (NULL) placeholders stand for them, and what would be
 * an error is a remark: that is for lint.  A section begins
 * with a comment that names it and with "/", so that the menu of the source before
 * does not carry over, and ends with a newline.  On error the script is as it was,
 * and the message begins with "NAME:LINE: " where a line is to blame.
 * FLAGS: enum rsc_source_flags.
 */
int rsc_script_add(struct rsc_script *script, const char *name, const char *text, size_t len,
                   unsigned flags, struct rsc_resolver *resolver, struct chr_error *err);

/*
 * Append the commands for DEFAULTS as a section "defaults"; nothing when it asks for nothing.
 * RESOLVER as above.
 */
int rsc_script_add_defaults(struct rsc_script *script, const struct chr_defaults *defaults,
                            struct rsc_resolver *resolver, struct chr_error *err);

/* The bytes for the router are script->text.data, script->text.len. */

/*
 * The script to show: values as ***, hidden sections as one comment.  Sound UTF-8,
 * NUL-terminated; the caller frees it.
 */
char *rsc_script_mask(const struct rsc_script *script, struct chr_error *err);

/* Check the whole script (rsc/lint.h has the rules); free with chr_lint_free(). */
int rsc_script_lint(const struct rsc_script *script, struct chr_lint_report **out,
                    struct chr_error *err);

/* Wipe and free all; all zero afterwards. */
void rsc_script_release(struct rsc_script *script);

#define AUTO_SCRIPT CLEANUP(rsc_script_release)

#endif
