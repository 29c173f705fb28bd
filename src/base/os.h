/* What only the operating system knows. One file a system: os_linux.c, os_darwin.c. */
#ifndef PN_BASE_OS_H
#define PN_BASE_OS_H

#include <stddef.h>
#include <stdint.h>

/* Physical cores that this process may run on (hardware threads of one core count once), at least 1. */
int pn_os_physical_cores(void);
/* Main memory in bytes, 0 if unknown. */
uint64_t pn_os_memory_bytes(void);
/* The processor's name, e.g. "Apple M3 Pro"; "" if unknown. */
void pn_os_cpu_name(char *name, size_t size);

#endif
