#!/usr/bin/env bash
# The symbols of the library, and that the check would notice.
. "$(dirname "$0")/lib.sh"
needs_tool nm objdump gcc ar

if under_sanitizer "$BUILD/libchrimg.so"; then
    skip_all "sanitizers put symbols of their own into the library"
fi

check "the library exports chr_* and prints nothing" "$SRC/scripts/check-symbols" "$BUILD"

# library <<SOURCE: a library of one source, hidden symbols as the real one has.
library() {
    rm -rf lib
    mkdir lib
    cat >lib/x.c
    gcc -O1 -w -fPIC -fvisibility=hidden -c -o lib/x.o lib/x.c &&
        ar rcs lib/libchrimg.a lib/x.o &&
        gcc -shared -o lib/libchrimg.so lib/x.o
}

API='__attribute__((visibility("default")))'

library <<X
#include <stdio.h>
static const char *const names[] = {"a", "b"};
int helper(char *s) { return snprintf(s, 9, "%s", names[s[0] & 1]); }
$API int chr_one(char *s) { return helper(s); }
X
check "a clean library passes" "$SRC/scripts/check-symbols" lib

library <<X
$API int chr_one(void) { return 1; }
$API int two(void) { return 2; }
X
check_exit "an export without the prefix" 1 '^    two$' "$SRC/scripts/check-symbols" lib

library <<X
int one(void) { return 1; }
X
check_exit "no export at all" 1 'no chr_ symbol' "$SRC/scripts/check-symbols" lib

for statement in 'printf("%d", n)' 'puts("x")' 'fprintf(stderr, "%d", n)' 'perror("x")' \
    'exit(n)' 'abort()' 'dprintf(2, "%d", n)' 'assert(n)'; do
    library <<X
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
$API void chr_one(int n) { $statement; }
X
    check_exit "caught: $statement" 1 '^used by the library' "$SRC/scripts/check-symbols" lib
done

library <<X
static int count;
$API int chr_one(void) { return ++count; }
X
check_exit "a static variable" 1 '^    count$' "$SRC/scripts/check-symbols" lib

library <<X
int table[3] = {1, 2, 3};
$API int chr_one(int n) { return ++table[n]; }
X
check_exit "a global variable" 1 '^    table$' "$SRC/scripts/check-symbols" lib

done_testing
