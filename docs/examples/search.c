/* Search by meaning: orders texts by how near their vectors are to that of a query.
 * cc search.c $(pkg-config --cflags --libs pantry); models that were made for it: docs/embeddings.md */
#include <pantry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const own[] = {"Paris is the largest city of France.", "Bread is made of flour, water and salt.",
                                  "The heart pumps blood through the body.", "Rome was not built in a day."};

struct hit {
    const char *text;
    float score;
};

static int by_score(const void *a, const void *b)
{
    float x = ((const struct hit *)a)->score, y = ((const struct hit *)b)->score;
    return (x < y) - (x > y);
}

int main(int argc, char **argv)
{
    struct pantry_error error = {.text = "usage: search MODEL QUERY [TEXT...]"};
    struct pantry_embeddings rows = {.size = sizeof rows};
    pantry_model *model = NULL;
    const char *const *texts = argc > 3 ? (const char *const *)argv + 3 : own;
    size_t n = argc > 3 ? (size_t)argc - 3 : sizeof own / sizeof *own;
    struct pantry_input *inputs = calloc(n + 1, sizeof *inputs);
    struct hit *hits = calloc(n, sizeof *hits);
    if (!inputs || !hits)
        return puts("out of memory"), 1;
    for (size_t i = 0; i <= n && argc > 2; i++) { /* the query comes first */
        inputs[i].text = i ? texts[i - 1] : argv[2];
        inputs[i].len = strlen(inputs[i].text);
    }
    bool ok = argc > 2 && !pantry_model_load(argv[1], NULL, &model, &error) &&
              !pantry_embed(model, inputs, n + 1, NULL, &rows, &error);
    for (size_t i = 0; i < n && ok; i++) { /* rows have the length 1, so their product is the cosine */
        hits[i].text = texts[i];
        for (int k = 0; k < rows.n_dimensions; k++)
            hits[i].score += rows.rows[k] * rows.rows[(i + 1) * (size_t)rows.n_dimensions + (size_t)k];
    }
    if (ok)
        qsort(hits, n, sizeof *hits, by_score);
    for (size_t i = 0; i < n && ok; i++)
        printf("%.3f  %s\n", (double)hits[i].score, hits[i].text);
    if (!ok)
        puts(error.text);
    pantry_embeddings_free(&rows);
    pantry_model_free(model);
    free(hits);
    free(inputs);
    return !ok;
}
