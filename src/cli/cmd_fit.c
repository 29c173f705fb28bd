/* pantry fit: which models fit this machine or another, and how fast they will be. */
#include "cli/commands.h"

#include "cli/fit_ask.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chosen {
    const char *chip;
    uint64_t ram;
    bool catalog, tiers, explain, measure, insecure, json;
    int parallel;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("chip", "NAME", offsetof(struct chosen, chip),
                "another machine: \"M4 Max\", \"M4 Max 32\" (cores of the GPU), \"RTX 4090\"...",
                .more = "With --memory; without it, the most that the chip is sold with."),
    PN_OPT_SIZE("ram", "SIZE", offsetof(struct chosen, ram),
                "main memory beside a graphics card of --chip, for what does not fit the card"),
    PN_OPT_FLAG("catalog", offsetof(struct chosen, catalog), "rank all known shapes, as without MODEL"),
    PN_OPT_FLAG("tiers", offsetof(struct chosen, tiers), "what fits the usual memory sizes of a Mac, as a table"),
    PN_OPT_INT("parallel", "N", offsetof(struct chosen, parallel), 1, 4096,
               "conversations that run together, each with its whole context (default: 1)"),
    PN_OPT_FLAG("explain", offsetof(struct chosen, explain), "show how each number is calculated"),
    PN_OPT_FLAG("measure", offsetof(struct chosen, measure), "measure this machine again"),
    PN_OPT_INSECURE(offsetof(struct chosen, insecure)),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value"),
};

/* From the best to the smallest: what is tried for a shape without a type. */
static const char *const ladder[] = {"q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"};
enum { N_LADDER = sizeof ladder / sizeof *ladder, FOUR_BITS = 3, TIER_CONTEXT = 8192, MAX_SPEC = 96 };

static double rate(double seconds)
{
    return seconds > 0 ? 1 / seconds : 0;
}

static double prompt_rate(const struct pn_fit *f)
{
    return f->prompt_seconds > 0 ? f->n_prompt / f->prompt_seconds : 0;
}

/* The only type that a shape is published in; NULL: any. */
static const char *usual_type(const char *shape)
{
    const char *name;
    for (size_t i = 0; (name = pantry_shape_name(i)); i++)
        if (strcmp(name, shape) == 0)
            return pantry_shape_own_type(i);
    return NULL;
}

/* The best type of a shape that fits; false: none does, and *fit is the smallest. */
static bool best_type(const char *shape, const struct pn_fit_question *q, char *spec, struct pn_fit *fit)
{
    const char *only = usual_type(shape);
    for (size_t i = only ? N_LADDER - 1 : 0; i < N_LADDER; i++) {
        snprintf(spec, MAX_SPEC, "%s:%s", shape, only ? only : ladder[i]);
        if (pn_fit_model(spec, q, fit) == PN_EXIT_DONE && fit->fits)
            return true;
    }
    return false;
}

/* ---- one model ---- */

static const char *basis_of(const struct pn_fit *f, const struct pn_fit_machine *on)
{
    return on->chip         ? "table of chips"
           : f->sure.n_runs ? "measured on this machine, corrected by own runs"
                            : "measured on this machine";
}

static json_t *types_json(const struct pantry_estimate *n)
{
    json_t *types = json_object();
    for (int i = 0; i < n->n_types; i++)
        json_object_set_new(types, n->types[i].type, json_integer((json_int_t)n->types[i].bytes));
    return types;
}

static json_t *to_json(const char *name, const struct pn_fit *f, const struct pn_fit_machine *on)
{
    const struct pantry_estimate *n = &f->need;
    json_t *v = json_pack(
        "{s:o, s:s, s:b, s:I, s:I, s:I, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:o}",
        "model", pn_cli_json_text(name, strlen(name)), "machine", on->limits.device, "fits", f->fits, "need_bytes",
        (json_int_t)n->total_bytes, "have_bytes", (json_int_t)f->have, "system_bytes",
        (json_int_t)(on->total > on->usable ? on->total - on->usable : 0), "context", n->n_context, "max_context",
        n->max_context, "trained_context", n->n_context_train, "decode_tokens_per_second", rate(f->first_seconds),
        "decode_tokens_per_second_full", rate(f->step_seconds), "prefill_tokens_per_second", prompt_rate(f),
        "first_token_seconds", f->prompt_seconds, "memory", "weights", (json_int_t)n->weight_bytes, "kv",
        (json_int_t)n->kv_bytes, "states", (json_int_t)n->state_bytes, "scratch", (json_int_t)n->scratch_bytes,
        "program", (json_int_t)n->text_bytes, "vision", (json_int_t)n->vision_bytes, "weight_types", types_json(n));
    json_object_set_new(v, "basis", json_string(basis_of(f, on)));
    if (on->chip)
        json_object_set_new(v, "source", json_string(on->chip->source));
    json_object_set_new(v, "decode_error", json_real(f->sure.step_error));
    json_object_set_new(v, "prefill_error", json_real(f->sure.prompt_error));
    json_object_set_new(v, "runs", json_integer(f->sure.n_runs));
    if (on->beside)
        json_object_set_new(v, "card_share", json_real(f->share));
    if (f->remote)
        json_object_set_new(v, "download_bytes", json_integer((json_int_t)f->remote));
    if (f->read)
        json_object_set_new(v, "fetched_bytes", json_integer((json_int_t)f->read));
    return v;
}

