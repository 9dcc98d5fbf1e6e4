/* Lists of edits. */
#include "rsc/edit.h"

#include <stdlib.h>

int rsc_edits_add(struct rsc_edits *edits, struct rsc_edit edit, struct chr_error *err)
{
    if (mem_grow(&edits->items, &edits->capacity, edits->count, sizeof *edits->items, err) < 0)
        return -1;
    edits->items[edits->count++] = edit;
    return 0;
}

void rsc_edits_release(struct rsc_edits *edits)
{
    free(edits->items);
    *edits = (struct rsc_edits){0};
}
