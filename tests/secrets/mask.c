/* Each byte of standard input XOR 0x55: a secret that scanner.c can look for. */
#include <stdio.h>

int main(void)
{
    int c;

    while ((c = getchar()) != EOF)
        if (putchar(c ^ 0x55) == EOF)
            return 1;
    return 0;
}
