/* Nondeterministic automata, and code points as paths of bytes: see fsa.h. */
#include "grammar/fsa.h"

#include <stdlib.h>

uint32_t pn_nfa_state(struct pn_nfa *nfa)
{
    if (nfa->states.len >= PN_FSA_MAX_STATES)
        nfa->too_large = true;
    if (nfa->too_large || nfa->no_memory)
        return 0;
    if (!pn_vec_push(&nfa->states, 0u)) {
        nfa->no_memory = true;
        return 0;
    }
    return (uint32_t)(nfa->states.len - 1);
}

static void add_edge(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to)
{
    if (nfa->edges.len >= PN_FSA_MAX_EDGES)
        nfa->too_large = true;
    if (nfa->too_large || nfa->no_memory)
        return;
    if (nfa->edges.len == 0 && !pn_vec_push(&nfa->edges, (struct pn_nfa_edge){0})) {
        nfa->no_memory = true;
        return;
    }
    struct pn_nfa_edge edge = {first, last, to, nfa->states.data[from]};
    if (!pn_vec_push(&nfa->edges, edge)) {
        nfa->no_memory = true;
        return;
    }
    nfa->states.data[from] = (uint32_t)(nfa->edges.len - 1);
}

void pn_nfa_edge(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to)
{
    if (first <= last)
        add_edge(nfa, from, first, last, to);
}

void pn_nfa_empty(struct pn_nfa *nfa, uint32_t from, uint32_t to)
{
    if (from != to)
        add_edge(nfa, from, 1, 0, to);
}

void pn_nfa_clear(struct pn_nfa *nfa)
{
    nfa->states.len = 0;
    nfa->edges.len = 0;
    nfa->no_memory = nfa->too_large = false;
}

void pn_nfa_free(struct pn_nfa *nfa)
{
    free(nfa->states.data);
    free(nfa->edges.data);
    *nfa = (struct pn_nfa){0};
}

/* ---- UTF-8 ---- */

static unsigned encode(uint32_t c, unsigned char out[4])
{
    if (c < 0x80)
        return out[0] = (unsigned char)c, 1;
    if (c < 0x800) {
        out[0] = (unsigned char)(0xC0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xE0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (unsigned char)(0x80 | (c & 0x3F));
    return 4;
}

/* One path of byte ranges: the code points first to last have the same length, and every byte runs through its whole
 * range whatever the ones before are. */
static void path(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to)
{
    unsigned char low[4], high[4];
    unsigned n = encode(first, low);
    encode(last, high);
    for (unsigned i = 0; i < n; i++) {
        uint32_t next = i + 1 < n ? pn_nfa_state(nfa) : to;
        pn_nfa_edge(nfa, from, low[i], high[i], next);
        from = next;
    }
}

/* Cuts the range where the length changes and where a later byte could not run through its whole range: Russ Cox,
 * Regular Expression Matching in the Wild, 2010. */
void pn_nfa_utf8(struct pn_nfa *nfa, uint32_t from, uint32_t first, uint32_t last, uint32_t to)
{
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xFFFF};
    while (first <= last) {
        uint32_t end = last;
        for (int i = 0; i < 3; i++)
            if (first <= ends[i] && end > ends[i])
                end = ends[i];
        for (int bits = 6; bits < 21 && first > 0x7F; bits += 6) {
            uint32_t low = ((uint32_t)1 << bits) - 1;
            if ((first & ~low) == (end & ~low))
                break;
            if (first & low)
                end = first | low; /* up to the end of a block */
            else if ((end & low) != low)
                end = (end & ~low) - 1; /* whole blocks */
        }
        path(nfa, from, first, end, to);
        first = end + 1;
    }
}
