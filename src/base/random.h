/* Seeded random numbers, the same on every machine: SplitMix64 (Steele, Lea, Flood, 2014), as a stream or by index. */
#ifndef PN_BASE_RANDOM_H
#define PN_BASE_RANDOM_H

#include <stdint.h>

/* Number `index` of the stream that starts at `seed`, without computing the ones before. */
static inline uint64_t pn_random_at(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1) with 24 bits, exact in float. */
static inline float pn_random_unit(uint64_t bits)
{
    return (float)(bits >> 40) * 0x1p-24f;
}

/* A stream; any state will do. */
struct pn_rng {
    uint64_t state;
};

static inline uint64_t pn_rng_u64(struct pn_rng *rng)
{
    uint64_t bits = pn_random_at(rng->state, 0);
    rng->state += 0x9E3779B97F4A7C15u;
    return bits;
}

static inline float pn_rng_float(struct pn_rng *rng)
{
    return pn_random_unit(pn_rng_u64(rng));
}

#endif