static void put_machine(const struct pn_fit_machine *on)
{
    struct pn_number total, usable, beside;
    printf("machine      %s · %s of %s for models", on->limits.device, pn_cli_bytes(&usable, on->usable),
           pn_cli_bytes(&total, on->total));
    if (on->beside)
        printf(", and %s beside the card", pn_cli_bytes(&beside, on->beside));
    putchar('\n');
}

static void explain_memory(const struct pn_fit *f, const struct pn_fit_machine *on)
{
    const struct pantry_estimate *n = &f->need;
    struct pn_number a;
    printf("  memory for models   %s\n",
           on->chip && on->chip->kind == PN_CHIP_APPLE
               ? "two thirds of up to 36 GB, three quarters of more: what macOS lets a GPU use unless "
                 "iogpu.wired_limit_mb is set"
           : on->chip && on->chip->kind == PN_CHIP_GPU
               ? "all of the card but 0.5 GiB"
               : "all but a tenth, at least 2 GiB, or what --memory and control groups allow");
    printf("  weights            ");
    for (int i = 0; i < n->n_types; i++)
        printf("%s %s %s", i ? " +" : "", n->types[i].type, pn_cli_bytes(&a, n->types[i].bytes));
    printf("\n  keys and values     %d tokens in pages of 32; a step at the end reads %s of them\n", n->n_context,
           pn_cli_bytes(&a, (unsigned long long)n->step_kv_bytes));
    if (n->state_bytes)
        printf("  states              the running one and one to go back to, per conversation\n");
    printf("  steps               what the longest step of a prompt and one of decoding touch, after their plans\n");
    printf(
        "  program             14 MiB; of the vocabulary 120 bytes per token, 35 per merge, and per conversation 24\n");
    if (n->vision_bytes)
        printf("  pictures            the encoder's weights and a picture of a megapixel\n");
    if (on->beside && f->share < 1)
        printf("  card                %.0f %% of weights, keys and values; the rest is read at 60 GB/s beside it\n",
               100 * f->share);
}

static void explain(const struct pn_fit *f, const struct pn_fit_machine *on)
{
    const struct pantry_estimate *n = &f->need;
    const struct pn_limits *l = &on->limits;
    struct pn_number a, b;
    printf("\nHow this is calculated\n");
    explain_memory(f, on);
    printf(
        "  decode              (%.2f GB of weights + %.2f GB of keys and values) / %.1f GB/s + %d layers x %.0f us\n",
        (double)n->step_bytes / 1e9, n->step_kv_bytes / 1e9, l->decode / 1e9, f->info.n_layer, l->layer_seconds * 1e6);
    printf("  prompt              %d tokens x 2 x %s multiplications, and attention, at %.2f x 10^12 per second\n",
           f->n_prompt, pn_cli_count(&a, (unsigned long long)n->token_multiplies), l->operations / 1e12);
    if (on->chip)
        printf("  rates               after published measurements of other programs (%s); %.0f GB/s by its maker\n",
               on->chip->source, l->read / 1e9);
    else
        printf("  rates               measured on this machine (--measure measures again); it reads %s per second\n",
               pn_cli_bytes(&b, (unsigned long long)l->read));
    if (f->sure.n_runs)
        printf("  corrected           by %d run%s of `bench` here; nearest: %s\n", f->sure.n_runs,
               f->sure.n_runs == 1 ? "" : "s", f->sure.nearest);
    printf("  how sure            memory: at most 6 %% above the peak in tests; decode ±%.0f %%, prompt ±%.0f %%%s\n",
           100 * f->sure.step_error, 100 * f->sure.prompt_error,
           on->chip         ? ", as this program has not run on this chip"
           : f->sure.n_runs ? ""
                            : ", until `bench` has run here");
}

