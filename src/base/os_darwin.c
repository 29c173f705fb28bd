/* macOS: sysctl. See os.h. */
#ifdef __APPLE__
#include "base/os.h"

#include <sys/sysctl.h>
#include <sys/types.h>

int pn_os_physical_cores(void)
{
    int n = 0;
    size_t size = sizeof n;
    if (sysctlbyname("hw.physicalcpu", &n, &size, NULL, 0) != 0 || n < 1)
        n = 1;
    return n;
}

uint64_t pn_os_memory_bytes(void)
{
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? bytes : 0;
}

void pn_os_cpu_name(char *name, size_t size)
{
    name[0] = '\0';
    if (sysctlbyname("machdep.cpu.brand_string", name, &size, NULL, 0) != 0)
        name[0] = '\0';
}
#else
typedef int pn_os_darwin_is_empty; /* ISO C wants a declaration */
#endif
