/*
 * What references stand for: `key` (from --set), env://NAME, file:///PATH,
 * op://VAULT/ITEM/FIELD (by `op read`), cmd://NAME (by a program that was allowed).
 *
 * Each is asked for once.  Values are kept in secret buffers and appear in no
 * message, no argument of a program and no file.
 */
#ifndef CHRIMG_RSC_RESOLVER_H
#define CHRIMG_RSC_RESOLVER_H

#include "rsc/secret.h"

/* No value is longer: a certificate chain fits, a wrong file does not. */
#define RSC_VALUE_MAX (64u << 10)

/* Bytes that no reference holds, so that nested arrays, {{1;2};{3;4}}, are told from references. */
#define RSC_NOT_IN_REFERENCE                                                                \
    "{}\";$\\\001\002\003\004\005\006\a\b\t\n\v\f\r\016\017\020\021\022\023\024\025\026\027" \
    "\030\031\032\033\034\035\036\037\177"

struct rsc_value {
    char *reference;
    struct secret bytes;
};

#define RSC_FAULTS_SHOWN 8

/* References without a value: somebody who has forgotten one may have forgotten more. */
struct rsc_faults {
    char *lines[RSC_FAULTS_SHOWN]; /* the first of them: where, which and why */
    size_t count;
    enum chr_code code;            /* of the first one, as is */
    char hint[CHR_HINT_SIZE];
    bool mixed;                    /* others have other hints */
};

struct rsc_resolver {
    const struct chr_template_options *options; /* the caller's; may be NULL */
    struct rsc_value *values;
    size_t count;
    size_t capacity;
    struct rsc_faults faults;
};

/*
 * Whether REFERENCE (without braces and blanks around it) is well formed; -1 with a
 * message that does not say where.
 */
int rsc_reference_check(const char *reference, struct chr_error *err);

/*
 * The value of REFERENCE; *OUT is good until the next call or the resolver's release.
 * One newline at its end is dropped where it comes from a file or a program.  An
 * empty one, one with a NUL, and one longer than RSC_VALUE_MAX is CHR_E_REFUSED (an
 * empty --set is fine); one that is not there CHR_E_MISSING.
 */
int rsc_resolve(struct rsc_resolver *resolver, const char *reference,
                const struct secret **out, struct chr_error *err);

/*
 * A reference has no value, ERR says where and why: keep that, so that the next one can be
 * looked for.  Only when memory is short, -1.
 */
int rsc_resolver_note(struct rsc_resolver *resolver, struct chr_error *err);

/*
 * Whether REFERENCE need not be looked for, as its program might ask for a password, and
 * there is nothing to win any more.
 */
bool rsc_resolver_spares(const struct rsc_resolver *resolver, const char *reference);

/* What was noted, as one error; 0 when there is nothing. */
int rsc_resolver_report(const struct rsc_resolver *resolver, struct chr_error *err);

/* Wipe and free all values. */
void rsc_resolver_release(struct rsc_resolver *resolver);

#define AUTO_RESOLVER CLEANUP(rsc_resolver_release)

#endif
