/* Rotary position embedding: Su et al., RoFormer, 2021. */
#include "tensor/op/reference.h"

#include <math.h>
#include <string.h>

static pn_array frequencies(struct pn_graph *g, const char *name, const float *values, int n)
{
    float *copy;
    const struct pn_weight *w = values ? pn_weight_constant(&g->arena, name, 1, n, &copy) : NULL;
    if (w)
        memcpy(copy, values, (size_t)n * sizeof *copy);
    return pn_weight_leaf(g, w);
}

pn_array pn_rope_table(struct pn_graph *g, const float *inv_freq, const float *inv_freq_long, int n_short, int n_rot,
                       float magnitude, const struct pn_rope_split *split)
{
    if (g->error.status)
        return PN_NONE;
    if (n_rot < 2 || n_rot % 2)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot rotate %d values: the number must be even and above 0", n_rot);
    pn_array shorter = frequencies(g, "rotary frequencies", inv_freq, n_rot / 2),
             longer = frequencies(g, "long rotary frequencies", inv_freq_long, n_rot / 2);
    if (shorter == PN_NONE || (inv_freq_long && longer == PN_NONE))
        return pn_graph_fail(g, PANTRY_NO_MEMORY, "out of memory for rotary frequencies");
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ROPE_TABLE,
                                            .rows = PN_ROWS_TOKENS,
                                            .n1 = 1,
                                            .n2 = n_rot,
                                            .n_src = 2,
                                            .src = {shorter, longer},
                                            .rope = {.n_short = n_short,
                                                     .magnitude = magnitude,
                                                     .n_rot = n_rot,
                                                     .split = split ? *split : (struct pn_rope_split){{0}, false}}});
}

/* The section of a pair. Where interleaved ones are used up, pairs belong to the last section, or to the first if the
 * last has no pairs. */
static int section_of(const struct pn_rope_split *s, int pair)
{
    int total = s->n[0] + s->n[1] + s->n[2] + s->n[3], at = total ? pair % total : 0;
    if (!total)
        return 0;
    if (s->interleaved) /* time, height, width in turn, until each is used up */
        return at < 3 * s->n[at % 3] ? at % 3 : s->n[3] ? 3 : 0;
    return at < s->n[0] ? 0 : at < s->n[0] + s->n[1] ? 1 : at < s->n[0] + s->n[1] + s->n[2] ? 2 : 3;
}

pantry_status pn_ref_rope_table(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int half = a->node->rope.n_rot / 2;
    const struct pn_weight *shorter = pn_op_weight(a, 0), *longer = pn_op_weight(a, 1);
    const float *inv_freq = pn_weight_floats(shorter, 0, 0);
    for (int64_t r = a->row0; r < a->row1; r++) {
        float *out = pn_view_at(a->out, r, 0);
        if (longer) {
            const struct pn_batch_seq *seq = pn_batch_seq_of(a->batch, r);
            bool is_long = seq && seq->n_context > a->node->rope.n_short;
            inv_freq = pn_weight_floats(is_long ? longer : shorter, 0, 0);
        }
        for (int i = 0; i < half; i++) {
            float angle = (float)pn_batch_pos(a->batch, r, section_of(&a->node->rope.split, i)) * inv_freq[i];
            out[i] = cosf(angle) * a->node->rope.magnitude;
            out[half + i] = sinf(angle) * a->node->rope.magnitude;
        }
    }
    return PANTRY_OK;
}

pn_array pn_rope(struct pn_graph *g, pn_array x, pn_array table, enum pn_rope_kind kind)
{
    if (table == PN_NONE || !pn_op_want_rows(g, x, "the operand of rope"))
        return PN_NONE;
    const struct pn_node *n = pn_node(g, x), *t = pn_node(g, table);
    if (t->n2 > n->n2 || t->rows != n->rows)
        return pn_graph_fail(g, PANTRY_FORMAT, "cannot rotate %d values of heads of %d", t->n2, n->n2);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_ROPE,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 2,
                                            .src = {x, table},
                                            .rope = {.kind = kind, .n_rot = t->n2}});
}

