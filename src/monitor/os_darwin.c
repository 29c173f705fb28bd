/* macOS: the sources of samples. Nothing here needs root. Apple's private libraries are opened at run time, so that a
 * system without them only loses what they tell; what their counters mean is in apple.c.
 *
 * Written after the headers of Darwin and published programs (see apple.h); it has been compiled, and not run on a Mac
 * yet. */
#ifdef __APPLE__
#define _DARWIN_C_SOURCE 1
#include "monitor/source.h"

#include "monitor/apple.h"
#include "base/clock.h"
#include "pantry.h"

#include <dlfcn.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysctl.h>

typedef const void *ref;
enum { UTF8 = 0x08000100, NUMBER_INT64 = 4, MAX_STATES = 64, MAX_KEYS = 64, TEMPERATURE_EVENT = 15 };

/* ---- functions of Core Foundation, IOKit and IOReport ---- */

struct calls {
    void *cf, *iokit, *ioreport, *system;
    /* Core Foundation */
    ref (*string)(ref allocator, const char *text, uint32_t encoding);
    unsigned char (*text)(ref string, char *out, long size, uint32_t encoding);
    void (*release)(ref);
    ref (*value)(ref dictionary, ref key);
    long (*count)(ref array);
    ref (*at)(ref array, long i);
    long (*data_length)(ref data);
    const uint8_t *(*data_bytes)(ref data);
    unsigned char (*number)(ref number, long type, void *out);
    unsigned long (*type)(ref);
    unsigned long (*number_type)(void);
    unsigned long (*data_type)(void);
    ref (*array)(ref allocator, long most, ref callbacks);
    void (*append)(ref array, ref value);
    ref (*copy_dictionary)(ref allocator, long most, ref dictionary);
    void (*set)(ref dictionary, ref key, ref value);
    ref (*new_dictionary)(ref allocator, const ref *keys, const ref *values, long n, ref on_key, ref on_value);
    ref (*new_number)(ref allocator, long type, const void *value);
    ref array_callbacks, key_callbacks, value_callbacks;
    /* IOKit */
    ref (*matching)(const char *name);
    int (*services)(unsigned port, ref matching, unsigned *iterator);
    unsigned (*next)(unsigned iterator);
    int (*release_object)(unsigned object);
    int (*entry_name)(unsigned entry, char name[128]);
    ref (*property)(unsigned entry, ref key, ref allocator, uint32_t options);
    int (*open)(unsigned service, unsigned task, uint32_t type, unsigned *connection);
    int (*close)(unsigned connection);
    int (*call)(unsigned connection, uint32_t selector, const void *in, size_t n_in, void *out, size_t *n_out);
    ref (*hid_client)(ref allocator);
    int (*hid_matching)(ref client, ref matching);
    ref (*hid_services)(ref client);
    ref (*hid_property)(ref service, ref key);
    ref (*hid_event)(ref service, int64_t type, int32_t options, int64_t timeout);
    double (*hid_value)(ref event, int32_t field);
    /* notify(3) */
    uint32_t (*notify_check)(const char *name, int *token);
    uint32_t (*notify_state)(int token, uint64_t *state);
    uint32_t (*notify_end)(int token);
    /* IOReport */
    ref (*channels)(uint64_t a, uint64_t b);
    ref (*subscribe)(void *a, ref channels, ref *out, uint64_t b, ref c);
    ref (*sample)(ref subscription, ref channels, ref a);
    ref (*delta)(ref before, ref after, ref a);
    ref (*group)(ref channel);
    ref (*subgroup)(ref channel);
    ref (*name)(ref channel);
    ref (*unit)(ref channel);
    int64_t (*simple)(ref channel, int a);
    int (*n_states)(ref channel);
    ref (*state_name)(ref channel, int i);
    int64_t (*residency)(ref channel, int i);
};

#define F(library_, symbol_, member_)                                                                                  \
    {                                                                                                                  \
        offsetof(struct calls, library_), symbol_, offsetof(struct calls, member_)                                     \
    }
