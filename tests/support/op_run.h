/* Runs a few operations on a device without a model, for tests that compare them with formulas.
 *
 * All operands are slices of one array of random rows, `input` (n_rows, width), which the graph reads as `x`. The rows
 * belong to one or more sequences, one after another, and are fed in slices; a step has the next slice of each
 * sequence. */
#ifndef PN_TESTS_OP_RUN_H
#define PN_TESTS_OP_RUN_H

#include "base/random.h"
#include "tensor/op.h"
#include "tensor/plan.h"

enum { OP_MAX_SEQS = 4 };

/* The keys and values of the tested attention, as cache 0. */
struct op_cache {
    pn_type type;
    int n_head, dim_k, dim_v;
    bool value_in_key;
};

struct op_run {
    struct pn_graph graph;
    struct pn_rng rng;
    struct pn_weight table;
    int n_rows, width;
    float *input;
    pn_array x;    /* (tokens, width) */
    int n_lengths; /* sequences; their lengths add up to n_rows */
    const int *lengths;
    int n_state;                  /* floats of recurrent state per sequence */
    float *states;                /* (n_lengths, n_state): at the start of the sequences */
    bool alternates;              /* each step writes its states to other slots than it reads */
    const struct op_cache *cache; /* NULL: the graph has no attention */
    const int32_t *last, *first;  /* (n_rows): pn_batch.last and .first; or NULL */
};

/* The instruction set "mixed" is the best one, except that types of even number are multiplied with float32
 * activations. */
struct op_device {
    const char *name, *isa;
    int n_threads;
};

/* The devices of all tests of operations: ref, cpu in a few configurations, and the emulated GPUs. */
extern const struct op_device op_devices[];
extern int op_n_devices;
bool op_is_gpu(const struct op_device *device);

void op_run_init(struct op_run *o, uint64_t seed, int width, const int *lengths, int n_lengths, int n_state);
void op_run_free(struct op_run *o);

/* Random weights in low .. high, rounded to the precision of `type`; `decoded` gets them as float32, the caller frees
 * it. */
pn_array op_run_weight(struct op_run *o, pn_type type, const int64_t shape[3], float low, float high, float **decoded);

/* Runs the graph on a device, feeding each sequence at most `slice` rows per step: out (n_rows, n); states (n_lengths,
 * n_state) at the end of the sequences, or NULL. A failure fails the test. */
void op_run_on(const struct op_run *o, pn_array result, const struct op_device *device, int slice, float *out,
               float *states);

/* A plan for one result and up to n_rows rows of each kind. */
struct pn_plan_spec op_plan_spec(const pn_array *result, int n_rows);

/* Runs `result` on a device with the caller's batch, its `results` included, and returns the status of the run. Runs
 * twice, unless there are states, to show that the first run leaves no traces. Earlier failures fail the test. */
pantry_status op_step(const struct pn_graph *g, pn_array result, const struct op_device *device,
                      const struct pn_batch *b, struct pantry_error *err);

/* sum (a - b)^2 / sum b^2; 1e300 if that is NaN. */
double op_distance(const float *a, const double *b, size_t n);

#endif
