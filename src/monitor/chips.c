/* The table of chips: see chips.h. */
#include "monitor/chips.h"

#include "base/alloc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct pn_chip chips[] = {
#define PN_CHIP(name, kind, cores, nominal, reached, layer, tera, most, error, source)                                 \
    {name,        PN_CHIP_##kind,         cores, (nominal)*1e9, (reached)*1e9, (layer)*1e-6,                           \
     (tera)*1e12, (uint64_t)(most) << 30, error, source},
#include "monitor/chips.def"
#undef PN_CHIP
};

const struct pn_chip *pn_chip_row(size_t i)
{
    return i < sizeof chips / sizeof *chips ? &chips[i] : NULL;
}

enum { MAX_NAME = 64 };

/* Only letters, digits and '+', in lower case, without the words that do not tell chips apart. */
static void plain_name(const char *name, char *out)
{
    static const char *const words[] = {"apple",  "nvidia", "geforce",  "amd", "intel",
                                        "radeon", "chip",   "core gpu", "gpu"};
    size_t n = 0;
    while (*name) {
        size_t skip = 0;
        for (size_t i = 0; i < sizeof words / sizeof *words && !skip; i++) {
            size_t len = strlen(words[i]), k = 0;
            while (k < len && tolower((unsigned char)name[k]) == words[i][k])
                k++;
            skip = k == len ? len : 0;
        }
        if (!skip && n < MAX_NAME - 1 && (isalnum((unsigned char)*name) || *name == '+'))
            out[n++] = (char)tolower((unsigned char)*name);
        name += skip ? skip : 1;
    }
    out[n] = '\0';
}

static pantry_status unknown(const char *name, struct pantry_error *err)
{
    struct pn_buf list = {0};
    for (size_t i = 0; i < sizeof chips / sizeof *chips; i++)
        if (i == 0 || strcmp(chips[i].name, chips[i - 1].name) != 0)
            pn_buf_printf(&list, "%s%s", i ? ", " : "", chips[i].name);
    pantry_status status =
        pn_fail(err, PANTRY_NOT_FOUND, "unknown chip \"%.60s\"; known are %s", name, list.data ? list.data : "");
    pn_buf_free(&list);
    return status;
}

pantry_status pn_chip_find(const char *name, const struct pn_chip **out, struct pantry_error *err)
{
    char wanted[MAX_NAME], known[MAX_NAME], with_cores[MAX_NAME + 16];
    plain_name(name, wanted);
    *out = NULL;
    for (size_t i = 0; i < sizeof chips / sizeof *chips && !*out; i++) {
        plain_name(chips[i].name, known);
        snprintf(with_cores, sizeof with_cores, "%s%d", known, chips[i].n_cores);
        if (strcmp(wanted, known) == 0 || (chips[i].n_cores && strcmp(wanted, with_cores) == 0))
            *out = &chips[i];
    }
    return *out ? PANTRY_OK : unknown(name, err);
}

uint64_t pn_chip_usable(enum pn_chip_kind kind, uint64_t total)
{
    const uint64_t gib = (uint64_t)1 << 30;
    if (kind == PN_CHIP_APPLE) /* recommendedMaxWorkingSetSize without iogpu.wired_limit_mb */
        return total <= 36 * gib ? total / 3 * 2 : total / 4 * 3;
    uint64_t system = kind == PN_CHIP_GPU ? gib / 2 : total / 10 > 2 * gib ? total / 10 : 2 * gib;
    return total > 2 * system ? total - system : total / 2;
}