static const struct {
    size_t library;
    const char *symbol;
    size_t member;
} functions[] = {
    F(cf, "CFStringCreateWithCString", string),
    F(cf, "CFStringGetCString", text),
    F(cf, "CFRelease", release),
    F(cf, "CFDictionaryGetValue", value),
    F(cf, "CFArrayGetCount", count),
    F(cf, "CFArrayGetValueAtIndex", at),
    F(cf, "CFDataGetLength", data_length),
    F(cf, "CFDataGetBytePtr", data_bytes),
    F(cf, "CFNumberGetValue", number),
    F(cf, "CFGetTypeID", type),
    F(cf, "CFNumberGetTypeID", number_type),
    F(cf, "CFDataGetTypeID", data_type),
    F(cf, "CFArrayCreateMutable", array),
    F(cf, "CFArrayAppendValue", append),
    F(cf, "CFDictionaryCreateMutableCopy", copy_dictionary),
    F(cf, "CFDictionarySetValue", set),
    F(cf, "CFDictionaryCreate", new_dictionary),
    F(cf, "CFNumberCreate", new_number),
    F(cf, "kCFTypeArrayCallBacks", array_callbacks),
    F(cf, "kCFTypeDictionaryKeyCallBacks", key_callbacks),
    F(cf, "kCFTypeDictionaryValueCallBacks", value_callbacks),
    F(iokit, "IOServiceMatching", matching),
    F(iokit, "IOServiceGetMatchingServices", services),
    F(iokit, "IOIteratorNext", next),
    F(iokit, "IOObjectRelease", release_object),
    F(iokit, "IORegistryEntryGetName", entry_name),
    F(iokit, "IORegistryEntryCreateCFProperty", property),
    F(iokit, "IOServiceOpen", open),
    F(iokit, "IOServiceClose", close),
    F(iokit, "IOConnectCallStructMethod", call),
    F(iokit, "IOHIDEventSystemClientCreate", hid_client),
    F(iokit, "IOHIDEventSystemClientSetMatching", hid_matching),
    F(iokit, "IOHIDEventSystemClientCopyServices", hid_services),
    F(iokit, "IOHIDServiceClientCopyProperty", hid_property),
    F(iokit, "IOHIDServiceClientCopyEvent", hid_event),
    F(iokit, "IOHIDEventGetFloatValue", hid_value),
    F(system, "notify_register_check", notify_check),
    F(system, "notify_get_state", notify_state),
    F(system, "notify_cancel", notify_end),
    F(ioreport, "IOReportCopyAllChannels", channels),
    F(ioreport, "IOReportCreateSubscription", subscribe),
    F(ioreport, "IOReportCreateSamples", sample),
    F(ioreport, "IOReportCreateSamplesDelta", delta),
    F(ioreport, "IOReportChannelGetGroup", group),
    F(ioreport, "IOReportChannelGetSubGroup", subgroup),
    F(ioreport, "IOReportChannelGetChannelName", name),
    F(ioreport, "IOReportChannelGetUnitLabel", unit),
    F(ioreport, "IOReportSimpleGetIntegerValue", simple),
    F(ioreport, "IOReportStateGetCount", n_states),
    F(ioreport, "IOReportStateGetNameForIndex", state_name),
    F(ioreport, "IOReportStateGetResidency", residency),
};
#undef F

/* The subscriptions: one per group of sources, since one group that macOS refuses must not take the others along. */
static const char *const subscribed_groups[] = {"CPU Stats", "GPU Stats", "Energy", "AMC Stats", "PMP"};
enum { N_SUBSCRIPTIONS = sizeof subscribed_groups / sizeof *subscribed_groups };

struct subscription {
    ref subscription, channels, before;
};

