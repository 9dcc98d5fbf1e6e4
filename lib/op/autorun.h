/*
 * rw/autorun.scr, the script that RouterOS runs at the first boot: what is there
 * already, and what it gets.
 */
#ifndef CHRIMG_OP_AUTORUN_H
#define CHRIMG_OP_AUTORUN_H

#include "op/pack.h"
#include "rsc/script.h"

#define AUTORUN_PATH "rw/autorun.scr"

/* The script on its way.  Starts as zeros; release with autorun_release(). */
struct autorun {
    const struct chr_inject_options *options;
    struct autorun_source *sources; /* as they were read */
    size_t source_count;
    struct rsc_script draft;  /* the whole of it, a letter for each value */
    bool faulty;              /* the draft has errors, which the options let pass */
    struct rsc_script script; /* what the router gets; empty when there is nothing to build */
};

void autorun_release(struct autorun *autorun);
#define AUTO_AUTORUN CLEANUP(autorun_release)

/*
 * Read the sources of OPTIONS and check them, before any value is asked for: a password
 * manager may want a fingerprint.  Errors of the check are CHR_E_REFUSED, unless the options
 * let them pass, and the script has no references.  *LINT gets the check, also on failure.
 */
int autorun_begin(const struct chr_inject_options *options, struct autorun *autorun,
                  struct chr_lint_report **lint, struct chr_error *err);

/*
 * Whether it can be put into PACK's side, as far as this can be told without values: what
 * autorun_put() would refuse for commands that are there already.
 */
int autorun_look(const struct pack *pack, const struct autorun *autorun, struct chr_error *err);

/*
 * Build the script: defaults, then the sources in their order, references resolved.  It is
 * checked again; REPORT gets the check, and which keys of --set nothing asked for.
 */
int autorun_resolve(struct autorun *autorun, struct chr_inject_report *report,
                    struct chr_error *err);

/*
 * Put the script, as the options say when commands are there already: blank lines are none,
 * and the same script again is no change, nor is appending it once more.
 */
int autorun_put(const struct pack *pack, const struct autorun *autorun, struct chr_error *err);

#endif
