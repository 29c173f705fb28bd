/* macOS: sysctl, and POSIX threads for sleeping, since macOS has public futexes only since 14.4. See os.h. */
#ifdef __APPLE__
#include "base/os.h"

#include <mach/mach.h>
#include <fcntl.h>
#include <malloc/malloc.h>
#include <pthread.h>
#include <sys/clonefile.h>
#include <sys/mman.h>
#include <sys/sysctl.h>
#include <sys/types.h>
#include <time.h>

int pn_os_physical_cores(void)
{
    int n = 0;
    size_t size = sizeof n;
    if (sysctlbyname("hw.physicalcpu", &n, &size, NULL, 0) != 0 || n < 1)
        n = 1;
    return n;
}

int pn_os_processors(void)
{
    int n = 0;
    size_t size = sizeof n;
    if (sysctlbyname("hw.logicalcpu", &n, &size, NULL, 0) != 0 || n < 1)
        n = 1;
    return n;
}

uint64_t pn_os_memory_bytes(void)
{
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? bytes : 0;
}

void pn_os_memory(struct pn_os_memory *out)
{
    uint64_t total = pn_os_memory_bytes();
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    *out = (struct pn_os_memory){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    if (total)
        out->total = total;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &count) == KERN_SUCCESS)
        out->available = ((uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count) * (uint64_t)vm_page_size;
}

/* All words share one condition; a thread woken for another word goes back to sleep. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

bool pn_os_clone_file(int from, const char *to)
{
    return fclonefileat(from, AT_FDCWD, to, 0) == 0;
}

void pn_os_forget_file(int fd)
{
    fcntl(fd, F_NOCACHE, 1);
}

uint64_t pn_os_wired_limit(void)
{
    int64_t mb = 0;
    size_t size = sizeof mb;
    return sysctlbyname("iogpu.wired_limit_mb", &mb, &size, NULL, 0) == 0 && size == sizeof mb && mb > 0
               ? (uint64_t)mb << 20
               : 0;
}

void pn_os_wait(atomic_uint *word, unsigned value)
{
    pthread_mutex_lock(&lock);
    while (atomic_load(word) == value)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Under the lock, so not between a sleeper's check of the word and its sleep. */
void pn_os_wake_all(atomic_uint *word)
{
    (void)word;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Pages have 16 KiB; the system offers no larger ones. */
void *pn_os_large_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void pn_os_free_pages(void *pages, size_t bytes)
{
    munmap(pages, bytes);
}

void pn_os_discard(void *start, size_t bytes)
{
    uintptr_t page = (uintptr_t)vm_page_size;
    uintptr_t first = ((uintptr_t)start + page - 1) / page * page, end = ((uintptr_t)start + bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_FREE);
}
/* ---- conditions ---- */

void pn_os_cond_init(pthread_cond_t *cond)
{
    pthread_cond_init(cond, NULL);
}

void pn_os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t ns)
{
    uint64_t second = 1000000000u;
    if (ns > 1000000 * second) { /* days: wait forever */
        pthread_cond_wait(cond, mutex);
        return;
    }
    struct timespec t = {.tv_sec = (time_t)(ns / second), .tv_nsec = (long)(ns % second)};
    pthread_cond_timedwait_relative_np(cond, mutex, &t);
}

void pn_os_trim(void)
{
    malloc_zone_pressure_relief(NULL, 0);
}

void pn_os_share_heap(void)
{
} /* its zones are trimmed whole */

void pn_os_release_thread(void)
{
} /* the pressure relief reaches it */

#else
typedef int pn_os_darwin_is_empty; /* ISO C wants a declaration */
#endif
