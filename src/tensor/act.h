/* Activation functions: names, labels in model files, and definitions. act.def has a line for each. */
#ifndef PN_TENSOR_ACT_H
#define PN_TENSOR_ACT_H

#include <stddef.h>

enum pn_act_fn {
#define PN_ACT_FN(NAME, name, label, value, slope) PN_ACT_FN_##NAME,
#include "tensor/act.def"
#undef PN_ACT_FN
    PN_ACT_FN_COUNT
};

/* Its label in model files. */
const char *pn_act_label(enum pn_act_fn fn);
/* PN_ACT_FN_COUNT for an unknown label. */
enum pn_act_fn pn_act_find(const char *label, size_t n);
/* act(x), as act.def defines it. */
float pn_act_reference(enum pn_act_fn fn, float x);
/* Its derivative at x. */
double pn_act_slope(enum pn_act_fn fn, double x);

#endif
