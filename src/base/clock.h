/* Monotonic time and seeded random numbers. */
#ifndef PN_BASE_CLOCK_H
#define PN_BASE_CLOCK_H

#include <stdint.h>

uint64_t pn_clock_ns(void);        /* monotonic, from an arbitrary start */
uint64_t pn_clock_thread_ns(void); /* processor time of the calling thread */

/* SplitMix64 (Steele, Lea, Flood, 2014): small, seedable with any value, the same on every machine. */
struct pn_rng {
    uint64_t state;
};

static inline uint64_t pn_rng_u64(struct pn_rng *rng)
{
    uint64_t z = (rng->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1) with 24 bits, exact in float. */
static inline float pn_rng_float(struct pn_rng *rng)
{
    return (float)(pn_rng_u64(rng) >> 40) * 0x1p-24f;
}

#endif
