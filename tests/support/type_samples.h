/* Seeded bytes and values for the tests of storage types: the same streams as in tests/diff/storage_types.py. */
#ifndef PN_TESTS_TYPE_SAMPLES_H
#define PN_TESTS_TYPE_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* splitmix64: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014 */
static inline uint64_t sample_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline void sample_bytes(uint64_t seed, uint8_t *out, size_t n)
{
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++, word >>= 8) {
        if (i % 8 == 0)
            word = sample_next(&seed);
        out[i] = (uint8_t)word;
    }
}

/* Values of a bell curve with a heavy tail, exact in float32. */
static inline void sample_values(uint64_t seed, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t word = sample_next(&seed);
        int32_t bell = -2 * 0xFFFF;
        for (int k = 0; k < 64; k += 16)
            bell += (int32_t)(word >> k & 0xFFFF);
        out[i] = (float)bell * (word % 64 == 0 ? 0x1p-13f : 0x1p-17f);
    }
}

#endif
