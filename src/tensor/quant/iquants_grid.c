/* The codebooks of the IQ types: see iquants_grid.h. */
#include "tensor/quant/iquants_grid.h"

#define PN_GRID(name, n, ...) const uint16_t pn_grid_##name[n] = {__VA_ARGS__};
#include "tensor/quant/iquants_grid.def"
#undef PN_GRID
