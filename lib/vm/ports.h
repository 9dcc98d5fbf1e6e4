/* Ports of the host that lead into the guest. */
#ifndef CHRIMG_VM_PORTS_H
#define CHRIMG_VM_PORTS_H

#include "vm/plan.h"

#define PORTS_FIRST 9180 /* where free ports are looked for */
#define PORTS_BLOCKS 100 /* that many blocks, before giving up */

/* A port of the guest that is wanted on the host; host_port 0: any. */
struct ports_wish {
    const char *name;
    bool udp;
    uint16_t host_port;
    uint16_t guest_port;
};

/* What RouterOS offers at a port of its own: "http", "ssh"; "" for what is not forwarded by default. */
const char *ports_usual_name(bool udp, uint16_t guest_port);

/*
 * All that OPTIONS ask for, ranges taken apart, the defaults last; at most
 * PORTS_WISHES_MAX.  CHR_E_USAGE for what cannot be.
 */
#define PORTS_WISHES_MAX (CHR_FORWARD_PORTS_MAX + 6)
int ports_wishes(const struct chr_boot_options *options, struct ports_wish *wishes, size_t *count,
                 struct chr_error *err);

/* How far apart blocks start that have room for all wishes without a host port; 0: none. */
uint16_t ports_block_size(const struct ports_wish *wishes, size_t count);

#endif
