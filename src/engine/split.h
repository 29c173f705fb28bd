/* Which device does what: a model on one device, or its layers dealt out to several. */
#ifndef PN_ENGINE_SPLIT_H
#define PN_ENGINE_SPLIT_H

#include "engine/devices.h"
#include "engine/slots.h"
#include "model/model.h"

struct pn_split {
    struct pn_device *devices[PN_MAX_PARTS];
    int first[PN_MAX_PARTS], last[PN_MAX_PARTS]; /* layers; first -1: those that no other has */
    int n;
};

/* Opens the devices that `text` names: "cpu"; "cpu:0-15,ref:16-" with the layers of each; "cpu,ref": what the first
 * cannot do, the second does. NULL: the best there is. What comes before the first layer goes with it, what comes after
 * the last goes with that. */
pantry_status pn_split_open(const char *text, const struct pn_device_options *options, int n_layer,
                            struct pn_split *out, struct pantry_error *err);
void pn_split_close(struct pn_split *split);

/* For each node of the model's graph the number of its device (PN_ANY_DEVICE: see cut.h), and for each of its caches.
 * An operation that its layer's device cannot do goes to the first that can; all that read or write one cache stay
 * together. An operation that no device can do is an error. */
pantry_status pn_split_assign(const struct pn_split *split, const struct pn_model *model, int8_t *device_of,
                              int8_t *device_of_cache, struct pantry_error *err);

#endif
