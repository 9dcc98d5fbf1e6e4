/* IP addresses as a router is given them. */
#ifndef CHRIMG_RSC_ADDRESS_H
#define CHRIMG_RSC_ADDRESS_H

#include "base/error.h"

struct rsc_address {
    bool v6;
    unsigned char bytes[16]; /* network order; 4 of them for IPv4 */
    unsigned prefix;         /* 32 or 128 where none was given */
    char text[64];           /* without prefix and interface */
    char interface[64];      /* "" where none was given */
};

enum rsc_address_parts {
    RSC_ADDRESS_PREFIX = 1 << 0,    /* "/24" must be there; without this flag it must not */
    RSC_ADDRESS_INTERFACE = 1 << 1, /* "%ether1" may be there */
};

/*
 * Read "ADDRESS[/PREFIX][%INTERFACE]".  WHAT names the option in errors, which are
 * CHR_E_USAGE.  Refused are addresses that no host can have: unspecified, loopback,
 * multicast, and with a prefix those of the network itself and of broadcast.
 */
int rsc_address_parse(const char *text, unsigned parts, const char *what,
                      struct rsc_address *out, struct chr_error *err);

/* Whether both are of one family, and OTHER lies in the network of ADDRESS. */
bool rsc_address_contains(const struct rsc_address *address, const struct rsc_address *other);

#endif
