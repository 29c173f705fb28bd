/* What Apple's counters mean, from recordings written after published lists of channels: names of the M1 to the M5, the
 * dies of an Ultra, units, tables in Hz and kHz, and every source of the bandwidth. No Mac was at hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recording.h"

static struct pn_apple apple;
static struct pn_sample s;

static int fresh(void **state)
{
    (void)state;
    pn_apple_new(&apple);
    pn_sample_clear(&s);
    return 0;
}

static void close_to(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (fabs(b) + 1)))
        fail_msg("found %.12g, expected %.12g", a, b);
}

static double watts(const char *part)
{
    for (int i = 0; i < s.power.n; i++)
        if (strcmp(s.power.at[i].name, part) == 0)
            return s.power.at[i].value;
    return NAN;
}

/* Two E cores, two clusters of P cores, clocks in Hz, energy in mJ and nJ, DCS bytes. */
static const char m1_max[] = "table E 600000000,972000000,1332000000,1704000000,2064000000\n"
                             "table P 600000000,828000000,3228000000\n"
                             "table G 0,388000000,1296000000\n"
                             "CPU Stats|CPU Core Performance States|ECPU000|24Mticks|IDLE=50;V0P4=0;V1P3=0;V2P2=0;"
                             "V3P1=0;V4P0=50\n"
                             "CPU Stats|CPU Core Performance States|ECPU010|24Mticks|IDLE=100;V0P4=0;V1P3=0;V2P2=0;"
                             "V3P1=0;V4P0=0\n"
                             "CPU Stats|CPU Core Performance States|PCPU000|24Mticks|DOWN=0;IDLE=0;V0P2=25;V1P1=0;"
                             "V2P0=75\n"
                             "CPU Stats|CPU Core Performance States|PCPU110|24Mticks|DOWN=60;IDLE=20;V0P2=0;V1P1=20;"
                             "V2P0=0\n"
                             "CPU Stats|CPU Complex Performance States|PCPU|24Mticks|IDLE=0;V0P2=100\n"
                             "CPU Stats|CPU Core Performance States|PCPM|24Mticks|IDLE=0;V0P2=100\n"
                             "GPU Stats|GPU Performance States|GPUPH|24Mticks|OFF=60;P1=0;P2=40\n"
                             "GPU Stats|GPU Performance States|BSTGPUPH|24Mticks|OFF=0;P1=100\n"
                             "Energy Model||CPU Energy|mJ|12000\nEnergy Model||EACC_CPU|mJ|2000\n"
                             "Energy Model||PACC0_CPU|mJ|10000\nEnergy Model||GPU Energy|nJ|6000000000\n"
                             "Energy Model||GPU0|mJ|6000\nEnergy Model||GPU SRAM0|mJ|200\nEnergy Model||ANE0|mJ|0\n"
                             "Energy Model||DRAM0|uJ|1500000\nEnergy Model||ISP|mJ|77\n"
                             "AMC Stats|Perf Counters|PCPU0 DCS RD|B|40000000000\n"
                             "AMC Stats|Perf Counters|PCPU0 DCS WR|B|10000000000\n"
                             "AMC Stats|Perf Counters|GFX DCS RD|B|100000000000\n"
                             "AMC Stats|Perf Counters|PCPU0 DCS RD CAS|events|5\n"
                             "temp Tp01 47.5\ntemp Tp05 61.25\ntemp Tg0D 44\ntemp Te05 -127\ntemp TB0T 99\n";

