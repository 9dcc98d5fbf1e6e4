/*
 * The names that a command of RouterOS begins with, 6.x and 7.x together.
 *
 * Source: the public RouterOS documentation, its command-line index and the page
 * "Scripting" (help.mikrotik.com, wiki.mikrotik.com).
 */
#ifndef CHRIMG_RSC_MENUS_H
#define CHRIMG_RSC_MENUS_H

#include <stdbool.h>
#include <stddef.h>

enum rsc_name_kind {
    RSC_NAME_UNKNOWN,
    RSC_NAME_MENU,    /* "ip" */
    RSC_NAME_COMMAND, /* of the top level or of the language: "import", "put" */
};

/* What WORD of LEN bytes names; a beginning that only one menu has will do, as in RouterOS. */
enum rsc_name_kind rsc_name_kind(const char *word, size_t len);

/* The known name that is most like WORD, or NULL when none is. */
const char *rsc_nearest_name(const char *word, size_t len);

#endif