static void put_speed(const struct pn_fit *f)
{
    struct pn_number a;
    printf("decode       about %.3g tok/s, %.3g with a full context (±%.0f %%)\n", rate(f->first_seconds),
           rate(f->step_seconds), 100 * f->sure.step_error);
    printf("prompt       about %.3g tok/s; first token of %d tokens after %s (±%.0f %%)\n", prompt_rate(f), f->n_prompt,
           pn_cli_seconds(&a, f->prompt_seconds), 100 * f->sure.prompt_error);
}

static void put_needs(const struct pantry_estimate *n)
{
    struct pn_number a, b, c, d;
    printf("needs        %s: weights %s · keys and values %s (%s tokens)", pn_cli_bytes(&a, n->total_bytes),
           pn_cli_bytes(&b, n->weight_bytes), pn_cli_bytes(&c, n->kv_bytes),
           pn_cli_grouped(&d, (unsigned long long)n->n_context));
    if (n->state_bytes)
        printf(" · states %s", pn_cli_bytes(&a, n->state_bytes));
    printf(" · steps %s · program %s", pn_cli_bytes(&a, n->scratch_bytes), pn_cli_bytes(&b, n->text_bytes));
    if (n->vision_bytes)
        printf(" · pictures %s", pn_cli_bytes(&a, n->vision_bytes));
    putchar('\n');
}

static void put_model(const char *name, const struct pn_fit *f, const struct pn_fit_machine *on, bool explained)
{
    const struct pantry_estimate *n = &f->need;
    struct pn_number a, b;
    printf("model        %s · %s parameters", name, pn_cli_count(&a, n->n_params));
    if (f->remote)
        printf(" · %s to download", pn_cli_bytes(&a, f->remote));
    putchar('\n');
    put_machine(on);
    put_needs(n);
    if (f->fits && f->share < 1)
        printf(
            "fits         with %.0f %% of it on the card, the rest in main memory; with up to %s tokens of context\n",
            100 * f->share, pn_cli_grouped(&a, (unsigned long long)n->max_context));
    else if (f->fits)
        printf("fits         yes, with up to %s tokens of context (trained for %s)\n",
               pn_cli_grouped(&a, (unsigned long long)n->max_context),
               pn_cli_grouped(&b, (unsigned long long)n->n_context_train));
    else if (n->max_context > 0)
        printf("fits         only with up to %s tokens of context (--ctx)\n",
               pn_cli_grouped(&a, (unsigned long long)n->max_context));
    else
        printf("fits         no: %s are missing\n", pn_cli_bytes(&a, n->total_bytes - f->have));
    put_speed(f);
    if (explained)
        explain(f, on);
}

/* The nearest that fits, for a shape that does not. */
static void put_advice(const char *name, const struct pn_fit_question *q)
{
    const char *type;
    char shape[MAX_SPEC], spec[MAX_SPEC];
    struct pn_fit fit;
    struct pn_number a;
    if (!pn_fit_is_shape(name, &type)) {
        if (pn_fit_nearest(name, q, spec, sizeof spec, &fit))
            printf("instead      %s needs %s\n", spec, pn_cli_bytes(&a, fit.need.total_bytes));
        return;
    }
    if (!type)
        return;
    snprintf(shape, sizeof shape, "%.*s", (int)(type - name - 1), name);
    if (best_type(shape, q, spec, &fit))
        printf("instead      %s needs %s\n", spec, pn_cli_bytes(&a, fit.need.total_bytes));
    else
        printf("instead      `%s fit` lists the models that fit\n", pn_cli_program());
}

/* ---- tables ---- */

static bool is_slow(const struct pn_fit *f)
{
    return f->step_seconds * PN_FIT_SLOW > 1;
}

/* Those that are not slow first, then by size. */
static int by_rank(const void *a, const void *b)
{
    const struct pn_fit *x = *(const struct pn_fit *const *)a, *y = *(const struct pn_fit *const *)b;
    if (is_slow(x) != is_slow(y))
        return is_slow(x) - is_slow(y);
    return (x->need.n_params < y->need.n_params) - (x->need.n_params > y->need.n_params);
}

enum { MAX_SHAPES = 128 };

/* All shapes in all types of the ladder down to four bits, each estimated when first needed. */
struct survey {
    struct pn_fit fit[MAX_SHAPES][FOUR_BITS + 1];
    bool known[MAX_SHAPES][FOUR_BITS + 1];
    const char *shape[MAX_SHAPES];
    const struct chosen *chosen;
    const struct pn_machine *machine;
};

struct list {
    struct pn_fit *fit[MAX_SHAPES];
    size_t n;
};

