/* What part of a model a device with its own memory has room for. Of a mixture of experts, everything but the experts,
 * since each token needs few of these; else as many of the last layers as fit. The processor runs the rest. */
#ifndef PN_ENGINE_OFFLOAD_H
#define PN_ENGINE_OFFLOAD_H

#include "device/device.h"
#include "model/model.h"

enum { PN_OFFLOAD_TEXT = 80 };

/* The devices of a model, in the words of pn_split_open. `device` is the user's choice, or NULL: the best available.
 * `layers` is how many go to a GPU; 0: as many as fit, below 0: none. `n_context` is the context to keep room for; 0:
 * as trained, at most 8,192. The result is `device` itself where there is nothing to divide, or points to
 * `text`. `*held` is the device that was looked at, or NULL: it stays open until the caller closes it
 * (pn_devices_close), so that pn_split_open does not open it a second time. PANTRY_INVALID: layers for a GPU are asked
 * for, but the device is none, or says itself what runs where. */
pantry_status pn_offload(const char *device, int layers, int n_context, const struct pn_device_options *options,
                         const struct pn_model *model, char text[PN_OFFLOAD_TEXT], const char **devices,
                         struct pn_device **held, struct pantry_error *err);

#endif
