/* The references of all operations, from op.def. */
#include "tensor/op/reference.h"

pn_op_fn *pn_op_reference(enum pn_op op)
{
    static pn_op_fn *const table[PN_OP_COUNT] = {
#define PN_REF_OF_LEAF(name)                     NULL
#define PN_REF_OF_VIEW(name)                     NULL
#define PN_REF_OF_ROW(name)                      pn_ref_##name
#define PN_REF_OF_WIDE(name)                     pn_ref_##name
#define PN_OP(NAME, name, kind, trait, gradient) [PN_OP_##NAME] = PN_REF_OF_##kind(name),
#include "tensor/op.def"
#undef PN_OP
    };
    return table[op];
}
