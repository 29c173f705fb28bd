/* Collecting the states of an automaton, and putting one into another: see fsa.h. */
#include "grammar/fsa.h"

#include <stdlib.h>

void pn_fsa_free(struct pn_fsa *fsa)
{
    free(fsa->first);
    free(fsa->edges);
    free(fsa->final);
    *fsa = (struct pn_fsa){0};
}

bool pn_fsa_begin(struct pn_fsa_builder *b, bool final)
{
    return pn_vec_push(&b->first, (uint32_t)b->edges.len) && pn_vec_push(&b->final, final);
}

bool pn_fsa_add(struct pn_fsa_builder *b, uint32_t first, uint32_t last, uint32_t to)
{
    size_t begin = b->first.data[b->first.len - 1];
    struct pn_fsa_edge *before = b->edges.len > begin ? &b->edges.data[b->edges.len - 1] : NULL;
    if (before && before->to == to && before->last + 1 == first && last < PN_SYMBOL_BYTES) {
        before->last = last;
        return true;
    }
    struct pn_fsa_edge edge = {first, last, to};
    return pn_vec_push(&b->edges, edge);
}

pantry_status pn_fsa_finish(struct pn_fsa_builder *b, bool deterministic, struct pn_fsa *out, struct pantry_error *err)
{
    uint32_t n = (uint32_t)b->first.len;
    if (!pn_vec_push(&b->first, (uint32_t)b->edges.len)) {
        pn_fsa_builder_free(b);
        return pn_no_memory(err, "a grammar");
    }
    *out = (struct pn_fsa){n, b->first.data, b->edges.data, b->final.data, deterministic};
    *b = (struct pn_fsa_builder){0};
    return PANTRY_OK;
}

void pn_fsa_builder_free(struct pn_fsa_builder *b)
{
    free(b->edges.data);
    free(b->first.data);
    free(b->final.data);
    *b = (struct pn_fsa_builder){0};
}

void pn_fsa_embed(const struct pn_fsa *fsa, struct pn_nfa *nfa, uint32_t from, uint32_t to)
{
    if (nfa->states.len + fsa->n_states > PN_FSA_MAX_STATES)
        nfa->too_large = true;
    uint32_t base = (uint32_t)nfa->states.len;
    for (uint32_t s = 0; s < fsa->n_states; s++)
        pn_nfa_state(nfa);
    if (nfa->too_large || nfa->no_memory)
        return;
    pn_nfa_empty(nfa, from, base);
    for (uint32_t s = 0; s < fsa->n_states; s++) {
        for (uint32_t i = fsa->first[s]; i < fsa->first[s + 1]; i++)
            pn_nfa_edge(nfa, base + s, fsa->edges[i].first, fsa->edges[i].last, base + fsa->edges[i].to);
        if (fsa->final[s])
            pn_nfa_empty(nfa, base + s, to);
    }
}