struct mac {
    struct calls c;
    bool works; /* Core Foundation and IOKit */
    bool reports;
    struct subscription sub[N_SUBSCRIPTIONS];
    uint64_t sampled; /* when IOReport was */
    struct pn_apple apple;
    unsigned smc; /* connection; 0: none */
    int n_keys;
    char key[MAX_KEYS][5];
    int n_fans;
    ref hid;
    int thermal;          /* token of notify(3); -1: none */
    uint64_t *busy, *all; /* of host_processor_info, where IOReport has no cores */
    unsigned n_ticks;
    char gpu[64];
};

static void load(struct calls *c)
{
    memset(c, 0, sizeof *c);
    c->cf = dlopen("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation", RTLD_NOW);
    c->iokit = dlopen("/System/Library/Frameworks/IOKit.framework/IOKit", RTLD_NOW);
    c->ioreport = dlopen("/usr/lib/libIOReport.dylib", RTLD_NOW);
    c->system = RTLD_DEFAULT;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *library;
        memcpy(&library, (const char *)c + functions[i].library, sizeof library);
        void *symbol = library ? dlsym(library, functions[i].symbol) : NULL;
        memcpy((char *)c + functions[i].member, &symbol, sizeof symbol);
    }
}

/* Whether all functions of a library are there. */
static bool has(const struct calls *c, size_t library)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *f;
        memcpy(&f, (const char *)c + functions[i].member, sizeof f);
        if (functions[i].library == library && !f)
            return false;
    }
    return true;
}

static void text_of(const struct calls *c, ref string, char *out, size_t size)
{
    if (!string || !c->text(string, out, (long)size, UTF8))
        *out = '\0';
}

static ref lookup(const struct calls *c, ref dictionary, const char *key)
{
    ref k = dictionary ? c->string(NULL, key, UTF8) : NULL;
    ref v = k ? c->value(dictionary, k) : NULL;
    if (k)
        c->release(k);
    return v;
}

static double number_in(const struct calls *c, ref dictionary, const char *key)
{
    ref v = lookup(c, dictionary, key);
    int64_t n;
    return v && c->type(v) == c->number_type() && c->number(v, NUMBER_INT64, &n) ? (double)n : NAN;
}

static ref property(const struct calls *c, unsigned entry, const char *key)
{
    ref k = c->string(NULL, key, UTF8), v = k ? c->property(entry, k, NULL, 0) : NULL;
    if (k)
        c->release(k);
    return v;
}

/* Calls `take` with every service of a class. */
static void each_service(struct mac *m, const char *class, void (*take)(struct mac *m, unsigned service, void *user),
                         void *user)
{
    unsigned iterator, service;
    if (m->c.services(0, m->c.matching(class), &iterator) != 0)
        return;
    while ((service = m->c.next(iterator))) {
        take(m, service, user);
        m->c.release_object(service);
    }
    m->c.release_object(iterator);
}

/* ---- IOReport ---- */

static bool is_of(size_t subscription, const char *group)
{
    return strncmp(group, subscribed_groups[subscription], strlen(subscribed_groups[subscription])) == 0;
}

/* A dictionary like `all` with the channels of one subscription only. NULL: it has none. */
static ref select_channels(struct mac *m, ref all, ref list, size_t subscription)
{
    const struct calls *c = &m->c;
    char group[64], subgroup[64];
    ref chosen = c->array(NULL, 0, c->array_callbacks), out = NULL, key = c->string(NULL, "IOReportChannels", UTF8);
    for (long i = 0; chosen && i < c->count(list); i++) {
        ref channel = c->at(list, i);
        text_of(c, c->group(channel), group, sizeof group);
        text_of(c, c->subgroup(channel), subgroup, sizeof subgroup);
        if (is_of(subscription, group) && pn_apple_wants(group, subgroup))
            c->append(chosen, channel);
    }
    if (chosen && key && c->count(chosen) > 0 && (out = c->copy_dictionary(NULL, 0, all)))
        c->set(out, key, chosen);
    if (chosen)
        c->release(chosen);
    if (key)
        c->release(key);
    return out;
}

