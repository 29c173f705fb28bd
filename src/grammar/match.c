/* Steps through a text, byte by byte: see match.h. */
#include "grammar/match.h"

#include "grammar/sets.h"

enum { KEPT_BYTES = 128 << 20 }; /* of sets; then only those that are still needed stay */
static const int64_t max_work = 200000000;

/* Starts a new collection with what `set` needs. */
static pantry_status renew(struct pn_sets *sets, uint32_t *set, struct pantry_error *err)
{
    struct pn_sets next;
    pantry_status status = pn_sets_init(&next, sets->grammar, true, err);
    if (status)
        return status;
    next.work = sets->work;
    status = pn_sets_move(&next, sets, set, 1, err);
    if (!status && pn_sets_bytes(&next) > KEPT_BYTES / 2)
        status = pn_fail(err, PANTRY_LIMIT, "the text nests too deeply for its grammar");
    pn_sets_free(status ? &next : sets);
    if (!status)
        *sets = next;
    return status;
}

pantry_status pn_grammar_accepts(const struct pn_grammar *grammar, const char *text, size_t n, bool *accepted,
                                 struct pantry_error *err)
{
    struct pn_sets sets;
    uint32_t set = PN_SET_START;
    pantry_status status = pn_sets_init(&sets, grammar, true, err);
    if (status)
        return status;
    sets.work = max_work;
    for (size_t i = 0; !status && i < n && set != PN_SET_DEAD; i++) {
        set = pn_sets_step(&sets, set, (unsigned char)text[i]);
        if (!set)
            status = pn_sets_error(&sets, err);
        else if (pn_sets_bytes(&sets) > KEPT_BYTES)
            status = renew(&sets, &set, err);
    }
    if (!status)
        *accepted = set != PN_SET_DEAD && sets.sets.data[set].accepts;
    pn_sets_free(&sets);
    return status;
}
