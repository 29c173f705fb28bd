/* What Apple's counters mean: the names, units and tables of IOReport, the SMC and the IORegistry, without the calls
 * that read them (os_darwin.c). So all of it is tested on any system from recordings (tests/unit/test_monitor_apple.c).
 *
 * Channel names after https://github.com/kennss/SiliconScope/blob/main/docs/ioreport-channels.md (M1 Max, M3 Max, M4
 * Max, M5 Max) and https://github.com/vladkens/macmon (M1 to M5, Ultra). */
#ifndef PN_MONITOR_APPLE_H
#define PN_MONITOR_APPLE_H

#include "monitor/sample.h"

enum { PN_MAX_STEPS = 64, PN_MAX_REQUESTORS = 64 };

/* One channel of the difference of two samples of IOReport. */
struct pn_channel_state {
    const char *name;
    int64_t residency;
};
struct pn_channel {
    const char *group, *subgroup, *name, *unit;
    int64_t value; /* of simple channels; INT64_MIN: not filled in */
    const struct pn_channel_state *state;
    int n_states; /* 0: simple */
};

/* The clocks of one kind of core, in the order of the states. */
struct pn_steps {
    int n;
    double hz[PN_MAX_STEPS];
};

/* Bytes that a requestor moved; RD, WR, and what only their sum counts. */
struct pn_requestor {
    char name[32];
    double bytes[3];
    bool has[3];
};

/* Where the bandwidth may come from, the best first. */
enum pn_apple_rate {
    PN_APPLE_AMC,       /* AMC Stats, in bytes: M1 to M3 with macOS up to 26 */
    PN_APPLE_DRAM_BW,   /* PMP / DRAM BW, in bytes: A18 */
    PN_APPLE_HISTOGRAM, /* PMP / DCS BW: time per GB/s of each requestor, which ends at 32 */
    PN_APPLE_N_RATES
};

/* The energy counters that are told apart. */
enum pn_apple_part {
    PN_APPLE_CPU,
    PN_APPLE_CPU_CLUSTER, /* where no channel has the whole processor */
    PN_APPLE_GPU,
    PN_APPLE_GPU_PART, /* where no channel has the whole GPU */
    PN_APPLE_GPU_SRAM,
    PN_APPLE_ANE,
    PN_APPLE_DRAM,
    PN_APPLE_N_PARTS
};

struct pn_apple {
    /* what does not change */
    struct pn_steps steps[26];                /* by the letter of the kind of core: E, P, M, S; G is the GPU */
    double idle_watts, busy_watts, busy_rate; /* of DRAM, measured once: see pn_apple_calibrate; NAN: not */
    /* one sample */
    double joules[PN_APPLE_N_PARTS];
    bool has_energy[PN_APPLE_N_PARTS], has_rate[PN_APPLE_N_RATES], saturated;
    double bad_unit; /* channels of energy with an unknown unit */
    int n_requestors;
    struct pn_requestor requestor[PN_MAX_REQUESTORS];
    double dram_bytes[2], histogram, aggregate; /* DRAM BW read and written; GB/s of requestors, and of AMCC */
    double gpu_load, gpu_hz;
    double hottest[2]; /* processor, GPU */
};

/* Nothing known yet. */
void pn_apple_new(struct pn_apple *a);
/* A table of the IORegistry (voltage-states5-sram...): pairs of 32 bits, clock and voltage, in Hz up to the M3 and in
 * kHz for the cores since. */
void pn_apple_table(struct pn_apple *a, char kind, const uint8_t *bytes, size_t n);
/* Whether a channel is worth a subscription. */
bool pn_apple_wants(const char *group, const char *subgroup);
/* Where bandwidth is estimated from DRAM's power: GB/s grow with the power between an idle moment and one in which the
 * processor reads at `busy_rate` bytes per second. Ignored unless the latter needs clearly more power. */
void pn_apple_calibrate(struct pn_apple *a, double idle_watts, double busy_watts, double busy_rate);

/* A sample: start, then all channels and temperatures in any order, then finish. Cores go into *s at once. */
void pn_apple_start(struct pn_apple *a);
void pn_apple_add(struct pn_apple *a, const struct pn_channel *c, struct pn_sample *s);
void pn_apple_temperature(struct pn_apple *a, const char *sensor, double celsius);
/* `seconds` between the two samples of IOReport. */
void pn_apple_finish(struct pn_apple *a, double seconds, struct pn_sample *s);
/* DRAM's watts in this sample; NAN: unknown. */
double pn_apple_dram_watts(const struct pn_apple *a, double seconds);

/* The kind of a core's channel (E, P, M, S) and the name of its cluster: "ECPU0", "PCPU130", "DIE_1_PCPU0_CPU3". False:
 * it is not a core. */
bool pn_apple_core(const char *channel, char *kind, char cluster[PN_SHORT]);

/* The number in `n` bytes of an SMC key of the type ("flt ", "fpe2", "sp78", "ui8 ", "ui16", "ui32"); NAN: another. */
double pn_smc_number(const char type[4], const uint8_t *bytes, size_t n);

/* Pages of host_statistics64. */
struct pn_apple_pages {
    uint64_t active, inactive, wired, speculative, compressor, purgeable, external;
};
/* Bytes in use, as Activity Monitor counts them: cached files and what can be thrown away are not. */
double pn_apple_used(const struct pn_apple_pages *pages, uint64_t page_size);

#endif
