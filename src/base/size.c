/* Sizes as text: see size.h. */
#include "base/size.h"

#include <stddef.h>
#include <stdio.h>

struct pn_size pn_size(uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    struct pn_size size;
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(size.text, sizeof size.text, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return size;
}
