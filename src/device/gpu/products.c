/* Launches of products: which kernel multiplies how many rows. */
#include "device/gpu/launch.h"

#include <assert.h>

/* Up to FEW rows go to the kernels of few rows, four at a time. So do slots of experts, one by one, while the matrices of
 * a stack have FEW_EACH slots on average: a tile of 64 would be nearly empty. */
enum { FEW = 16, AT_ONCE = 4, FEW_EACH = 4 };
/* As in kernels/products.gpu. */
enum { ROWS_PER_WARP = 2, UNIT = 32, UNIT_ROOM = 36, MOST_VALUES = 8192, TILE = 64, TILE_ROOM = TILE + 4 };

struct kernels {
    enum pn_gpu_kernel matvec, matvec4, tile;
};

static struct kernels kernels_of(i32 type)
{
    switch (type) {
#define PN_GPU_PRODUCT(NAME, name)                                                                                     \
    case PN_TYPE_##NAME:                                                                                               \
        return (struct kernels){PN_GPU_matvec_##name, PN_GPU_matvec4_##name, PN_GPU_tile_##name};
#include "device/gpu/products.def"
    default:
        return (struct kernels){PN_GPU_matvec_any, PN_GPU_matvec4_any, PN_GPU_tile_any};
    }
}

/* `at_once` rows of the operand for each reading of the weight, and `slots` slots of each row. */
static void emit_few(struct pn_gpu_list *list, int64_t rows, int64_t slots, int at_once, struct pn_gpu_launch *l)
{
    struct kernels k = kernels_of(l->args.w.type);
    int64_t units = pn_gpu_groups(l->args.w.n_cols, UNIT), most = MOST_VALUES / at_once / UNIT;
    l->kernel = at_once == 1 ? k.matvec : k.matvec4;
    l->groups[0] = pn_gpu_groups(l->args.w.n_rows, pn_gpu_kernel_threads(l->kernel) / PN_GPU_WARP * ROWS_PER_WARP);
    l->groups[1] = pn_gpu_groups(rows, at_once);
    l->groups[2] = (u32)slots;
    l->shared = (size_t)(units < most ? units : most) * UNIT_ROOM * (size_t)at_once * sizeof(float);
    pn_gpu_emit(list, l);
}

/* `columns` results of each matrix. */
static void emit_tiles(struct pn_gpu_list *list, int64_t matrices, int64_t columns, struct pn_gpu_launch *l)
{
    l->kernel = kernels_of(l->args.w.type).tile;
    l->groups[0] = pn_gpu_groups(l->args.w.n_rows, TILE);
    l->groups[1] = (u32)matrices;
    l->groups[2] = pn_gpu_groups(columns, TILE);
    l->shared = (size_t)2 * UNIT * TILE_ROOM * sizeof(float);
    pn_gpu_emit(list, l);
}

void pn_gpu_matmul(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    (void)n;
    l->args.p.product = (struct pn_gpu_product){.slots = PN_GPU_ONE_SLOT};
    if (rows <= FEW)
        emit_few(list, rows, 1, rows == 1 ? 1 : AT_ONCE, l);
    else
        emit_tiles(list, 1, rows, l);
}

static size_t sorted_bytes(int64_t experts, int64_t slots)
{
    return (size_t)(experts + 1 + slots) * sizeof(i32);
}

void pn_gpu_matmul_each(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    int64_t slots = rows * n->n1, experts = l->args.w.n_mat;
    if (n->src[2] == PN_NONE) {
        l->args.p.product = (struct pn_gpu_product){.slots = PN_GPU_EACH_ITS};
        if (rows <= FEW)
            emit_few(list, rows, n->n1, rows == 1 ? 1 : AT_ONCE, l);
        else
            emit_tiles(list, n->n1, rows, l);
        return;
    }
    l->args.p.product = (struct pn_gpu_product){.sorted = list->scratch, .slots = PN_GPU_ROUTED};
    if (slots <= FEW_EACH * experts || rows <= FEW) {
        emit_few(list, rows, n->n1, 1, l);
        return;
    }
    assert(sorted_bytes(experts, slots) <= list->scratch_bytes);
    struct pn_gpu_launch sort = *l;
    sort.kernel = PN_GPU_sort_slots;
    sort.groups[0] = (u32)experts;
    sort.groups[1] = sort.groups[2] = 1;
    sort.shared = (size_t)pn_gpu_kernel_threads(sort.kernel) * sizeof(i32);
    pn_gpu_emit(list, &sort);
    /* Groups for twice the average: those of an expert with more slots take several tiles in turn. */
    emit_tiles(list, experts, 2 * slots / experts < rows ? 2 * slots / experts : rows, l);
}

size_t pn_gpu_matmul_each_scratch(const struct pn_graph *g, const struct pn_node *n, int64_t rows)
{
    return n->src[2] == PN_NONE ? 0 : sorted_bytes(pn_node(g, n->src[1])->weight->n_mat, rows * n->n1);
}
