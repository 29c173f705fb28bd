/* Activation functions: see act.h. */
#include "tensor/act.h"

#include <math.h>
#include <string.h>

static const char *const labels[PN_ACT_FN_COUNT] = {
#define PN_ACT_FN(NAME, name, label, value, slope) [PN_ACT_FN_##NAME] = (label),
#include "tensor/act.def"
#undef PN_ACT_FN
};

const char *pn_act_label(enum pn_act_fn fn)
{
    return labels[fn];
}

enum pn_act_fn pn_act_find(const char *label, size_t n)
{
    int fn = 0;
    while (fn < PN_ACT_FN_COUNT && (strlen(labels[fn]) != n || memcmp(labels[fn], label, n) != 0))
        fn++;
    return (enum pn_act_fn)fn;
}

double pn_act_slope(enum pn_act_fn fn, double v)
{
    switch (fn) {
#define PN_ACT_FN(NAME, name, label, value, slope)                                                                     \
    case PN_ACT_FN_##NAME:                                                                                             \
        return (slope);
#include "tensor/act.def"
#undef PN_ACT_FN
    case PN_ACT_FN_COUNT:
        break;
    }
    return 1;
}

float pn_act_reference(enum pn_act_fn fn, float x)
{
    double v = (double)x;
    switch (fn) {
#define PN_ACT_FN(NAME, name, label, value, slope)                                                                     \
    case PN_ACT_FN_##NAME:                                                                                             \
        return (float)(value);
#include "tensor/act.def"
#undef PN_ACT_FN
    case PN_ACT_FN_COUNT:
        break;
    }
    return x;
}