static const char *type_of(const char *shape, size_t rung)
{
    const char *only = usual_type(shape);
    return only ? only : ladder[rung];
}

static const char *spec_of(const struct survey *s, const struct pn_fit *f, char *spec)
{
    size_t i = (size_t)(f - s->fit[0]) / (FOUR_BITS + 1), rung = (size_t)(f - s->fit[i]);
    snprintf(spec, MAX_SPEC, "%s:%s", s->shape[i], type_of(s->shape[i], rung));
    return spec;
}

/* All shapes that fit, each in its best type, the largest first, then the slow ones. */
static void fill(struct survey *s, const struct pn_fit_machine *on, struct list *list)
{
    char spec[MAX_SPEC];
    const struct pn_fit_question q = {.machine = s->machine, .on = on, .n_sequences = s->chosen->parallel};
    list->n = 0;
    for (size_t i = 0; i < MAX_SHAPES && (s->shape[i] = pantry_shape_name(i)) && !pn_term_interrupted(); i++)
        for (size_t rung = usual_type(s->shape[i]) ? FOUR_BITS : 0; rung <= FOUR_BITS; rung++) {
            struct pn_fit *f = &s->fit[i][rung];
            if (!s->known[i][rung] && pn_fit_model(spec_of(s, f, spec), &q, f) == PN_EXIT_DONE)
                s->known[i][rung] = true;
            if (!s->known[i][rung] || f->need.total_bytes > on->usable + on->beside)
                continue;
            list->fit[list->n++] = f;
            break;
        }
    qsort(list->fit, list->n, sizeof *list->fit, by_rank);
}

static void put_catalog(const struct survey *survey, const struct list *list, const struct pn_fit_machine *on)
{
    struct pn_number a, b;
    char spec[MAX_SPEC];
    put_machine(on);
    printf("\n%-26s %9s %14s %14s %12s\n", "MODEL", "NEEDS", "DECODE", "PROMPT", "MOST CONTEXT");
    for (size_t i = 0; i < list->n; i++) {
        const struct pn_fit *f = list->fit[i];
        printf("%-26s %9s %8.3g tok/s %8.3g tok/s %12s%s\n", spec_of(survey, f, spec),
               pn_cli_bytes(&a, f->need.total_bytes), rate(f->step_seconds), prompt_rate(f),
               pn_cli_grouped(&b, (unsigned long long)f->need.max_context), is_slow(f) ? "  slow" : "");
    }
    if (!list->n)
        puts("(no model of the table fits)");
}

static int catalog(const struct chosen *chosen, const struct pn_machine *machine, const struct pn_fit_machine *on)
{
    struct survey *survey = calloc(1, sizeof *survey);
    struct list list;
    char spec[MAX_SPEC];
    if (!survey)
        return pn_cli_no_memory();
    survey->machine = machine;
    survey->chosen = chosen;
    fill(survey, on, &list);
    json_t *rows = chosen->json ? json_array() : NULL;
    for (size_t i = 0; i < list.n && rows; i++)
        json_array_append_new(rows, to_json(spec_of(survey, list.fit[i], spec), list.fit[i], on));
    if (!rows)
        put_catalog(survey, &list, on);
    free(survey);
    return rows ? pn_cli_put_json(rows) : PN_EXIT_DONE;
}

/* A line per size of memory: the largest models that fit a Mac of that size, in four bits or more. */
static void put_tier(const struct survey *survey, const struct list *list, int size, const struct pn_fit_machine *on)
{
    enum { SHOWN = 5 };
    struct pn_number a;
    char spec[MAX_SPEC];
    printf("%4d GB %-10s ", size, pn_cli_bytes(&a, on->usable));
    for (size_t i = 0; i < list->n && i < SHOWN; i++)
        printf("%s%s", i ? ", " : "", spec_of(survey, list->fit[i], spec));
    putchar('\n');
}

static json_t *tier_json(const struct survey *survey, const struct list *list, int size,
                         const struct pn_fit_machine *on)
{
    json_t *names = json_array();
    char spec[MAX_SPEC];
    for (size_t i = 0; i < list->n; i++)
        json_array_append_new(names, json_string(spec_of(survey, list->fit[i], spec)));
    return json_pack("{s:i, s:I, s:o}", "memory_gb", size, "have_bytes", (json_int_t)on->usable, "models", names);
}

