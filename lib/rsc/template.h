/*
 * Templates: `{{ reference }}` in a script becomes the value as a string.
 *
 * In a string, the value is escaped, so that it stays inside.  In code, the value it
 * is (a part of) becomes a string: address={{ ip }}/24 gives address="192.0.2.1/24".
 * In a comment nothing is replaced.  Where a string could not hold the value, the
 * reference is refused; so a value is always data, never a command.
 *
 * Braces that cannot be a reference are left alone: {{1;2};{3;4}} is an array.
 */
#ifndef CHRIMG_RSC_TEMPLATE_H
#define CHRIMG_RSC_TEMPLATE_H

#include "rsc/edit.h"
#include "rsc/remark.h"
#include "rsc/resolver.h"

struct rsc_template {
    const char *name; /* for messages */
    const char *text; /* lines end in LF */
    size_t len;
    bool hidden; /* no message may show a part of it, references included */
};

/*
 * Append SOURCE to OUT with its references replaced, and each change to EDITS.
 *
 * With a RESOLVER, errors begin with "NAME:LINE: ", and what is open at the end of
 * the source is one: what follows would be read in another context than here.  All
 * references without a value are one error, with those of earlier sources.
 * Without one, REMARKS take the errors, and each reference becomes a placeholder.
 */
int rsc_template_expand(const struct rsc_template *source, struct rsc_resolver *resolver,
                        struct secret *out, struct rsc_edits *edits,
                        struct rsc_remarks *remarks, struct chr_error *err);

#endif
