/* Which device runs what: a model on one device, or its layers on several. */
#ifndef PN_ENGINE_SPLIT_H
#define PN_ENGINE_SPLIT_H

#include "engine/devices.h"
#include "engine/slots.h"
#include "model/model.h"

struct pn_split {
    struct pn_device *devices[PN_MAX_PARTS];
    int first[PN_MAX_PARTS], last[PN_MAX_PARTS]; /* layers; first -1: all that no other device has */
    int experts;                                 /* 1 + the device that runs the experts of all layers; 0: none does */
    int n;
};

/* Opens the devices in `text`: "cpu"; "cpu:0-15,ref:16-" with the layers of each; "cuda,cpu:experts": the second runs
 * the experts of all layers; "cpu,ref": the second runs what the first does not support. NULL: the best available.
 * Nodes before the first layer go with the first, those after the last with the last. */
pantry_status pn_split_open(const char *text, const struct pn_device_options *options, int n_layer,
                            struct pn_split *out, struct pantry_error *err);
void pn_split_close(struct pn_split *split);

/* Assigns each node of the model's graph (PN_ANY_DEVICE: see cut.h) and each cache to a device. An operation that its
 * layer's device does not support goes to the first that does; all operations of one cache stay together. An operation
 * that no device supports is an error. */
pantry_status pn_split_assign(const struct pn_split *split, const struct pn_model *model, int8_t *device_of,
                              int8_t *device_of_cache, struct pantry_error *err);

#endif
