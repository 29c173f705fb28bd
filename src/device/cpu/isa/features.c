/* Asks the processor: cpuid and xgetbv on x86-64, the operating system on arm64. */
#include "device/cpu/isa/features.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

/* XCR0: the registers that the operating system saves. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool processor_has(enum pn_cpu_feature feature)
{
    uint32_t a, b, c, d, leaf1_c;
    if (!__get_cpuid(1, &a, &b, &leaf1_c, &d))
        return false;
    const uint32_t osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
    const uint32_t need1 = osxsave | avx | fma | f16c;
    if ((leaf1_c & need1) != need1 || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return false;
    uint64_t state = saved_state();
    const uint32_t avx2 = 1u << 5, bmi2 = 1u << 8;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const uint32_t vnni = 1u << 11;
    bool has_avx2 = (b & (avx2 | bmi2)) == (avx2 | bmi2) && (state & 0x06) == 0x06;
    switch (feature) {
    case PN_CPU_AVX2:
        return has_avx2;
    case PN_CPU_AVX512:
        return has_avx2 && (b & avx512) == avx512 && (c & vnni) && (state & 0xe6) == 0xe6;
    default:
        return false;
    }
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

static bool processor_has(enum pn_cpu_feature feature)
{
    const unsigned long dotprod = 1ul << 20, i8mm = 1ul << 13; /* HWCAP_ASIMDDP, HWCAP2_I8MM */
    const unsigned long half = 1ul << 10;                      /* HWCAP_ASIMDHP */
    bool has_dotprod = (getauxval(AT_HWCAP) & (dotprod | half)) == (dotprod | half);
    switch (feature) {
    case PN_CPU_DOTPROD:
        return has_dotprod;
    case PN_CPU_I8MM:
        return has_dotprod && (getauxval(AT_HWCAP2) & i8mm);
    default:
        return false;
    }
}

#elif defined(__aarch64__) && defined(__APPLE__)

#include <stddef.h>
#include <sys/sysctl.h>

static bool says_yes(const char *name)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
}

static bool processor_has(enum pn_cpu_feature feature)
{
    switch (feature) {
    case PN_CPU_DOTPROD:
        return says_yes("hw.optional.arm.FEAT_DotProd");
    case PN_CPU_I8MM:
        return says_yes("hw.optional.arm.FEAT_DotProd") && says_yes("hw.optional.arm.FEAT_I8MM");
    default:
        return false;
    }
}

#else

static bool processor_has(enum pn_cpu_feature feature)
{
    (void)feature;
    return false;
}

#endif

bool pn_cpu_has(enum pn_cpu_feature feature)
{
    return feature == PN_CPU_ANY || processor_has(feature);
}