pantry_status pn_ref_rope(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n2 = a->node->n2, n_rot = a->node->rope.n_rot, half = n_rot / 2;
    bool pairs = a->node->rope.kind == PN_ROPE_PAIRS;
    for (int64_t r = a->row0; r < a->row1; r++) {
        const float *c = pn_view_at(a->src[1], r, 0), *s = c + half;
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < half; i++) {
                int first = pairs ? 2 * i : i, second = pairs ? 2 * i + 1 : i + half;
                float x0 = x[first], x1 = x[second];
                out[first] = x0 * c[i] - x1 * s[i];
                out[second] = x0 * s[i] + x1 * c[i];
            }
            if (out != x)
                memcpy(out + n_rot, x + n_rot, (size_t)(n2 - n_rot) * sizeof *out);
        }
    }
    return PANTRY_OK;
}

pn_array pn_pos_scale(struct pn_graph *g, pn_array x, float scale, float floor, float offset)
{
    if (!pn_op_want_rows(g, x, "the operand of pos_scale"))
        return PN_NONE;
    if (!(floor >= 1))
        return pn_graph_fail(g, PANTRY_FORMAT, "positions cannot be divided by %g", (double)floor);
    const struct pn_node *n = pn_node(g, x);
    return pn_graph_add(g, (struct pn_node){.op = PN_OP_POS_SCALE,
                                            .rows = n->rows,
                                            .n1 = n->n1,
                                            .n2 = n->n2,
                                            .n_src = 1,
                                            .src = {x},
                                            .pos = {.scale = scale, .floor = floor, .offset = offset}});
}

pantry_status pn_ref_pos_scale(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    const struct pn_node *n = a->node;
    for (int64_t r = a->row0; r < a->row1; r++) {
        float steps = floorf(((float)a->batch->pos[r] + n->pos.offset) / n->pos.floor);
        float factor = logf(steps + 1) * n->pos.scale + 1;
        for (int h = 0; h < n->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < n->n2; i++)
                out[i] = x[i] * factor;
        }
    }
    return PANTRY_OK;
}

/* ---- gradients ---- */

pn_array pn_rope_back(struct pn_graph *g, pn_array dy, pn_array table, enum pn_rope_kind kind)
{
    pn_array y = pn_rope(g, dy, table, kind);
    if (y != PN_NONE)
        g->data[y].op = PN_OP_ROPE_BACK;
    return y;
}

pantry_status pn_ref_rope_back(const struct pn_op_args *a, struct pantry_error *err)
{
    (void)err;
    int n2 = a->node->n2, n_rot = a->node->rope.n_rot, half = n_rot / 2;
    bool pairs = a->node->rope.kind == PN_ROPE_PAIRS;
    for (int64_t r = a->row0; r < a->row1; r++) {
        const float *c = pn_view_at(a->src[1], r, 0), *s = c + half;
        for (int h = 0; h < a->node->n1; h++) {
            const float *x = pn_view_at(a->src[0], r, h);
            float *out = pn_view_at(a->out, r, h);
            for (int i = 0; i < half; i++) {
                int first = pairs ? 2 * i : i, second = pairs ? 2 * i + 1 : i + half;
                float x0 = x[first], x1 = x[second];
                out[first] = x0 * c[i] + x1 * s[i];
                out[second] = x1 * c[i] - x0 * s[i];
            }
            if (out != x)
                memcpy(out + n_rot, x + n_rot, (size_t)(n2 - n_rot) * sizeof *out);
        }
    }
    return PANTRY_OK;
}

void pn_back_rope(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_grad_add(t, n.src[0], pn_rope_back(t->g, dy, n.src[1], n.rope.kind));
}

void pn_back_pos_scale(struct pn_grad *t, pn_array y, pn_array dy)
{
    struct pn_node n = *pn_node(t->g, y);
    pn_grad_add(t, n.src[0], pn_pos_scale(t->g, dy, n.pos.scale, n.pos.floor, n.pos.offset));
}
