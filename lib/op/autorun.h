/*
 * rw/autorun.scr, the script that RouterOS runs at the first boot: what is there
 * already, and what it gets.
 */
#ifndef CHRIMG_OP_AUTORUN_H
#define CHRIMG_OP_AUTORUN_H

#include "op/pack.h"
#include "rsc/script.h"

#define AUTORUN_PATH "rw/autorun.scr"

/*
 * Build the script of OPTIONS: defaults, then the sources in their order, references
 * resolved.  *LINT gets the check, in which errors are CHR_E_REFUSED here; it may be
 * set on failure.  SCRIPT stays empty when there is nothing to build.
 */
int autorun_build(const struct chr_inject_options *options, struct rsc_script *script,
                  struct chr_lint_report **lint, struct chr_error *err);

/*
 * Put SCRIPT into SIDE, as EXISTING says when commands are there already: blank lines
 * are none, and the same script again is no change.
 */
int autorun_put(const struct pack *pack, const struct rsc_script *script,
                enum chr_existing existing, struct chr_error *err);

#endif
