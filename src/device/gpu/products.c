/* Launches of products: which kernel multiplies how many rows. */
#include "device/gpu/launch.h"

#include <assert.h>

/* Up to FEW rows go to the kernels of few rows, four at a time. So do slots of experts, one by one, while the matrices
 * of a stack have FEW_EACH slots on average: a tile of 64 would be nearly empty. */
enum { FEW = 16, AT_ONCE = 4, FEW_EACH = 4 };
/* As in kernels/products.gpu. */
enum { ROWS_PER_WARP = 2, UNIT = 32, UNIT_ROOM = 36, MOST_VALUES = 7168, TILE = 64, TILE_ROOM = TILE + 4 };
enum { HALF_ROWS = 128, HALF_COLUMNS = 64, HALF_STEP = 64, HALF_ROOM = HALF_STEP / 2 + 4 };

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

/* Weights whose values half precision may not hold stay float32. */
static bool is_exact(i32 type)
{
    return type == PN_TYPE_F32 || type == PN_TYPE_F64 || type == PN_TYPE_I8 || type == PN_TYPE_I16 ||
           type == PN_TYPE_I32 || type == PN_TYPE_I64;
}

/* What tiles keep in scratch: operands in half precision, one scale each, and slots by expert. */
struct tile_scratch {
    size_t scales, sorted, end;
};

static struct tile_scratch scratch_of(bool exact, int64_t operands, int64_t n_cols, int64_t experts, int64_t slots)
{
    struct tile_scratch s;
    s.scales = exact ? 0 : (size_t)operands * pn_gpu_groups(n_cols, HALF_STEP) * HALF_STEP * sizeof(uint16_t);
    s.sorted = s.scales + (exact ? 0 : (size_t)operands * sizeof(float));
    s.end = s.sorted + (experts ? (size_t)(experts + 1 + slots) * sizeof(i32) : 0);
    return s;
}

static void emit_tiles(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    struct pn_gpu_product *p = &l->args.p.product;
    bool exact = is_exact(l->args.w.type), routed = p->slots == PN_GPU_ROUTED;
    int64_t matrices = p->slots == PN_GPU_ONE_SLOT ? 1 : l->args.w.n_mat, slots = rows * n->n1, columns = rows;
    int64_t x_slots = p->slots == PN_GPU_ONE_SLOT ? 1 : l->args.src_n1[0];
    struct tile_scratch at = scratch_of(exact, rows * x_slots, l->args.w.n_cols, routed ? matrices : 0, slots);
    assert(at.end <= list->scratch_bytes);
    p->halves = list->scratch;
    p->scales = list->scratch + at.scales;
    p->sorted = list->scratch + at.sorted;
    if (!exact) {
        struct pn_gpu_launch halve = *l;
        halve.kernel = PN_GPU_halve_rows;
        halve.groups[0] = (u32)x_slots;
        halve.groups[1] = (u32)rows;
        halve.groups[2] = 1;
        halve.shared = 32 * sizeof(float);
        pn_gpu_emit(list, &halve);
    }
    if (routed) {
        struct pn_gpu_launch sort = *l;
        sort.kernel = PN_GPU_sort_slots;
        sort.groups[0] = (u32)matrices;
        sort.groups[1] = sort.groups[2] = 1;
        sort.shared = (size_t)pn_gpu_kernel_threads(sort.kernel) * sizeof(i32);
        pn_gpu_emit(list, &sort);
        /* Groups for twice the average: those of an expert with more slots take several tiles in turn. */
        columns = 2 * slots / matrices < rows ? 2 * slots / matrices : rows;
    }
    l->kernel = exact && l->args.w.type != PN_TYPE_F32 ? PN_GPU_tile_exact_any : kernels_of(l->args.w.type).tile;
    l->groups[0] = pn_gpu_groups(l->args.w.n_rows, exact ? TILE : HALF_ROWS);
    l->groups[1] = (u32)matrices;
    l->groups[2] = pn_gpu_groups(columns, exact ? TILE : HALF_COLUMNS);
    l->shared = exact ? (size_t)2 * UNIT * TILE_ROOM * sizeof(float)
                      : (size_t)(HALF_ROWS + HALF_COLUMNS) * HALF_ROOM * sizeof(u32);
    pn_gpu_emit(list, l);
}

void pn_gpu_matmul(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.product = (struct pn_gpu_product){.slots = PN_GPU_ONE_SLOT};
    if (rows <= FEW)
        emit_few(list, rows, 1, rows == 1 ? 1 : AT_ONCE, l);
    else
        emit_tiles(list, n, rows, l);
}

void pn_gpu_matmul_each(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    bool routed = n->src[2] != PN_NONE;
    l->args.p.product = (struct pn_gpu_product){.slots = routed ? PN_GPU_ROUTED : PN_GPU_EACH_ITS};
    if (rows <= FEW || (routed && rows * n->n1 <= FEW_EACH * l->args.w.n_mat))
        emit_few(list, rows, n->n1, rows == 1 || routed ? 1 : AT_ONCE, l);
    else
        emit_tiles(list, n, rows, l);
}

size_t pn_gpu_matmul_scratch(const struct pn_graph *g, const struct pn_node *n, int64_t rows)
{
    const struct pn_weight *w = pn_node(g, n->src[1])->weight;
    return scratch_of(is_exact((i32)w->type), rows, w->n_cols, 0, 0).end;
}

size_t pn_gpu_matmul_each_scratch(const struct pn_graph *g, const struct pn_node *n, int64_t rows)
{
    const struct pn_weight *w = pn_node(g, n->src[1])->weight;
    int64_t operands = rows * pn_node(g, n->src[0])->n1, experts = n->src[2] == PN_NONE ? 0 : w->n_mat;
    return scratch_of(is_exact((i32)w->type), operands, w->n_cols, experts, rows * n->n1).end;
}