static void subscribe(struct mac *m)
{
    const struct calls *c = &m->c;
    ref all = c->channels(0, 0), list = lookup(c, all, "IOReportChannels");
    for (size_t i = 0; list && i < N_SUBSCRIPTIONS; i++) {
        struct subscription *s = &m->sub[i];
        ref asked = select_channels(m, all, list, i);
        if (!asked)
            continue;
        s->subscription = c->subscribe(NULL, asked, &s->channels, 0, NULL); /* NULL for AMC Stats on some Macs */
        if (s->subscription && !s->channels)
            s->channels = asked;
        else
            c->release(asked);
        m->reports |= s->subscription != NULL;
    }
    if (all)
        c->release(all);
}

static void add_channel(struct mac *m, ref channel, struct pn_sample *s)
{
    const struct calls *c = &m->c;
    char group[64], subgroup[64], name[64], unit[32], states[MAX_STATES][32];
    struct pn_channel_state state[MAX_STATES];
    text_of(c, c->group(channel), group, sizeof group);
    text_of(c, c->subgroup(channel), subgroup, sizeof subgroup);
    text_of(c, c->name(channel), name, sizeof name);
    text_of(c, c->unit(channel), unit, sizeof unit);
    int n = c->n_states(channel);
    n = n < 0 ? 0 : n > MAX_STATES ? MAX_STATES : n;
    for (int i = 0; i < n; i++) {
        text_of(c, c->state_name(channel, i), states[i], sizeof states[i]);
        state[i] = (struct pn_channel_state){states[i], c->residency(channel, i)};
    }
    struct pn_channel ch = {group, subgroup, name, unit, n ? 0 : c->simple(channel, 0), state, n};
    pn_apple_add(&m->apple, &ch, s);
}

/* Adds the differences since the last sample to *s; returns the seconds between, NAN at the first. */
static double read_reports(struct mac *m, struct pn_sample *s)
{
    const struct calls *c = &m->c;
    uint64_t now = pn_clock_ns();
    double seconds = m->sampled ? (double)(now - m->sampled) * 1e-9 : NAN;
    m->sampled = now;
    pn_apple_start(&m->apple);
    for (size_t i = 0; i < N_SUBSCRIPTIONS; i++) {
        struct subscription *sub = &m->sub[i];
        ref after = sub->subscription ? c->sample(sub->subscription, sub->channels, NULL) : NULL;
        ref delta = after && sub->before ? c->delta(sub->before, after, NULL) : NULL;
        ref list = lookup(c, delta, "IOReportChannels");
        for (long k = 0; list && k < c->count(list); k++)
            add_channel(m, c->at(list, k), s);
        if (delta)
            c->release(delta);
        if (after && sub->before)
            c->release(sub->before);
        if (after)
            sub->before = after;
    }
    return seconds;
}

static void take_tables(struct mac *m, unsigned service, void *user)
{
    /* The kinds of cores and their tables; where several exist, the first that is not empty. */
    static const struct {
        char kind;
        const char *key;
    } tables[] = {{'E', "voltage-states1-sram"},  {'P', "voltage-states5-sram"}, {'M', "voltage-states22-sram"},
                  {'M', "voltage-states23-sram"}, {'M', "voltage-states1-sram"}, {'S', "voltage-states5-sram"},
                  {'G', "voltage-states9"},       {'G', "voltage-states9-sram"}};
    const struct calls *c = &m->c;
    char name[128];
    (void)user;
    if (c->entry_name(service, name) != 0 || strcmp(name, "pmgr") != 0)
        return;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        ref data = m->apple.steps[tables[i].kind - 'A'].n ? NULL : property(c, service, tables[i].key);
        if (data && c->type(data) == c->data_type())
            pn_apple_table(&m->apple, tables[i].kind, c->data_bytes(data), (size_t)c->data_length(data));
        if (data)
            c->release(data);
    }
}

