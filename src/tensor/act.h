/* Activation functions: their names, what model files call them, and what they are. act.def has a line for each. */
#ifndef PN_TENSOR_ACT_H
#define PN_TENSOR_ACT_H

#include <stddef.h>

enum pn_act_fn {
#define PN_ACT_FN(NAME, name, label, value) PN_ACT_FN_##NAME,
#include "tensor/act.def"
#undef PN_ACT_FN
    PN_ACT_FN_COUNT
};

/* What model files call it. */
const char *pn_act_label(enum pn_act_fn fn);
/* PN_ACT_FN_COUNT for a label that none has. */
enum pn_act_fn pn_act_find(const char *label, size_t n);
/* act(x), as act.def defines it. */
float pn_act_reference(enum pn_act_fn fn, float x);

#endif
