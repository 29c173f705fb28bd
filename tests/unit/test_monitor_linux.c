/* The parsers of Linux' text files, on made-up trees of /proc and /sys: usual machines, missing files, hostile
 * contents. */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "monitor/facts.h"
#include "monitor/files.h"
#include "monitor/linux.h"
#include "monitor/linux_clients.h"
#include "monitor/nvml.h"
#include "monitor/perf.h"

static struct pn_sample s;

/* Writes a file of the fixture and its folders. */
static void put(const char *name, const char *text)
{
    char path[512];
    int n = snprintf(path, sizeof path, "%s/%s", root, name);
    assert_true(n > 0 && (size_t)n < sizeof path);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
        *p = '/';
    }
    write_file(path, text, 0666);
}

static int make_root(void **state)
{
    (void)state;
    return make_folder("monitor");
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

static void close_to(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (fabs(b) + 1)))
        fail_msg("found %.12g, expected %.12g", a, b);
}

/* A sample of one source, `seconds` after the one before. */
static void take(const struct pn_source *source, void *state, double seconds)
{
    pn_sample_clear(&s);
    s.seconds = seconds;
    source->read(state, &s);
}

static double reading(const struct pn_sensors *list, const char *name)
{
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->at[i].name, name) == 0)
            return list->at[i].value;
    return NAN;
}

/* ---- processor ---- */

