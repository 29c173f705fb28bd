/* How sizes read. Everything that the program says about a number of bytes goes through here, so that one file has one
 * size wherever it is named. */
#ifndef PN_BASE_SIZE_H
#define PN_BASE_SIZE_H

#include <stdint.h>

struct pn_size {
    char text[28];
};
/* Powers of ten, as disks and downloads are sold: "812 bytes", "98 MB", "1.1 GB". */
struct pn_size pn_size(uint64_t bytes);

#endif
