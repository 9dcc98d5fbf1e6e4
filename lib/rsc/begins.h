/* Whether a statement begins as a command must. */
#ifndef CHRIMG_RSC_BEGINS_H
#define CHRIMG_RSC_BEGINS_H

#include "rsc/script.h"
#include "rsc/statement.h"

/*
 * Remark on a statement that is no command, and on names that are not known.
 * Nothing hidden gets into a text.
 */
int rsc_check_beginning(const struct rsc_script *script, const struct rsc_statement *statement,
                        struct rsc_remarks *remarks, struct chr_error *err);

#endif
