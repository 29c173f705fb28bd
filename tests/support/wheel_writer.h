/* Makes small wheels (zip files) for tests. */
#ifndef TESTS_WHEEL_WRITER_H
#define TESTS_WHEEL_WRITER_H

#include <stddef.h>

struct wheel_entry {
    const char *name;
    const char *bytes;
    size_t size;
    const char *link; /* not NULL: a symbolic link to this instead of a file */
};

/* Ends the test program on failure. */
void wheel_write(const char *path, const struct wheel_entry *entries, size_t n);

#endif