static void m1(void **state)
{
    (void)state;
    play_recording(&apple, m1_max, 2, &s);
    assert_int_equal(s.n_cores, 4);
    assert_int_equal(s.n_clusters, 3);
    assert_string_equal(s.cluster[0].name, "E-cores");
    assert_string_equal(s.cluster[1].name, "P-cores 0");
    assert_string_equal(s.cluster[2].name, "P-cores 1");
    close_to(s.core[0].load, 0.5);
    close_to(s.core[0].hz, 2064e6);
    close_to(s.core[1].load, 0);
    close_to(s.core[1].hz, 600e6);
    close_to(s.core[2].load, 1);
    close_to(s.core[2].hz, (600e6 + 3 * 3228e6) / 4);
    close_to(s.core[3].load, 0.2);
    close_to(s.core[3].hz, 828e6);
    close_to(s.cluster[0].load, 0.25);
    close_to(s.cluster[1].most_hz, 3228e6);
    close_to(s.load, (0.5 + 0 + 1 + 0.2) / 4);
    close_to(apple.gpu_load, 0.4);
    close_to(apple.gpu_hz, 1296e6);
    close_to(watts("processor"), 6);
    close_to(watts("GPU"), 3);
    close_to(watts("GPU SRAM"), 0.1);
    close_to(watts("ANE"), 0); /* it is there, and used nothing */
    close_to(watts("memory"), 0.75);
    close_to(s.read_rate, 70e9);
    close_to(s.write_rate, 5e9);
    close_to(s.memory_rate, 75e9);
    assert_false(s.rate_estimated);
    assert_int_equal(s.temperature.n, 2);
    close_to(s.temperature.at[0].value, 61.25);
    close_to(s.temperature.at[1].value, 44);
}

/* Six P and twelve M cores, no E; clocks in kHz; rails without _CPU; histograms in PMP0. */
static void m5_max(void **state)
{
    (void)state;
    play_recording(&apple,
                   "table P 1308000,4608000\ntable M 1344000,4380000\ntable G 0,338000000,1620000000\n"
                   "CPU Stats|CPU Core Performance States|PCPU0|ticks|IDLE=0;V0P1=0;V1P0=10\n"
                   "CPU Stats|CPU Core Performance States|MCPU0|ticks|IDLE=5;V0P1=5;V1P0=0\n"
                   "CPU Stats|CPU Core Performance States|MCPU11|ticks|IDLE=10;V0P1=0;V1P0=0\n"
                   "Energy Model||PCPU|mJ|14000\nEnergy Model||PACC_0|mJ|2300\nEnergy Model||MCPU0|mJ|3000\n"
                   "Energy Model||MCPU1|mJ|1000\nEnergy Model||PCPM|mJ|900\nEnergy Model||MCPM0|mJ|900\n"
                   "Energy Model||ANE|mJ|500\n"
                   "PMP0|DCS BW|MACC0 RD+WR|events|   1GB/s=50;   9GB/s=50;  32GB/s=0\n"
                   "PMP0|DCS BW|MACC0 RD|events|   1GB/s=50;   9GB/s=50\n"
                   "PMP0|DCS BW|AGX RD+WR|events|   1GB/s=0;  32GB/s=10\n"
                   "PMP0|DCS BW|AMCC RD+WR|events|  32GB/s=10\n",
                   1, &s);
    assert_int_equal(s.n_clusters, 2);
    assert_string_equal(s.cluster[0].name, "P-cores");
    assert_string_equal(s.cluster[1].name, "M-cores");
    close_to(s.core[0].hz, 4608e6);
    close_to(s.core[1].hz, 1344e6);
    close_to(s.cluster[1].load, 0.25);
    close_to(watts("processor"), 18);
    close_to(watts("ANE"), 0.5);
    close_to(s.memory_rate, 37e9);
    assert_true(isnan(s.read_rate));
    assert_true(s.rate_estimated && s.rate_at_least);
    assert_string_equal(s.source[PN_SUBJECT_BANDWIDTH], "histograms of requestors (DCS BW)");
    /* the whole alone */
    pn_sample_clear(&s);
    play_recording(&apple, "PMP|DCS BW|AMCC RD+WR|events|  4GB/s=10;  8GB/s=10\n", 1, &s);
    close_to(s.memory_rate, 6e9);
    assert_true(s.rate_estimated && !s.rate_at_least);
}

