/* The codebooks as floats: see book.h. */
#include "tensor/quant/search/book.h"

#include "tensor/quant/iquants_grid.h"

#include <pthread.h>
#include <stddef.h>

static float iq2_xxs[8 * 256], iq2_xs[8 * 512], iq2_s[8 * 1024], iq3_xxs[4 * 256], iq3_s[4 * 512], iq1[8 * 2048];

static const struct pn_book books[PN_BOOKS] = {
    [PN_BOOK_IQ2_XXS] = {256, 8, iq2_xxs}, [PN_BOOK_IQ2_XS] = {512, 8, iq2_xs}, [PN_BOOK_IQ2_S] = {1024, 8, iq2_s},
    [PN_BOOK_IQ3_XXS] = {256, 4, iq3_xxs}, [PN_BOOK_IQ3_S] = {512, 4, iq3_s},   [PN_BOOK_IQ1] = {2048, 8, iq1},
};

/* Level k of entry j goes to [k][j]; `levels` has a byte per level, lowest first, of which `minus` is taken. */
static void put(float *out, int n, int dim, int j, uint64_t levels, int minus)
{
    for (int k = 0; k < dim; k++)
        out[k * n + j] = (float)((int)(levels >> 8 * k & 0xFF) - minus);
}

static void make_all(void)
{
    for (int j = 0; j < 256; j++) {
        put(iq2_xxs, 256, 8, j, pn_grid_levels_iq2(pn_grid_iq2_xxs[j]), 0);
        put(iq3_xxs, 256, 4, j, pn_grid_levels_iq3_xxs(pn_grid_iq3_xxs[j]), 0);
    }
    for (int j = 0; j < 512; j++) {
        put(iq2_xs, 512, 8, j, pn_grid_levels_iq2(pn_grid_iq2_xs[j]), 0);
        put(iq3_s, 512, 4, j, pn_grid_levels_iq3_s(pn_grid_iq3_s[j]), 0);
    }
    for (int j = 0; j < 1024; j++)
        put(iq2_s, 1024, 8, j, pn_grid_levels_iq2(pn_grid_iq2_s[j]), 0);
    for (int j = 0; j < 2048; j++)
        put(iq1, 2048, 8, j, pn_quant_spread2(pn_grid_iq1[j]), 1);
}

const struct pn_book *pn_book(enum pn_book_id id)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_all);
    return &books[id];
}