static void load_and_clocks(void **state)
{
    (void)state;
    put("proc/stat",
        "cpu  0 0 0 0\ncpu0 100 0 50 800 50 0 0 0 0 0\ncpu1 10 5 5 80 0 0 0 0 9 9\nintr 5\ncpu7 1 1 1 1\n");
    put("proc/cpuinfo", "processor : 0\nmodel name\t: Good Processor 9000\x1b[31m\ncpu MHz\t\t: 1.5\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "4800000\n");
    put("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "800000\n");
    put("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "3600000\n");
    put("sys/devices/cpu_core/cpus", "0\n");
    put("sys/devices/cpu_atom/cpus", "1-3\n");
    put("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "5\n");
    put("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "10\n");
    put("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "5\n");
    put("sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "10\n");
    void *p = pn_source_processor.open(root);
    take(&pn_source_processor, p, NAN);
    assert_int_equal(s.n_cores, 2);
    assert_true(isnan(s.load) && isnan(s.core[0].load) && isnan(s.throttled));
    assert_string_equal(s.why[PN_SUBJECT_LOAD], "");
    assert_string_equal(s.machine, "Good Processor 9000?[31m");
    close_to(s.core[0].hz, 2.4e9);
    assert_string_equal(s.cluster[0].name, "P-cores");
    assert_string_equal(s.cluster[1].name, "E-cores");
    close_to(s.cluster[0].most_hz, 4.8e9);
    /* 100 ticks: 25 busy, 60 idle, 15 of waiting for a disk; the other core's guests count in user already */
    put("proc/stat", "cpu  0 0 0 0\ncpu0 120 0 55 860 65 0 0 0 0 0\ncpu1 40 15 15 130 0 0 0 0 99 99\n");
    put("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "9\n");
    put("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "16\n");
    put("sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "16\n");
    take(&pn_source_processor, p, 2);
    close_to(s.core[0].load, 0.25);
    close_to(s.core[1].load, 0.5);
    close_to(s.load, 0.375);
    close_to(s.cluster[1].load, 0.5);
    close_to(s.throttled, 5); /* 4 of the core and 6 of the package, once, in 2 s */
    /* counters that go backwards or stand still say nothing */
    put("proc/stat", "cpu0 119 0 55 860 65 0 0 0\ncpu1 40 15 15 130 0 0 0 0\n");
    take(&pn_source_processor, p, 1);
    assert_true(isnan(s.core[0].load) && isnan(s.core[1].load) && isnan(s.load));
    pn_source_processor.close(p);
}

static void other_processors(void **state)
{
    (void)state;
    /* a virtual machine: no cpufreq, and clocks of two packages in /proc/cpuinfo */
    put("proc/stat", "cpu0 1 1 1 1\ncpu2 1 1 1 1\n");
    put("proc/cpuinfo", "cpu MHz : 2100.5\n\ncpu MHz : 3e99\ncpu MHz : 5\n");
    put("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
    put("sys/devices/system/cpu/cpu2/topology/physical_package_id", "1\n");
    void *p = pn_source_processor.open(root);
    take(&pn_source_processor, p, NAN);
    take(&pn_source_processor, p, 1);
    close_to(s.core[0].hz, 2.1005e9);
    assert_true(isnan(s.core[1].hz));
    assert_string_equal(s.source[PN_SUBJECT_CLOCK], "/proc/cpuinfo (nominal)");
    assert_string_equal(s.cluster[0].name, "cores of package 0");
    assert_string_equal(s.cluster[1].name, "cores of package 1");
    assert_string_equal(s.why[PN_SUBJECT_THROTTLE], "this system does not count it");
    pn_source_processor.close(p);
    /* arm: capacities, and a cooler that holds the processor back */
    put("sys/devices/system/cpu/cpu2/topology/physical_package_id", "0\n");
    put("sys/devices/system/cpu/cpu0/cpu_capacity", "446\n");
    put("sys/devices/system/cpu/cpu2/cpu_capacity", "1024\n");
    put("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n");
    put("sys/class/thermal/cooling_device0/cur_state", "2\n");
    put("sys/class/thermal/cooling_device0/max_state", "8\n");
    put("sys/class/thermal/cooling_device1/type", "Fan\n");
    put("sys/class/thermal/cooling_device1/cur_state", "9\n");
    put("sys/class/thermal/cooling_device1/max_state", "9\n");
    p = pn_source_processor.open(root);
    take(&pn_source_processor, p, NAN);
    take(&pn_source_processor, p, 1);
    assert_string_equal(s.cluster[0].name, "cores 446");
    assert_string_equal(s.cluster[1].name, "cores 1024");
    close_to(s.throttled, 0.25);
    pn_source_processor.close(p);
}

static void hostile_processors(void **state)
{
    (void)state;
    static const char *const stats[] = {"",
                                        "cpu",
                                        "cpu0",
                                        "cpu0\n",
                                        "cpu99999999999999999999 1 2 3 4\n",
                                        "cpu5000 1 2 3 4\n",
                                        "cpu0 18446744073709551615 18446744073709551615 1 1\n",
                                        "cpu0 -5 3 4\n",
                                        "cpu0 1 2 99999999999999999999999 4\n",
                                        "cpuX 1 2\n\n\n",
                                        "nonsense",
                                        "cpu0 1 2 3 4"};
    for (size_t i = 0; i < sizeof stats / sizeof *stats; i++) {
        put("proc/stat", stats[i]);
        void *p = pn_source_processor.open(root);
        take(&pn_source_processor, p, NAN);
        take(&pn_source_processor, p, 1);
        assert_true(isnan(s.load));
        assert_true(s.n_cores > 0 || *s.why[PN_SUBJECT_LOAD]);
        pn_source_processor.close(p);
    }
    unlink(in_root("proc/stat"));
    void *p = pn_source_processor.open(root);
    take(&pn_source_processor, p, NAN);
    assert_string_equal(s.why[PN_SUBJECT_LOAD], "this system does not have it: /proc/stat");
    /* more processors than there is room for, each with a package of its own */
    char *big = malloc(1 << 20), *end = big;
    for (int i = 0; i < 2000; i++)
        end += sprintf(end, "cpu%d 1 1 1 1\n", i);
    put("proc/stat", big);
    free(big);
    take(&pn_source_processor, p, NAN);
    assert_int_equal(s.n_cores, PN_MAX_CORES);
    pn_source_processor.close(p);
}

/* ---- memory ---- */

static void memory(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal:       16000 kB\nMemFree: 100 kB\nMemAvailable:   12000 kB\nSwapTotal: 800 kB\n"
                        "SwapFree:  300 kB\n");
    put("proc/pressure/memory", "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=3.00 avg60=0 total=9\n");
    void *p = pn_source_memory.open(root);
    take(&pn_source_memory, p, NAN);
    close_to(s.memory_total, 16000 * 1024);
    close_to(s.memory_used, 4000 * 1024);
    close_to(s.memory_available, 12000 * 1024);
    close_to(s.swap_used, 500 * 1024);
    close_to(s.pressure, 0.125);
    close_to(s.pressure_full, 0.03);
    put("proc/meminfo", "MemTotal: 5 kB\nMemAvailable: 9 kB\nSwapTotal: x\nSwapFree: 5 kB\n");
    put("proc/pressure/memory", "full avg10=3.00\nsome avg10=777\n");
    take(&pn_source_memory, p, 1);
    assert_true(isnan(s.memory_used) && isnan(s.swap_used) && isnan(s.pressure));
    assert_string_equal(s.why[PN_SUBJECT_PRESSURE], "/proc/pressure/memory has another form");
    assert_true(strstr(s.why[PN_SUBJECT_MEMORY], "/proc/meminfo has no"));
    put("proc/meminfo", "MemTotal: 99999999999999999999999 kB");
    put("proc/pressure/memory", "some full\nfull avg10=1");
    take(&pn_source_memory, p, 1);
    assert_true(isnan(s.memory_total) && isnan(s.pressure));
    unlink(in_root("proc/pressure/memory"));
    take(&pn_source_memory, p, 1);
    assert_string_equal(s.why[PN_SUBJECT_PRESSURE], "this system does not have it: /proc/pressure/memory");
    pn_source_memory.close(p);
}

/* ---- power and sensors ---- */

static void energy(void **state)
{
    (void)state;
    put("sys/class/powercap/intel-rapl:0/name", "package-0\n");
    put("sys/class/powercap/intel-rapl:0/energy_uj", "1000000\n");
    put("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "10000000\n");
    put("sys/class/powercap/intel-rapl:0:0/name", "core\n");
    put("sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n");
    put("sys/class/powercap/intel-rapl:1:0/name", "dram\n");
    put("sys/class/powercap/intel-rapl:1:0/energy_uj", "0\n");
    put("sys/class/powercap/intel-rapl-mmio:0/name", "package-0\n");
    put("sys/class/powercap/intel-rapl-mmio:0/energy_uj", "0\n");
    void *p = pn_source_rapl.open(root);
    take(&pn_source_rapl, p, NAN);
    assert_int_equal(s.power.n, 0);
    assert_string_equal(s.why[PN_SUBJECT_POWER], "");
    put("sys/class/powercap/intel-rapl:0/energy_uj", "21000000\n");
    put("sys/class/powercap/intel-rapl:0:0/energy_uj", "3000005\n");
    put("sys/class/powercap/intel-rapl:1:0/energy_uj", "1000000\n");
    take(&pn_source_rapl, p, 2);
    assert_int_equal(s.power.n, 3);
    close_to(reading(&s.power, "package 0"), 10);
    close_to(reading(&s.power, "cores"), 1.5);
    close_to(reading(&s.power, "memory 1"), 0.5);
    put("sys/class/powercap/intel-rapl:0/energy_uj", "13000000\n"); /* it wrapped around */
    put("sys/class/powercap/intel-rapl:0:0/energy_uj", "0\n");      /* without a known range it is a gap */
    put("sys/class/powercap/intel-rapl:1:0/energy_uj", "??\n");
    take(&pn_source_rapl, p, 1);
    assert_int_equal(s.power.n, 1);
    close_to(reading(&s.power, "package 0"), 2);
    pn_source_rapl.close(p);
    if (geteuid() != 0) {
        chmod(in_root("sys/class/powercap/intel-rapl:0/energy_uj"), 0);
        chmod(in_root("sys/class/powercap/intel-rapl:0:0/energy_uj"), 0);
        chmod(in_root("sys/class/powercap/intel-rapl:1:0/energy_uj"), 0);
        p = pn_source_rapl.open(root);
        take(&pn_source_rapl, p, 1);
        assert_true(strstr(s.why[PN_SUBJECT_POWER], "no permission: /sys/class/powercap/"));
        pn_source_rapl.close(p);
    }
}

static void sensors(void **state)
{
    (void)state;
    put("sys/class/hwmon/hwmon0/name", "coretemp\n");
    put("sys/class/hwmon/hwmon0/temp1_input", "61500\n");
    put("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n");
    put("sys/class/hwmon/hwmon0/temp1_crit", "100000\n");
    put("sys/class/hwmon/hwmon0/temp2_input", "-5000\n");
    put("sys/class/hwmon/hwmon0/temp3_input", "255000\n"); /* a sensor that is not connected */
    put("sys/class/hwmon/hwmon0/temp_input", "1\n");
    put("sys/class/hwmon/hwmon0/temp1_max_alarm", "1\n");
    put("sys/class/hwmon/hwmon10/name", "nct6775\n");
    put("sys/class/hwmon/hwmon10/fan2_input", "1234\n");
    put("sys/class/hwmon/hwmon10/fan2_max", "2000\n");
    put("sys/class/hwmon/hwmon10/power1_average", "4500000\n");
    void *p = pn_source_hwmon.open(root);
    take(&pn_source_hwmon, p, NAN);
    assert_int_equal(s.temperature.n, 2);
    close_to(reading(&s.temperature, "coretemp Package id 0"), 61.5);
    close_to(s.temperature.at[0].most, 100);
    close_to(reading(&s.temperature, "coretemp temp2"), -5);
    close_to(reading(&s.fan, "nct6775 fan2"), 1234);
    close_to(s.fan.at[0].most, 2000);
    close_to(reading(&s.power, "nct6775 power1"), 4.5);
    unlink(in_root("sys/class/hwmon/hwmon10/fan2_input"));
    take(&pn_source_hwmon, p, 1);
    assert_int_equal(s.fan.n, 0);
    assert_true(strstr(s.why[PN_SUBJECT_FAN], "/sys/class/hwmon/hwmon10/fan2_input"));
    pn_source_hwmon.close(p);
}

static void no_sensors(void **state)
{
    (void)state;
    void *p = pn_source_hwmon.open(root);
    take(&pn_source_hwmon, p, 1);
    assert_true(*s.why[PN_SUBJECT_TEMPERATURE] && *s.why[PN_SUBJECT_FAN] && *s.why[PN_SUBJECT_POWER]);
    pn_source_hwmon.close(p);
    put("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    put("sys/class/thermal/thermal_zone0/temp", "48000\n");
    p = pn_source_hwmon.open(root);
    take(&pn_source_hwmon, p, 1);
    close_to(reading(&s.temperature, "cpu-thermal"), 48);
    pn_source_hwmon.close(p);
}

/* ---- GPUs ---- */

static void cards(void **state)
{
    (void)state;
    put("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_ID=1002:744C\n");
    put("sys/class/drm/card0/device/gpu_busy_percent", "37\n");
    put("sys/class/drm/card0/device/mem_busy_percent", "101\n");
    put("sys/class/drm/card0/device/mem_info_vram_used", "1073741824\n");
    put("sys/class/drm/card0/device/mem_info_vram_total", "25753026560\n");
    put("sys/class/drm/card0/device/hwmon/hwmon3/freq1_input", "2500000000\n");
    put("sys/class/drm/card0/device/hwmon/hwmon3/temp1_input", "55000\n");
    put("sys/class/drm/card0/device/hwmon/hwmon3/power1_average", "150000000\n");
    put("sys/class/drm/card0-DP-1/device/uevent", "DRIVER=amdgpu\n");
    put("sys/class/drm/card1/device/uevent", "DRIVER=i915\nPCI_ID=8086:9A49\n");
    put("sys/class/drm/card1/gt_act_freq_mhz", "300\n");
    put("sys/class/drm/card2/device/uevent", "DRIVER=virtio-pci\n");
    void *p = pn_source_drm.open(root);
    take(&pn_source_drm, p, 1);
    assert_int_equal(s.n_gpus, 2);
    assert_string_equal(s.gpu[0].name, "AMD 1002:744C");
    close_to(s.gpu[0].load, 0.37);
    assert_true(isnan(s.gpu[0].memory_load));
    close_to(s.gpu[0].used, 1073741824.0);
    close_to(s.gpu[0].hz, 2.5e9);
    close_to(s.gpu[0].celsius, 55);
    close_to(s.gpu[0].watts, 150);
    assert_string_equal(s.gpu[1].name, "Intel 8086:9A49");
    close_to(s.gpu[1].hz, 300e6);
    assert_true(isnan(s.gpu[1].load));
    pn_source_drm.close(p);
}

static void link_file(const char *name, const char *target)
{
    char path[512];
    put(name, "");
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(target, path), 0);
}

/* Processes of cards: several descriptors of one client count once, several clients of a process add up. */
static void clients_of_cards(void **state)
{
    (void)state;
    static const char amd[] = "pos:\t0\ndrm-driver:\tamdgpu\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t";
    char text[512];
    put("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_ID=1002:744C\nPCI_SLOT_NAME=0000:03:00.0\n");
    put("sys/class/drm/card0/device/gpu_busy_percent", "1\n");
    put("sys/class/drm/card1/device/uevent", "DRIVER=xe\nPCI_ID=8086:56A0\nPCI_SLOT_NAME=0000:04:00.0\n");
    put("sys/class/drm/card1/device/tile0/gt0/freq0/act_freq", "1\n");
    put("proc/70/comm", "pantry\033\n");
    link_file("proc/70/fd/3", "/dev/dri/renderD128");
    link_file("proc/70/fd/4", "/dev/dri/renderD128");
    link_file("proc/70/fd/5", "/dev/dri/card0");
    link_file("proc/70/fd/6", "/dev/null");
    snprintf(text, sizeof text, "%s7\ndrm-memory-vram:\t1024 KiB\ndrm-memory-gtt:\t4 KiB\n", amd);
    put("proc/70/fdinfo/3", text);
    put("proc/70/fdinfo/4", text);
    put("proc/70/fdinfo/6", text);
    snprintf(text, sizeof text, "%s8\ndrm-memory-vram:\t9 KiB\ndrm-resident-vram:\t2 MiB\ndrm-total-vram: 1 GiB\n",
             amd);
    put("proc/70/fdinfo/5", text);
    put("proc/81/comm", "game\n");
    link_file("proc/81/fd/9", "/dev/dri/renderD129");
    put("proc/81/fdinfo/9",
        "drm-pdev: 0000:04:00.0\ndrm-client-id: 7\ndrm-resident-system: 5 KiB\ndrm-resident-gtt: 6 KiB\n");
    put("proc/82/comm", "other\n"); /* a card that is not there */
    link_file("proc/82/fd/9", "/dev/dri/renderD130");
    put("proc/82/fdinfo/9", "drm-pdev: 0000:05:00.0\ndrm-client-id: 7\ndrm-memory-vram: 5 KiB\n");
    put("proc/self/fdinfo/9", "drm-pdev: 0000:03:00.0\n");
    void *p = pn_source_drm.open(root);
    for (int i = 0; i < 12; i++) {
        take(&pn_source_drm, p, 1);
        assert_int_equal(s.n_gpu_processes, 2);
        assert_string_equal(s.gpu_process[0].name, "pantry?");
        assert_true(s.gpu_process[0].pid == 70 && s.gpu_process[0].gpu == 0);
        close_to(s.gpu_process[0].bytes, (1024 << 10) + (2 << 20));
        assert_true(s.gpu_process[1].pid == 81 && s.gpu_process[1].gpu == 1);
        close_to(s.gpu_process[1].bytes, 11 << 10);
        assert_true(!*s.why[PN_SUBJECT_GPU_PROCESSES]);
    }
    pn_source_drm.close(p);
    struct pn_drm_usage u;
    assert_false(pn_drm_usage_parse("drm-client-id: 3\n", &u));
    assert_false(pn_drm_usage_parse("", &u));
    assert_true(pn_drm_usage_parse("drm-pdev: a\ndrm-client-id: 3\ndrm-memory-vram: 1 furlong\ndrm-memory-\n", &u));
    assert_true(isnan(u.bytes));
    assert_true(pn_drm_usage_parse("drm-pdev: a\ndrm-client-id: 3\ndrm-memory-vram: 77\n", &u));
    close_to(u.bytes, 77);
}

/* A driver with two GPUs, of which the second answers nothing. */
static int fake_count(unsigned *n)
{
    *n = 3;
    return 0;
}
static int fake_device(unsigned i, void **d)
{
    static int handle[2];
    *d = &handle[i < 2 ? i : 0];
    return i < 2 ? 0 : 15;
}
static bool is_second(void *d)
{
    void *second;
    fake_device(1, &second);
    return d == second;
}
static int fake_name(void *d, char *out, unsigned size)
{
    snprintf(out, size, "NVIDIA H200");
    return is_second(d) ? 3 : 0;
}
static int fake_use(void *d, unsigned percent[2])
{
    percent[0] = 91;
    percent[1] = 45;
    return is_second(d) ? 3 : 0;
}
static int fake_memory(void *d, unsigned long long bytes[3])
{
    bytes[0] = 150;
    bytes[1] = 50;
    bytes[2] = 100;
    return is_second(d) ? 3 : 0;
}
static int fake_memory2(void *d, unsigned long long bytes[5])
{
    assert_int_equal(bytes[0], 40 | 2 << 24);
    bytes[1] = 150;
    bytes[4] = 70;
    return is_second(d) ? 3 : 0;
}
static int fake_number(void *d, unsigned *v)
{
    *v = 700500;
    return is_second(d) ? 3 : 0;
}
static int fake_sensor(void *d, int which, unsigned *v)
{
    *v = which == 0 ? 66 : 0;
    return is_second(d) ? 3 : 0;
}
static int fake_reasons(void *d, unsigned long long *bits)
{
    *bits = 0x4;
    return is_second(d) ? 3 : 0;
}
static int fake_processes(void *d, unsigned *n, void *out)
{
    unsigned row[6] = {0};
    unsigned long long bytes = 77;
    row[0] = 4294967295u;
    memcpy(row + 2, &bytes, sizeof bytes);
    memcpy(out, row, sizeof row);
    *n = 1;
    return is_second(d) ? 3 : 0;
}

static void nvidia(void **state)
{
    (void)state;
    struct pn_nvml fake = {.count = fake_count,
                           .device = fake_device,
                           .name = fake_name,
                           .use = fake_use,
                           .memory = fake_memory,
                           .power = fake_number,
                           .temperature = fake_sensor,
                           .clock = fake_sensor,
                           .reasons = fake_reasons,
                           .processes = fake_processes};
    pn_sample_clear(&s);
    pn_nvml_read(&fake, &s);
    assert_int_equal(s.n_gpus, 2);
    assert_string_equal(s.gpu[0].name, "NVIDIA H200");
    close_to(s.gpu[0].load, 0.91);
    close_to(s.gpu[0].memory_load, 0.45);
    close_to(s.gpu[0].total, 150);
    close_to(s.gpu[0].used, 100);
    close_to(s.gpu[0].watts, 700.5);
    close_to(s.gpu[0].celsius, 66);
    close_to(s.gpu[0].hz, 66e6);
    close_to(s.gpu[0].throttled, 1);
    assert_string_equal(s.gpu[1].name, "NVIDIA");
    assert_true(isnan(s.gpu[1].load) && isnan(s.gpu[1].used) && isnan(s.gpu[1].throttled));
    assert_int_equal(s.n_gpu_processes, 1);
    close_to(s.gpu_process[0].bytes, 77);
    assert_int_equal(s.gpu_process[0].pid, 4294967295);
    fake.processes = NULL;
    fake.memory2 = fake_memory2;
    pn_sample_clear(&s);
    pn_nvml_read(&fake, &s);
    close_to(s.gpu[0].used, 70);
    close_to(s.gpu[0].total, 150);
    assert_true(isnan(s.gpu[1].used));
    assert_string_equal(s.why[PN_SUBJECT_GPU_PROCESSES], "NVIDIA's driver is too old");
}

/* ---- memory controllers ---- */

#define PMU "sys/bus/event_source/devices/"

static void controllers(void **state)
{
    (void)state;
    static struct pn_counter c[PN_MAX_COUNTERS];
    assert_int_equal(pn_perf_counters(root, c), 0);
    put(PMU "uncore_imc_10/type", "31\n");
    put(PMU "uncore_imc_10/cpumask", "0,32\n");
    put(PMU "uncore_imc_10/format/event", "config:0-7\n");
    put(PMU "uncore_imc_10/format/umask", "config:8-15\n");
    put(PMU "uncore_imc_10/events/cas_count_read", "event=0x05,umask=0xcf\n");
    put(PMU "uncore_imc_10/events/cas_count_read.scale", "6.103515625e-5\n");
    put(PMU "uncore_imc_10/events/cas_count_read.unit", "MiB\n");
    put(PMU "uncore_imc_10/events/cas_count_write", "event=0x05,umask=0xf0\n");
    put(PMU "amd_umc_3/type", "40\n");
    put(PMU "amd_umc_3/format/event", "config:0-7\n");
    put(PMU "amd_umc_3/format/rdwrmask", "config:8-9\n");
    put(PMU "uncore_imc_free_running_0/type", "7\n");
    put(PMU "uncore_imc_free_running_0/format/event", "config:0-7\n");
    put(PMU "uncore_imc_free_running_0/format/umask", "config:8-15\n");
    put(PMU "uncore_imc_free_running_0/events/data_read", "event=0xff,umask=0x20\n");
    put(PMU "uncore_imcx/type", "9\n");
    int n = pn_perf_counters(root, c), reads = 0;
    assert_int_equal(n, 7);
    for (int i = 0; i < n; i++) {
        reads += !c[i].writes;
        close_to(c[i].bytes, 64);
        if (c[i].type == 31 && !c[i].writes)
            assert_int_equal(c[i].config[0], 0xcf05);
        if (c[i].type == 40)
            assert_int_equal(c[i].config[0], c[i].writes ? 0x20a : 0x10a);
        if (c[i].type == 7)
            assert_int_equal(c[i].config[0], 0x20ff);
    }
    assert_int_equal(reads, 4);
}

static void hostile_controllers(void **state)
{
    (void)state;
    uint64_t config[3];
    put("f/event", "config:0-7\n");
    put("f/wide", "config1:0-3,32-35\n");
    put("f/bad1", "config:70\n");
    put("f/bad2", "config9:0\n");
    put("f/bad3", "config:5-2\n");
    put("f/bad4", "config");
    put("f/bad5", "config:3-\n");
    assert_true(pn_perf_event(root, "f", "event=0x12,wide=0xab\n", config));
    assert_int_equal(config[0], 0x12);
    assert_true(config[1] == (0xbull | 0xaull << 32));
    assert_true(pn_perf_event(root, "f", "event", config));
    assert_int_equal(config[0], 1);
    static const char *const bad[] = {"event=0x100",
                                      "event=",
                                      "=5",
                                      "unknown=1",
                                      "bad1=1",
                                      "bad2=1",
                                      "bad3=1",
                                      "bad4=1",
                                      "bad5=1",
                                      "../f/event=1",
                                      "event=1;",
                                      "event=1,,event=1",
                                      "a_word_that_is_far_too_long_for_any_format=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (pn_perf_event(root, "f", bad[i], config))
            fail_msg("%s is accepted", bad[i]);
}

/* ---- facts ---- */

static void facts(void **state)
{
    (void)state;
    struct pn_facts f;
    pn_facts_read(root, &f);
    assert_true(!*f.governor && !*f.large_pages && !*f.flags);
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "balance_power\n");
    put("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu smep avx avx2 fma amx_int8 avx512_vnni sse2\n\nflags : avx\n");
    pn_facts_read(root, &f);
    assert_string_equal(f.governor, "powersave");
    assert_string_equal(f.driver, "intel_pstate");
    assert_string_equal(f.preference, "balance_power");
    assert_string_equal(f.large_pages, "never");
    assert_string_equal(f.flags, "avx avx2 fma amx_int8 avx512_vnni");
    put("sys/kernel/mm/transparent_hugepage/enabled", "]x[never");
    put("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm sve2 crc32");
    pn_facts_read(root, &f);
    assert_string_equal(f.large_pages, "");
    assert_string_equal(f.flags, "asimd asimddp i8mm sve2");
}

/* ---- files ---- */

static int listed[16], n_listed;

static void keep(void *user, int number)
{
    (void)user;
    if (n_listed < 16)
        listed[n_listed++] = number;
}

static void lists_and_numbers(void **state)
{
    (void)state;
    uint64_t v;
    char names[8][PN_ENTRY];
    assert_int_equal(pn_parse_list("0-2,8,10-11\n", 11, keep, NULL), 5);
    assert_int_equal(listed[3], 8);
    assert_int_equal(listed[4], 10);
    assert_int_equal(pn_parse_list("5-18446744073709551615", 7, keep, NULL), 2);
    assert_int_equal(pn_parse_list("3-1,4", 7, keep, NULL), 1);
    assert_int_equal(pn_parse_list("x", 7, keep, NULL), 0);
    assert_true(pn_parse_u64(" 18446744073709551615", &v) && v == UINT64_MAX);
    assert_false(pn_parse_u64("18446744073709551616", &v));
    assert_false(pn_parse_u64("-1", &v));
    put("d/card10", "");
    put("d/card2", "");
    put("d/other", "");
    assert_int_equal(pn_list_folder(root, "d", "card", names, 8), 2);
    assert_string_equal(names[0], "card2");
    assert_string_equal(names[1], "card10");
    assert_int_equal(pn_list_folder(root, "nowhere", "", names, 8), 0);
    char long_path[PN_PATH + 10], text[8];
    memset(long_path, 'a', sizeof long_path);
    long_path[sizeof long_path - 1] = '\0';
    assert_int_equal(pn_read_text(root, long_path, text, sizeof text), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    put("d/long", "123456789");
    assert_int_equal(pn_read_text(root, "d/long", text, sizeof text), 7);
    assert_int_equal(pn_read_text(root, "d", text, sizeof text), -1); /* a folder */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(load_and_clocks),
        TEST(other_processors),
        TEST(hostile_processors),
        TEST(memory),
        TEST(energy),
        TEST(sensors),
        TEST(no_sensors),
        TEST(cards),
        TEST(clients_of_cards),
        TEST(nvidia),
        TEST(controllers),
        TEST(hostile_controllers),
        TEST(lists_and_numbers),
        TEST(facts),
    };
    return cmocka_run_group_tests_name("monitor_linux", tests, NULL, NULL);
}