static int tiers(const struct chosen *chosen, const struct pn_machine *machine)
{
    static const int sizes[] = {8, 16, 24, 32, 36, 48, 64, 96, 128};
    struct survey *survey = calloc(1, sizeof *survey);
    struct list list;
    if (!survey)
        return pn_cli_no_memory();
    survey->machine = machine;
    survey->chosen = chosen;
    json_t *rows = chosen->json ? json_array() : NULL;
    if (!rows)
        printf("%-7s %-10s %s\n", "MEMORY", "FOR MODELS", "THE LARGEST THAT FIT, WITH 8,192 TOKENS");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !pn_term_interrupted(); i++) {
        struct pn_fit_machine on = {.total = (uint64_t)sizes[i] << 30, .limits = {.decode = 1, .operations = 1}};
        on.usable = pn_chip_usable(PN_CHIP_APPLE, on.total);
        fill(survey, &on, &list);
        if (rows)
            json_array_append_new(rows, tier_json(survey, &list, sizes[i], &on));
        else
            put_tier(survey, &list, sizes[i], &on);
    }
    free(survey);
    return rows ? pn_cli_put_json(rows) : PN_EXIT_DONE;
}

/* ---- the command ---- */

static int one(const struct chosen *chosen, const char *name, const struct pn_machine *machine,
               const struct pn_fit_machine *on)
{
    const struct pn_fit_question q = {machine, on, chosen->parallel, chosen->insecure};
    struct pn_fit fit;
    const char *type;
    char spec[MAX_SPEC];
    int status = PN_EXIT_DONE;
    if (pn_fit_is_shape(name, &type) && !type) {
        best_type(name, &q, spec, &fit);
        name = spec;
    } else {
        status = pn_fit_model(name, &q, &fit);
    }
    if (status != PN_EXIT_DONE)
        return status;
    if (chosen->json)
        status = pn_cli_put_json(to_json(name, &fit, on));
    else
        put_model(name, &fit, on, chosen->explain);
    if (!chosen->json && !fit.fits)
        put_advice(name, &q);
    return status != PN_EXIT_DONE ? status : fit.fits ? PN_EXIT_DONE : PN_EXIT_FAILED;
}

static const char *misuse_of(const struct chosen *chosen, const struct pn_arguments *arguments)
{
    return chosen->tiers && arguments->n     ? "--tiers takes no MODEL"
           : chosen->catalog && arguments->n ? "--catalog takes no MODEL"
           : arguments->n > 1                ? "fit takes one MODEL"
           : chosen->chip && chosen->measure ? "--measure is for this machine, not for another chip"
           : chosen->ram && !chosen->chip    ? "--ram is for a graphics card of --chip"
                                             : NULL;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.parallel = 1};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine, &machine};
    struct pn_arguments arguments;
    struct pn_fit_machine on;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    const char *misuse = misuse_of(&chosen, &arguments);
    if (misuse)
        return pn_cli_misuse(command, "%s", misuse);
    if (!machine.session.n_context && !arguments.n)
        machine.session.n_context = TIER_CONTEXT;
    pn_term_watch();
    if (chosen.tiers)
        status = tiers(&chosen, &machine);
    else if ((status = chosen.chip ? pn_fit_chip(chosen.chip, machine.memory, chosen.ram, &on)
                                   : pn_fit_this_machine(&machine, chosen.measure, &on)) == PN_EXIT_DONE)
        status = arguments.n ? one(&chosen, arguments.text[0], &machine, &on) : catalog(&chosen, &machine, &on);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_fit = {
    .name = "fit",
    .usage = "[MODEL | SHAPE[:TYPE] | --catalog | --tiers] [--chip NAME --memory SIZE]",
    .summary = "which models fit this machine or another, and how fast they will be",
    .about = "Says what a model needs in memory, whether it fits, with how much context, and how fast it will be. No "
             "weight\n"
             "is read. MODEL may be elsewhere: of hf.co/USER/REPO[:QUANT], a URL or a name with the place or tag of a\n"
             "registry, only the heads of its files are fetched. Without MODEL: the known shapes that fit, each in its "
             "best\n"
             "type, the largest first. SHAPE is a known model that need not be there, such as llama3.3-70b; without "
             "TYPE the\n"
             "best type that fits. The first call measures this machine for about ten seconds and keeps the result; "
             "runs of\n"
             "`pantry bench` make predictions better. Exit status 1 if the model does not fit.",
    .example = "pantry fit\n"
               "pantry fit qwen3-8b --ctx 32768 --explain\n"
               "pantry fit llama3.3-70b:q4_k_m --chip \"M4 Max\" --memory 64G\n"
               "pantry fit hf.co/user/some-model-GGUF:Q4_K_M\n"
               "pantry fit --tiers",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options),
                PN_OPTIONS("Memory", pn_session_options)},
    .run = run,
};
