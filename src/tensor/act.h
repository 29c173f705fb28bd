/* Activation functions. act.def has one line for each: its name, its name in model files, its definition. */
#ifndef PN_TENSOR_ACT_H
#define PN_TENSOR_ACT_H

#include <stddef.h>

enum pn_act_fn {
#define PN_ACT_FN(NAME, name, label, value) PN_ACT_FN_##NAME,
#include "tensor/act.def"
#undef PN_ACT_FN
    PN_ACT_FN_COUNT
};

/* Its name in model files. */
const char *pn_act_label(enum pn_act_fn fn);
/* PN_ACT_FN_COUNT if no function has the label. */
enum pn_act_fn pn_act_find(const char *label, size_t n);
/* act(x), as act.def defines it. */
float pn_act_reference(enum pn_act_fn fn, float x);

#endif