/* Where only DRAM's power tells the bandwidth: its watts while nothing is read, and while all cores read. */
static void calibrate(struct mac *m, struct pn_sample *scratch)
{
    const struct timespec moment = {0, 200000000};
    bool counts = false;
    read_reports(m, scratch);
    nanosleep(&moment, NULL);
    double seconds = read_reports(m, scratch), idle = pn_apple_dram_watts(&m->apple, seconds);
    for (int i = 0; i < PN_APPLE_N_RATES; i++)
        counts |= m->apple.has_rate[i];
    if (counts || isnan(idle))
        return;
    double rate = pantry_read_bandwidth(0);
    seconds = read_reports(m, scratch);
    pn_apple_calibrate(&m->apple, idle, pn_apple_dram_watts(&m->apple, seconds), rate);
}

/* ---- SMC ---- */

/* What the SMC's driver takes and gives (selector 2). */
struct smc_data {
    uint32_t key;
    uint8_t version[6];
    uint16_t pad0;
    uint32_t limits[4];
    uint32_t size, type;
    uint8_t attributes, pad1[3];
    uint8_t result, status, command, pad2;
    uint32_t index;
    uint8_t bytes[32];
};
_Static_assert(sizeof(struct smc_data) == 80, "as the driver has it");
enum { SMC_READ = 5, SMC_KEY_AT = 8, SMC_INFO = 9 };

static bool smc_call(struct mac *m, struct smc_data *in, struct smc_data *out)
{
    size_t n = sizeof *out;
    return m->c.call(m->smc, 2, in, sizeof *in, out, &n) == 0 && out->result == 0;
}

static uint32_t code_of(const char *key)
{
    return (uint32_t)(unsigned char)key[0] << 24 | (uint32_t)(unsigned char)key[1] << 16 |
           (uint32_t)(unsigned char)key[2] << 8 | (unsigned char)key[3];
}

static double smc_number(struct mac *m, const char *key)
{
    struct smc_data in = {.key = code_of(key), .command = SMC_INFO}, info, out;
    if (!m->smc || !smc_call(m, &in, &info) || info.size > sizeof out.bytes)
        return NAN;
    in.command = SMC_READ;
    in.size = info.size;
    in.type = info.type;
    if (!smc_call(m, &in, &out))
        return NAN;
    char type[4] = {(char)(info.type >> 24), (char)(info.type >> 16), (char)(info.type >> 8), (char)info.type};
    return pn_smc_number(type, out.bytes, info.size);
}

static void open_smc(struct mac *m, unsigned service, void *user)
{
    char name[128];
    (void)user;
    if (!m->smc && m->c.entry_name(service, name) == 0 && strcmp(name, "AppleSMCKeysEndpoint") == 0 &&
        m->c.open(service, mach_task_self(), 0, &m->smc) != 0)
        m->smc = 0;
}

/* The keys of temperatures, once. */
static void find_keys(struct mac *m)
{
    double n = smc_number(m, "#KEY"), fans = smc_number(m, "FNum");
    m->n_fans = fans >= 0 && fans <= 8 ? (int)fans : 0;
    for (uint32_t i = 0; i < (n < 65536 ? (uint32_t)(n > 0 ? n : 0) : 0) && m->n_keys < MAX_KEYS; i++) {
        struct smc_data in = {.command = SMC_KEY_AT, .index = i}, out;
        if (!smc_call(m, &in, &out))
            continue;
        char *key = m->key[m->n_keys];
        for (int k = 0; k < 4; k++)
            key[k] = (char)(out.key >> (24 - 8 * k));
        m->n_keys += key[0] == 'T' && strchr("pesg", key[1]) && key[1];
    }
}

