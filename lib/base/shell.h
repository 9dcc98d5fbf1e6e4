/* Words of a POSIX shell, for hints that are commands and for scripts. */
#ifndef CHRIMG_BASE_SHELL_H
#define CHRIMG_BASE_SHELL_H

#include "chrimg.h"

/* A name in a hint: "chrimg fatten 'my router.img'". */
#define HINT_WORD(value) chr_shell_word((value), (char[CHR_HINT_SIZE]){0}, CHR_HINT_SIZE)

/* Room enough for VALUE, whatever is in it. */
#define SHELL_WORD_SIZE(value) (4 * strlen(value) + 3)

#endif
