/* Loading emulated drivers: see emulated.h. */
#define _GNU_SOURCE 1
#include "emulated.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The build has it beside the folder of the test programs. It is known by its name, so that the driver which looks for
 * libcuda.so.1 finds it. */
bool emulated_cuda(void)
{
#ifdef __linux__
    static void *library;
    char self[PATH_MAX], path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (library || n < 0)
        return library != NULL;
    self[n] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(path, sizeof path, "%s/cuda-emulator/libcuda.so.1", self);
    library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    return library != NULL;
#else
    return false;
#endif
}
