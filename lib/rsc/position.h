/* Places in a script as places in its sources. */
#ifndef CHRIMG_RSC_POSITION_H
#define CHRIMG_RSC_POSITION_H

#include "rsc/script.h"

struct rsc_position {
    size_t section; /* index */
    size_t line;    /* from 1 */
    size_t column;  /* from 1, in characters of the source */
};

/* Where byte OFF of the script's text comes from. */
struct rsc_position rsc_position_of(const struct rsc_script *script, size_t off);

#endif
