/* Graphs with known values: every operation is computed at once, in double precision and by its own formula, and a
 * device's result of the whole graph is compared with that. */
#ifndef PN_TESTS_EAGER_H
#define PN_TESTS_EAGER_H

#include "op_run.h"

enum { EAGER_MAX = 96 };

struct eager_value {
    pn_array array;
    enum pn_op op; /* the operation of this value */
    bool outputs;  /* its rows are the outputs' */
    int n1, n2;
    double *v; /* (n_rows, n1, n2) */
};

/* Values are named by their index; 0 is the input. */
struct eager {
    struct op_run run;
    struct eager_value values[EAGER_MAX];
    int n;
};

void eager_init(struct eager *e, uint64_t seed, int width, const int *lengths, int n_lengths);
void eager_free(struct eager *e);

int eager_matmul(struct eager *e, int x, int n_out); /* with a random weight, float32 or float16 */
int eager_binary(struct eager *e, int a, int b, bool multiply);
int eager_vector(struct eager *e, int a, bool each_head, bool multiply); /* with a random weight vector */
int eager_scale(struct eager *e, int x, float factor, float offset);
int eager_softcap(struct eager *e, int x, float cap);
int eager_clamp(struct eager *e, int x, float low, float high);
int eager_act(struct eager *e, int x, enum pn_act_fn fn);
int eager_rms_norm(struct eager *e, int x);
int eager_concat(struct eager *e, int a, int b);
int eager_mul_heads(struct eager *e, int x, int by);
int eager_reshape(struct eager *e, int x, int n1, int n2);
int eager_slice(struct eager *e, int x, int offset, int n2);
int eager_outputs(struct eager *e, int x);

/* Checks the graph's value `result` on every device of op_devices, with one row per step and with several. */
void eager_check(const struct eager *e, int result, const char *what);
/* The same in two of these ways, selected by `turn`. */
void eager_check_two(const struct eager *e, int result, int turn, const char *what);

#endif
