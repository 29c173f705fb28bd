/* The devices of this process, shared by its models: one that is opened with equal wishes (name, threads, instruction
 * set) is the same device, with one pool of threads; unlike wishes get a device of their own. It closes with its last
 * user. A device runs one step at a time, so the steps of its models take turns. */
#ifndef PN_ENGINE_DEVICES_H
#define PN_ENGINE_DEVICES_H

#include "device/device.h"

#include <pthread.h>

/* Counts one user more. Arguments as for pn_device_open. */
pantry_status pn_devices_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                              struct pantry_error *err);
/* Counts one user less; also closes a device that was opened with pn_device_open and has no other users. */
void pn_devices_close(struct pn_device *device);
/* What users hold while the device runs their step; NULL: it is nobody else's. Lives as long as the device. */
pthread_mutex_t *pn_devices_turn(const struct pn_device *device);

#endif