static void read_smc(struct mac *m, struct pn_sample *s)
{
    char key[8], name[16];
    for (int i = 0; i < m->n_keys; i++)
        pn_apple_temperature(&m->apple, m->key[i], smc_number(m, m->key[i]));
    for (int i = 0; i < m->n_fans; i++) {
        snprintf(key, sizeof key, "F%dMx", i);
        double most = smc_number(m, key);
        snprintf(key, sizeof key, "F%dAc", i);
        snprintf(name, sizeof name, "fan %d", i);
        double now = smc_number(m, key);
        if (!isnan(now))
            pn_sample_present(s, PN_SUBJECT_FAN, "SMC");
        pn_sample_add(&s->fan, name, now, most);
    }
    double system = smc_number(m, "PSTR");
    if (system > 0) {
        pn_sample_add(&s->power, "system", system, NAN);
        pn_sample_present(s, PN_SUBJECT_POWER, "SMC");
    }
}

/* ---- IOHID: temperatures before macOS 14 ---- */

static void open_hid(struct mac *m)
{
    const struct calls *c = &m->c;
    int page = 0xff00, usage = 5;
    ref keys[2] = {c->string(NULL, "PrimaryUsagePage", UTF8), c->string(NULL, "PrimaryUsage", UTF8)};
    ref values[2] = {c->new_number(NULL, 3, &page), c->new_number(NULL, 3, &usage)};
    ref matching = c->new_dictionary(NULL, keys, values, 2, c->key_callbacks, c->value_callbacks);
    m->hid = c->hid_client(NULL);
    if (m->hid && matching)
        c->hid_matching(m->hid, matching);
    if (matching)
        c->release(matching);
    for (int i = 0; i < 2; i++) {
        c->release(keys[i]);
        c->release(values[i]);
    }
}

static void read_hid(struct mac *m)
{
    const struct calls *c = &m->c;
    ref services = m->hid ? c->hid_services(m->hid) : NULL, product = c->string(NULL, "Product", UTF8);
    char name[64];
    for (long i = 0; services && product && i < c->count(services); i++) {
        ref service = c->at(services, i), label = c->hid_property(service, product);
        ref event = c->hid_event(service, TEMPERATURE_EVENT, 0, 0);
        text_of(c, label, name, sizeof name);
        if (event)
            pn_apple_temperature(&m->apple, name, c->hid_value(event, TEMPERATURE_EVENT << 16));
        if (event)
            c->release(event);
        if (label)
            c->release(label);
    }
    if (product)
        c->release(product);
    if (services)
        c->release(services);
}

/* ---- memory, GPU, load ---- */

static uint64_t sysctl_number(const char *name)
{
    uint64_t v = 0;
    size_t n = sizeof v;
    return sysctlbyname(name, &v, &n, NULL, 0) == 0 ? n == 4 ? (uint32_t)v : v : 0;
}

static void read_memory(struct pn_sample *s)
{
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    struct xsw_usage swap;
    size_t n = sizeof swap;
    uint64_t total = sysctl_number("hw.memsize"), level = sysctl_number("kern.memorystatus_vm_pressure_level");
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &count) == KERN_SUCCESS && total) {
        struct pn_apple_pages pages = {vm.active_count,       vm.inactive_count,        vm.wire_count,
                                       vm.speculative_count,  vm.compressor_page_count, vm.purgeable_count,
                                       vm.external_page_count};
        s->memory_total = (double)total;
        s->memory_used = pn_apple_used(&pages, (uint64_t)vm_page_size);
        s->memory_available = s->memory_total - s->memory_used;
        pn_sample_present(s, PN_SUBJECT_MEMORY, "host_statistics64");
    }
    pn_sample_absent(s, PN_SUBJECT_MEMORY, "host_statistics64 fails");
    if (sysctlbyname("vm.swapusage", &swap, &n, NULL, 0) == 0) {
        s->swap_total = (double)swap.xsu_total;
        s->swap_used = (double)swap.xsu_used;
    }
    if (level) {
        s->pressure_level = (double)level;
        pn_sample_present(s, PN_SUBJECT_PRESSURE, "level");
    }
    pn_sample_absent(s, PN_SUBJECT_PRESSURE, "kern.memorystatus_vm_pressure_level fails");
}