static void ultra(void **state)
{
    (void)state;
    play_recording(&apple,
                   "table E 600000,2000000\ntable P 600000,4000000\n"
                   "CPU Stats|CPU Core Performance States|DIE_0_ECPU_CPU0|t|IDLE=1;V0P1=0;V1P0=1\n"
                   "CPU Stats|CPU Core Performance States|DIE_0_PCPU0_CPU0|t|IDLE=1;V0P1=0;V1P0=3\n"
                   "CPU Stats|CPU Core Performance States|DIE_0_PCPU1_CPU3|t|IDLE=1;V0P1=0;V1P0=3\n"
                   "CPU Stats|CPU Core Performance States|DIE_1_PCPU0_CPU0|t|IDLE=1;V0P1=1;V1P0=0\n"
                   "Energy Model||DIE_0_CPU Energy|mJ|5000\nEnergy Model||DIE_1_CPU Energy|uJ|2500000\n"
                   "Energy Model||GPU Energy|mJ|100\nEnergy Model||DIE_1_DRAM|mJ|10\n"
                   "AMC Stats|Perf Counters|DIE0 DCS RD|B|3000\nAMC Stats|Perf Counters|DIE1 DCS RD|B|4000\n"
                   "AMC Stats|Perf Counters|DIE0 ECPU0 DCS RD|B|500\n"
                   "AMC Stats|Perf Counters|DIE1 DCS WR|B|-9223372036854775808\n",
                   1, &s);
    assert_int_equal(s.n_clusters, 4);
    assert_string_equal(s.cluster[0].name, "E-cores of die 0");
    assert_string_equal(s.cluster[2].name, "P-cores 1 of die 0");
    assert_string_equal(s.cluster[3].name, "P-cores 0 of die 1");
    close_to(s.core[1].load, 0.75);
    close_to(s.core[3].hz, 600e6);
    close_to(watts("processor"), 7.5);
    close_to(s.read_rate, 7000); /* of the whole dies, not of their requestors again */
    close_to(s.write_rate, 0);
}

static void other_sources_of_bandwidth(void **state)
{
    (void)state;
    play_recording(&apple, "PMP|DRAM BW|F1 RD|B|100\nPMP|DRAM BW|F5 RD|B|300\nPMP|DRAM BW|F5 WR|B|50\n", 0.5, &s);
    close_to(s.read_rate, 800);
    close_to(s.write_rate, 100);
    /* only sums */
    pn_sample_clear(&s);
    play_recording(&apple,
                   "AMC Stats|Perf Counters|GFX DCS RD/WR|B|100\n"
                   "AMC Stats|Perf Counters|ISP DCS RD/WR + RD/WR|B|10\n"
                   "AMC Stats|Perf Counters|ANS DCS RD|B|1\n",
                   1, &s);
    close_to(s.memory_rate, 111);
    assert_true(isnan(s.read_rate));
    /* all counters hidden: nothing, until DRAM's power is calibrated */
    static const char hidden[] =
        "AMC Stats|Perf Counters|GFX DCS RD|B|-9223372036854775808\nEnergy Model||DRAM|mJ|2000\n";
    pn_sample_clear(&s);
    play_recording(&apple, hidden, 1, &s);
    assert_true(isnan(s.memory_rate));
    assert_true(*s.why[PN_SUBJECT_BANDWIDTH]);
    pn_apple_calibrate(&apple, 1.9, 2.0, 100e9); /* too little difference */
    pn_sample_clear(&s);
    play_recording(&apple, hidden, 1, &s);
    assert_true(isnan(s.memory_rate));
    pn_apple_calibrate(&apple, 1, 5, 100e9);
    pn_sample_clear(&s);
    play_recording(&apple, hidden, 1, &s);
    close_to(s.memory_rate, 25e9);
    assert_true(s.rate_estimated);
    assert_string_equal(s.source[PN_SUBJECT_BANDWIDTH], "estimate from the power of memory");
    pn_sample_clear(&s);
    play_recording(&apple, "Energy Model||DRAM|mJ|500\n", 1, &s);
    close_to(s.memory_rate, 0);
}

