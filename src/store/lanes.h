/* How many connections of a download run at the same time: one fewer after a failure, and one more as long as that
 * makes the download faster. Times are given, so that this can be tested without a clock. */
#ifndef PN_STORE_LANES_H
#define PN_STORE_LANES_H

#include <stdbool.h>
#include <stdint.h>

struct pn_lanes {
    int now, most;
    /* its own: */
    bool trying;              /* the last change was one more, and `before` is the rate without it */
    unsigned parts, wait;     /* that ended since the last change; those per connection that show a rate */
    uint64_t bytes, since_ns; /* since the last change; 0: nothing has ended */
    double before;            /* bytes per second */
};

/* Begins with `most`. */
struct pn_lanes pn_lanes_new(int most);
/* A part of so many bytes has come as it should. */
void pn_lanes_ended(struct pn_lanes *lanes, uint64_t bytes, uint64_t now_ns);
/* A connection broke, or the server wants fewer. */
void pn_lanes_failed(struct pn_lanes *lanes);

#endif