static void take_gpu(struct mac *m, unsigned service, void *user)
{
    struct pn_sample *s = user;
    const struct calls *c = &m->c;
    ref statistics = property(c, service, "PerformanceStatistics");
    if (!statistics || s->n_gpus == PN_MAX_GPUS) {
        if (statistics)
            c->release(statistics);
        return;
    }
    struct pn_gpu *g = &s->gpu[s->n_gpus++];
    double load = number_in(c, statistics, "Device Utilization %");
    *g = (struct pn_gpu){.load = m->apple.gpu_load,
                         .hz = m->apple.gpu_hz,
                         .watts = NAN,
                         .celsius = m->apple.hottest[1],
                         .memory_load = NAN,
                         .throttled = NAN,
                         .total = s->memory_total};
    if (isnan(g->load) && load >= 0 && load <= 100)
        g->load = load / 100;
    g->used = number_in(c, statistics, "In use system memory");
    for (int i = 0; i < s->power.n; i++)
        if (strcmp(s->power.at[i].name, "GPU") == 0)
            g->watts = s->power.at[i].value;
    snprintf(g->name, sizeof g->name, "%s", m->gpu);
    uint64_t wired = sysctl_number("iogpu.wired_limit_mb");
    if (wired)
        g->total = (double)wired * 1048576;
    pn_sample_present(s, PN_SUBJECT_GPU, "IOReport and IOAccelerator");
    c->release(statistics);
}

/* Load where IOReport shows no cores. */
static void read_ticks(struct mac *m, struct pn_sample *s)
{
    natural_t n;
    processor_info_array_t info;
    mach_msg_type_number_t count;
    if (host_processor_info(mach_host_self(), PROCESSOR_CPU_LOAD_INFO, &n, &info, &count) != KERN_SUCCESS) {
        pn_sample_absent(s, PN_SUBJECT_LOAD, "host_processor_info fails");
        return;
    }
    processor_cpu_load_info_t load = (processor_cpu_load_info_t)info;
    if (m->n_ticks != n) {
        free(m->busy);
        free(m->all);
        m->busy = calloc(n, sizeof *m->busy);
        m->all = calloc(n, sizeof *m->all);
        m->n_ticks = m->busy && m->all ? n : 0;
    }
    for (unsigned i = 0; i < m->n_ticks && s->n_cores < PN_MAX_CORES; i++) {
        uint64_t idle = load[i].cpu_ticks[CPU_STATE_IDLE], all = 0;
        for (int k = 0; k < CPU_STATE_MAX; k++)
            all += load[i].cpu_ticks[k];
        struct pn_core core = {.load = NAN, .hz = NAN, .cluster = pn_sample_cluster(s, "cores")};
        if (m->all[i] && all > m->all[i] && all - idle >= m->busy[i])
            core.load = (double)(all - idle - m->busy[i]) / (double)(all - m->all[i]);
        m->busy[i] = all - idle;
        m->all[i] = all;
        s->core[s->n_cores++] = core;
    }
    vm_deallocate(mach_task_self(), (vm_address_t)info, count * sizeof *info);
    pn_sample_present(s, PN_SUBJECT_LOAD, "host_processor_info");
    pn_sample_sum_cores(s);
}

/* ---- the source ---- */

static void *mac_open(const char *root)
{
    struct mac *m = calloc(1, sizeof *m);
    struct pn_sample *scratch = malloc(sizeof *scratch);
    if (!m || !scratch) {
        free(m);
        free(scratch);
        return NULL;
    }
    pn_sample_clear(scratch);
    pn_apple_new(&m->apple);
    m->thermal = -1;
    if (!*root) {
        load(&m->c);
        m->works = has(&m->c, offsetof(struct calls, cf)) && has(&m->c, offsetof(struct calls, iokit));
        if (!has(&m->c, offsetof(struct calls, system)) ||
            m->c.notify_check("com.apple.system.thermalpressurelevel", &m->thermal) != 0)
            m->thermal = -1;
    }
    if (m->works) {
        each_service(m, "AppleARMIODevice", take_tables, NULL);
        each_service(m, "AppleSMC", open_smc, NULL);
        if (m->smc)
            find_keys(m);
        if (!m->n_keys)
            open_hid(m);
        if (has(&m->c, offsetof(struct calls, ioreport)))
            subscribe(m);
        if (m->reports)
            calibrate(m, scratch);
    }
    char chip[64] = "GPU";
    size_t n = sizeof chip;
    sysctlbyname("machdep.cpu.brand_string", chip, &n, NULL, 0);
    chip[sizeof chip - 1] = '\0';
    snprintf(m->gpu, sizeof m->gpu, "%.50s GPU", chip);
    free(scratch);
    return m;
}

