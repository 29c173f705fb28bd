/* The reference device: every operation's plain definition, one after the other, on one thread. Slow, and right: the
 * oracle of all tests. */
#ifndef PN_DEVICE_REF_H
#define PN_DEVICE_REF_H

#include "device/device.h"

extern const struct pn_device_class pn_ref_device;

#endif
