/* The devices of this process, shared by its models. Opening one with the same options (name, threads, instruction set)
 * returns the same device, with one pool of threads. It closes with its last user. A device runs one step at a time, so
 * the steps of its models take turns. */
#ifndef PN_ENGINE_DEVICES_H
#define PN_ENGINE_DEVICES_H

#include "device/device.h"

#include <pthread.h>

/* Opens a device or adds a user to an open one. Arguments as for pn_device_open. */
pantry_status pn_devices_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                              struct pantry_error *err);
/* Removes a user. Also closes a device that was opened with pn_device_open. */
void pn_devices_close(struct pn_device *device);
/* The lock that a user holds while the device runs its step; NULL: the device is not shared. Lives as long as the
 * device. */
pthread_mutex_t *pn_devices_turn(const struct pn_device *device);

#endif
