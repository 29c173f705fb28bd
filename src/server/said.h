/* What models said where they called tools, token for token.
 *
 * A program gets a call as JSON and sends it back in its own words: other spaces, another order of keys. The prompt
 * would then differ from what the model has in memory, and all that follows would be read again. So the turns are
 * remembered, for each owner and model alone, up to a bound, and in a file that a later service reads. */
#ifndef PN_SERVER_SAID_H
#define PN_SERVER_SAID_H

#include "base/hash.h"
#include "pantry.h"

/* Where a turn belongs: what must be equal when it comes back. */
struct pn_said_key {
    const char *owner;               /* NULL: there are no keys */
    const char *model;               /* the file */
    char meaning[PN_SHA256_HEX + 1]; /* digest of the text and the calls, however they are written */
    const char *id;                  /* of the first call; NULL: the API has none */
    int position;                    /* messages before it */
};

struct pn_said {
    char prompt[PN_SHA256_HEX + 1]; /* digest of the prompt that it answered */
    size_t n_piece;                 /* bytes of that prompt's text after the last turn that was put into it ... */
    char *open;                     /* ... up to this, which the template put before the answer */
    int32_t *ids;                   /* (n_ids) the answer's tokens; none: it was cut, and only its calls count */
    size_t n_ids;
    char *calls;     /* JSON: [{"name", "arguments"}], the model's own */
    char *reasoning; /* "" where there was none */
    bool is_same;    /* pn_said_find: the id or, without one, the position is the same too */
};

/* Remembers a turn; copies what it is given. */
void pn_said_keep(const struct pn_said_key *key, const struct pn_said *said);
/* The turn that fits best: by id, by position, the newest. False: none is known. The caller frees *out. */
bool pn_said_find(const struct pn_said_key *key, struct pn_said *out);
void pn_said_free(struct pn_said *said);

/* Reads the turns of a file, and writes later ones there; creates it and its folder. Only one process does at a time;
 * others remember in memory alone. What is damaged is left out. */
pantry_status pn_said_open(const char *path, struct pantry_error *err);
/* Forgets all turns; the file stays. */
void pn_said_close(void);

#endif
