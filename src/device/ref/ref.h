/* The reference device: runs the plain definition of each operation, one after the other, on one thread. It is slow and
 * right: the oracle of all tests. */
#ifndef PN_DEVICE_REF_H
#define PN_DEVICE_REF_H

#include "device/device.h"

extern const struct pn_device_class pn_ref_device;

#endif