static void what_is_broken_is_absent(void **state)
{
    (void)state;
    char long_name[64];
    memset(long_name, 'x', 63);
    long_name[63] = '\0';
    play_recording(&apple,
                   "Energy Model||CPU Energy|kWh|5\nEnergy Model||GPU Energy|mJ|-5\nEnergy Model||DRAM|mJ|x\n"
                   "CPU Stats|CPU Core Performance States|PCPU0|t|IDLE=0;V0P0=0\n"
                   "CPU Stats|CPU Core Performance States|PCPUX|t|IDLE=0;V0P0=9\n"
                   "CPU Stats|CPU Core Performance States|QCPU0|t|IDLE=0;V0P0=9\n"
                   "CPU Stats|CPU Core Performance States|MCPU1|t|IDLE=-5;V0P0=9\n"
                   "PMP|DCS BW|AGX RD+WR|e|fast=5;  -3GB/s=5\nPMPX|DCS BW|AGX RD+WR|e|  3GB/s=5\n"
                   "temp Tp01 0\ntemp Tg01 151\ntemp Tx01 50\n",
                   1, &s);
    assert_int_equal(s.n_cores, 1);
    close_to(s.core[0].load, 1);
    assert_true(isnan(s.core[0].hz)); /* without a table */
    close_to(watts("memory"), 0);
    assert_true(isnan(watts("processor")) && isnan(watts("GPU")));
    assert_true(isnan(s.memory_rate));
    assert_int_equal(s.temperature.n, 0);
    /* a first sample has no interval */
    pn_sample_clear(&s);
    play_recording(&apple, m1_max, NAN, &s);
    assert_int_equal(s.power.n, 0);
    assert_true(isnan(s.memory_rate));
    /* more requestors than there is room for, and one whose name is too long */
    char text[16384] = "", line[160];
    for (int i = 0; i < 70; i++) {
        snprintf(line, sizeof line, "AMC Stats|Perf Counters|R%d DCS RD|B|1\n", i);
        strcat(text, line);
    }
    snprintf(line, sizeof line, "AMC Stats|Perf Counters|%s DCS RD|B|1\n", long_name);
    strcat(text, line);
    pn_sample_clear(&s);
    play_recording(&apple, text, 1, &s);
    close_to(s.read_rate, PN_MAX_REQUESTORS);
}

static void channels_of_interest(void **state)
{
    (void)state;
    assert_true(pn_apple_wants("Energy Model", ""));
    assert_true(pn_apple_wants("Energy Counters", ""));
    assert_true(pn_apple_wants("CPU Stats", "CPU Core Performance States"));
    assert_false(pn_apple_wants("CPU Stats", "CPU Complex Performance States"));
    assert_true(pn_apple_wants("AMC Stats", "Perf Counters"));
    assert_true(pn_apple_wants("PMP1", "DCS BW"));
    assert_false(pn_apple_wants("PMP", "AF BW"));
    assert_false(pn_apple_wants("PMPx", "DCS BW"));
}

static void smc_and_memory(void **state)
{
    (void)state;
    close_to(pn_smc_number("flt ", (const uint8_t[]){0, 0, 0x48, 0x42}, 4), 50);
    close_to(pn_smc_number("fpe2", (const uint8_t[]){0x12, 0x34}, 2), 0x1234 / 4.0);
    close_to(pn_smc_number("sp78", (const uint8_t[]){0xff, 0x80}, 2), -0.5);
    close_to(pn_smc_number("ui32", (const uint8_t[]){0, 0, 1, 2}, 4), 258);
    close_to(pn_smc_number("ui8 ", (const uint8_t[]){3}, 1), 3);
    assert_true(isnan(pn_smc_number("flt ", (const uint8_t[]){0, 0, 0xc0, 0x7f}, 4)));
    assert_true(isnan(pn_smc_number("flt ", (const uint8_t[]){0, 0, 0x48, 0x42}, 2)));
    assert_true(isnan(pn_smc_number("ch8*", (const uint8_t[]){0, 0, 0x48, 0x42}, 4)));
    struct pn_apple_pages pages = {100, 50, 30, 5, 20, 10, 40};
    close_to(pn_apple_used(&pages, 16384), 155 * 16384.0);
    pages.external = 1000;
    assert_true(isnan(pn_apple_used(&pages, 16384)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(m1, fresh),
        cmocka_unit_test_setup(m5_max, fresh),
        cmocka_unit_test_setup(ultra, fresh),
        cmocka_unit_test_setup(other_sources_of_bandwidth, fresh),
        cmocka_unit_test_setup(what_is_broken_is_absent, fresh),
        cmocka_unit_test_setup(channels_of_interest, fresh),
        cmocka_unit_test_setup(smc_and_memory, fresh),
    };
    return cmocka_run_group_tests_name("monitor_apple", tests, NULL, NULL);
}
