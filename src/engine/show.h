/* Pictures of a prompt, as a step needs them: which rows stand for tokens, who sees whom, and where they are. */
#ifndef PN_ENGINE_SHOW_H
#define PN_ENGINE_SHOW_H

#include "engine/step.h"

/* All lists are (n), one per token of the prompt. */
struct pn_pictures {
    atomic_int refs;
    int n;
    int32_t *ids, *keys;     /* keys: for the prefix tree; a picture's tokens have its content's */
    int32_t *row;            /* the row that stands for a token; -1: none */
    int32_t *first, *last;   /* of a token's picture where its tokens see each other; both its own otherwise */
    int32_t *place;          /* (3, n): time, height, width; NULL: as usual */
    int shift;               /* positions of tokens after the prompt are their index and this */
    bool whole;              /* a picture must not be cut by a step */
    int n_lead;              /* the first tokens are pictures outside the text, which layers of their own attend to: */
    int n_before;            /* ... `first` and `last` say which of them a token sees; before this one it is all */
    int32_t token;           /* the id of a picture's place, which may be outside of the vocabulary */
    const float **rows;      /* where each row is; NULL: not encoded yet */
    size_t n_rows, row_size; /* with n_lead, a row of a step has a flag more */
};

/* Gives a step the pictures of its tokens `past` .. past + n - 1, which begin at its row `first`. */
pantry_status pn_pictures_show(const struct pn_pictures *p, struct pn_step_builder *step, int first, int past, int n,
                               struct pantry_error *err);
/* The end nearest to past + n that cuts no picture; later than it if the picture at `past` is longer. Pictures outside
 * the text end a step. */
int pn_pictures_whole(const struct pn_pictures *p, int past, int n);

#endif
