/* Shared devices: see devices.h. */
#include "engine/devices.h"

#include "base/os.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct pn_device *device;
    bool is_default; /* opened without a name */
    int n_threads;
    char *isa; /* NULL: the best */
    int n_users;
    pthread_mutex_t turn;
    struct entry *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list and the counts */
static struct entry *entries;

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct entry *find(const char *name, int n_threads, const char *isa)
{
    struct entry *e = entries;
    while (e && !((name ? strcmp(e->device->class->name, name) == 0 : e->is_default) && e->n_threads == n_threads &&
                  same_text(e->isa, isa)))
        e = e->next;
    return e;
}

static void entry_free(struct entry *e)
{
    if (!e)
        return;
    pn_device_close(e->device);
    pthread_mutex_destroy(&e->turn);
    free(e->isa);
    free(e);
}

static pantry_status open_new(const char *name, const struct pn_device_options *o, struct entry **out,
                              struct pantry_error *err)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return pn_no_memory(err, "a device");
    pthread_mutex_init(&e->turn, NULL);
    size_t size = o->isa ? strlen(o->isa) + 1 : 0;
    e->n_threads = o->n_threads;
    e->is_default = !name;
    if (o->isa && !(e->isa = malloc(size))) {
        entry_free(e);
        return pn_no_memory(err, "a device");
    }
    if (o->isa)
        memcpy(e->isa, o->isa, size);
    pantry_status status = pn_device_open(name, o, &e->device, err);
    if (status)
        entry_free(e);
    else
        *out = e;
    return status;
}

/* Opens a new device. A default device may turn out to be open already under its name. */
static pantry_status add(const char *name, const struct pn_device_options *o, struct entry **out,
                         struct pantry_error *err)
{
    struct entry *e = NULL;
    pantry_status status = open_new(name, o, &e, err);
    if (status)
        return status;
    struct entry *known = name ? NULL : find(e->device->class->name, o->n_threads, o->isa);
    if (known) {
        entry_free(e);
        known->is_default = true;
        *out = known;
        return PANTRY_OK;
    }
    e->next = entries;
    entries = e;
    *out = e;
    return PANTRY_OK;
}

pantry_status pn_devices_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                              struct pantry_error *err)
{
    struct pn_device_options o = *options;
    pantry_status status = PANTRY_OK;
    *out = NULL;
    o.n_threads = o.n_threads ? o.n_threads : pn_os_physical_cores();
    pthread_mutex_lock(&lock);
    struct entry *e = find(name, o.n_threads, o.isa);
    if (!e)
        status = add(name, &o, &e, err);
    if (!status) {
        e->n_users++;
        *out = e->device;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

void pn_devices_close(struct pn_device *device)
{
    if (!device)
        return;
    pthread_mutex_lock(&lock);
    struct entry **at = &entries, *e;
    while ((e = *at) && e->device != device)
        at = &e->next;
    bool last = e && --e->n_users == 0;
    if (last)
        *at = e->next;
    pthread_mutex_unlock(&lock);
    if (!e)
        pn_device_close(device);
    else if (last)
        entry_free(e);
}

pthread_mutex_t *pn_devices_turn(const struct pn_device *device)
{
    pthread_mutex_lock(&lock);
    struct entry *e = entries;
    while (e && e->device != device)
        e = e->next;
    pthread_mutex_unlock(&lock);
    return e ? &e->turn : NULL;
}
