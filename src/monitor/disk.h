/* How fast the disk reads, where models are kept: a model is read from it before the first token. */
#ifndef PN_MONITOR_DISK_H
#define PN_MONITOR_DISK_H

#include "base/status.h"

#include <stdint.h>

struct pn_disk {
    double read_rate;     /* bytes per second of one reader, in order; 0: not measured */
    uint64_t free, total; /* bytes of its file system; UINT64_MAX: unknown */
};

/* Free space only. */
pantry_status pn_disk_space(const char *folder, struct pn_disk *out, struct pantry_error *err);
/* And the speed: writes `bytes` to a file in the folder, without a name if possible, and reads them from the disk.
 * PANTRY_LIMIT: less than four times that is free. */
pantry_status pn_disk_measure(const char *folder, uint64_t bytes, struct pn_disk *out, struct pantry_error *err);

#endif
