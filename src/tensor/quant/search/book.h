/* The codebooks of the IQ types as floats, for searches. */
#ifndef PN_QUANT_SEARCH_BOOK_H
#define PN_QUANT_SEARCH_BOOK_H

enum pn_book_id {
    PN_BOOK_IQ2_XXS,
    PN_BOOK_IQ2_XS,
    PN_BOOK_IQ2_S,
    PN_BOOK_IQ3_XXS,
    PN_BOOK_IQ3_S,
    PN_BOOK_IQ1,
    PN_BOOKS
};

struct pn_book {
    int n, dim;         /* entries, levels of one */
    const float *level; /* (dim, n) */
};

/* Made on first use, by any thread; lives as long as the process. */
const struct pn_book *pn_book(enum pn_book_id id);

#endif
