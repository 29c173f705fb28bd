/* The number of connections: see lanes.h. */
#include "store/lanes.h"

enum { FIRST_WAIT = 2, MAX_WAIT = 64 };
static const double gain = 1.05; /* what one more connection must bring */

struct pn_lanes pn_lanes_new(int most)
{
    return (struct pn_lanes){.now = most, .most = most, .wait = FIRST_WAIT};
}

static void change(struct pn_lanes *l, int by)
{
    l->now += by;
    l->trying = by > 0;
    l->parts = 0;
    l->bytes = l->since_ns = 0;
}

/* What brought nothing is tried again later, each time after twice as many parts. */
static void wait_longer(struct pn_lanes *l)
{
    l->wait = l->wait * 2 < MAX_WAIT ? l->wait * 2 : MAX_WAIT;
}

void pn_lanes_failed(struct pn_lanes *l)
{
    if (l->trying)
        wait_longer(l);
    change(l, l->now > 1 ? -1 : 0);
}

/* The first part only starts the clock: a part of it came before the change. */
void pn_lanes_ended(struct pn_lanes *l, uint64_t bytes, uint64_t now_ns)
{
    if (!l->since_ns) {
        l->since_ns = now_ns;
        return;
    }
    l->parts++;
    l->bytes += bytes;
    if (l->parts < l->wait * (unsigned)l->now || now_ns <= l->since_ns)
        return;
    double rate = (double)l->bytes * 1e9 / (double)(now_ns - l->since_ns);
    if (l->trying && rate < l->before * gain) {
        wait_longer(l);
        change(l, -1);
    } else if (l->now < l->most) {
        l->before = rate;
        change(l, 1);
    } else {
        change(l, 0);
    }
}
