/*
 * The plain main() of a fuzz target: call it with every file given, in order.
 * A failure ends the process, and the last name printed says with which.
 */
#include <errno.h>

#include "../fuzz.h"

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        uint8_t *data = malloc(1 << 24);
        uint8_t *exact;
        size_t size;

        if (file == NULL || data == NULL) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        size = fread(data, 1, 1 << 24, file);
        /* Of just that size, so that a sanitizer sees a read past the end. */
        exact = malloc(size);
        if (exact == NULL && size > 0)
            return 1;
        memcpy(exact, data, size);
        printf("%s\n", argv[i]);
        fflush(stdout);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        free(data);
        fclose(file);
    }
    return 0;
}