static void read_thermal(const struct mac *m, struct pn_sample *s)
{
    uint64_t level;
    if (m->thermal >= 0 && m->c.notify_state(m->thermal, &level) == 0) {
        s->throttled = (double)level;
        pn_sample_present(s, PN_SUBJECT_THROTTLE, "thermal level, 0 to 4");
    }
    pn_sample_absent(s, PN_SUBJECT_THROTTLE, "notify(3) has no thermal level");
}

static void mac_read(void *state, struct pn_sample *s)
{
    struct mac *m = state;
    size_t n = sizeof s->machine;
    if (sysctlbyname("machdep.cpu.brand_string", s->machine, &n, NULL, 0) != 0)
        *s->machine = '\0';
    read_memory(s);
    read_thermal(m, s);
    double seconds = m->reports ? read_reports(m, s) : NAN;
    if (m->works) {
        read_smc(m, s);
        if (!m->n_keys)
            read_hid(m);
    }
    pn_apple_finish(&m->apple, seconds, s);
    if (m->works)
        each_service(m, "IOAccelerator", take_gpu, s);
    if (!s->n_cores)
        read_ticks(m, s);
    static const enum pn_subject needs_reports[] = {PN_SUBJECT_CLOCK, PN_SUBJECT_BANDWIDTH, PN_SUBJECT_POWER};
    for (size_t i = 0; i < sizeof needs_reports / sizeof *needs_reports; i++)
        if (!m->reports)
            pn_sample_absent(s, needs_reports[i], "libIOReport gives no channels");
    pn_sample_absent(s, PN_SUBJECT_CLOCK, "IOReport has no residencies of cores");
    if (!isnan(seconds))
        pn_sample_absent(s, PN_SUBJECT_POWER, "IOReport has no energy counters");
    pn_sample_absent(s, PN_SUBJECT_GPU, "IOAccelerator shows no GPU");
    pn_sample_absent(s, PN_SUBJECT_GPU_PROCESSES, "macOS tells them only to root");
    pn_sample_absent(s, PN_SUBJECT_TEMPERATURE, "neither the SMC nor IOHID has sensors that are known");
    pn_sample_absent(s, PN_SUBJECT_FAN, "the SMC has no fans");
}

static void mac_close(void *state)
{
    struct mac *m = state;
    for (size_t i = 0; i < N_SUBSCRIPTIONS; i++) {
        struct subscription *s = &m->sub[i];
        if (s->before)
            m->c.release(s->before);
        if (s->channels)
            m->c.release(s->channels);
        if (s->subscription)
            m->c.release(s->subscription);
    }
    if (m->hid)
        m->c.release(m->hid);
    if (m->smc)
        m->c.close(m->smc);
    if (m->thermal >= 0)
        m->c.notify_end(m->thermal);
    void *const libraries[] = {m->c.ioreport, m->c.iokit, m->c.cf};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (libraries[i])
            dlclose(libraries[i]);
    free(m->busy);
    free(m->all);
    free(m);
}

static const struct pn_source mac = {"mac", mac_open, mac_read, mac_close};

const struct pn_source *const pn_sources[] = {&mac, NULL};

#else
typedef int pn_monitor_os_darwin_is_empty; /* ISO C wants a declaration */
#endif
