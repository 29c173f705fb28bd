/* For tests that define a function of libc or another library themselves: the next definition. */
#ifndef PN_TESTS_INTERPOSE_H
#define PN_TESTS_INTERPOSE_H

#include <dlfcn.h>
#include <string.h>

/* Stores the next definition of `name` in the function pointer at `real`. */
static inline void find_next(const char *name, void *real)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(real, &found, sizeof found);
}

#endif
