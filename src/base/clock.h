/* Monotonic time. */
#ifndef PN_BASE_CLOCK_H
#define PN_BASE_CLOCK_H

#include <stdint.h>

uint64_t pn_clock_ns(void);        /* monotonic, from an arbitrary start */
uint64_t pn_clock_thread_ns(void); /* processor time of the calling thread */

#endif
