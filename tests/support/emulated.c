/* Loading emulated drivers: see emulated.h. */
#define _GNU_SOURCE 1
#include "emulated.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool real_cuda(void)
{
    return getenv("PANTRY_TEST_GPU") != NULL;
}

/* The build has them beside the folder of the test programs. They are known by their names, so that a driver which
 * looks for one finds it. */
static void *load(const char *name)
{
#ifdef __linux__
    char self[PATH_MAX], path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return NULL;
    self[n] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(path, sizeof path, "%s/%s", self, name);
    return dlopen(path, RTLD_NOW | RTLD_GLOBAL);
#else
    (void)name;
    return NULL;
#endif
}

bool emulated_cuda(void)
{
    static void *library;
    if (real_cuda())
        return true;
    if (!library)
        library = load("cuda-emulator/libcuda.so.1");
    return library != NULL;
}

bool emulated_metal(void)
{
    static void *library;
    if (!library)
        library = load("metal-emulator/libobjc.A.dylib");
    return library != NULL;
}
