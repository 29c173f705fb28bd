/* Sizes as text. All output about numbers of bytes goes through here, so that a file has the same size everywhere. */
#ifndef PN_BASE_SIZE_H
#define PN_BASE_SIZE_H

#include <stdint.h>

struct pn_size {
    char text[28];
};
/* In powers of ten, like disks and downloads: "812 bytes", "98 MB", "1.1 GB". */
struct pn_size pn_size(uint64_t bytes);

#endif
