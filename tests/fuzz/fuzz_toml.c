/* Fuzzes the reader of TOML: what it accepts is bounded, and every value has a line of the document. */
#include "base/toml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int n_values;

static void walk(const struct pn_toml *v, int n_lines, int depth)
{
    if (++n_values > 16384 || depth > 200 || v->line < 1 || v->line > n_lines)
        abort();
    if (v->text && v->text[v->len] != '\0')
        abort();
    for (const struct pn_toml *m = v->first; m; m = m->next) {
        if (v->kind == PN_TOML_TABLE && strlen(m->key) == m->key_len && !pn_toml_get(v, m->key))
            abort();
        walk(m, n_lines, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_arena arena = {0};
    struct pn_toml *root;
    struct pantry_error err;
    char *exact = malloc(size ? size : 1); /* of exactly this size */
    int n_lines = 1;
    if (size)
        memcpy(exact, data, size);
    for (size_t i = 0; i < size; i++)
        n_lines += data[i] == '\n';
    n_values = 0;
    pantry_status status = pn_toml_parse(exact, size, "fuzz", &arena, &root, &err);
    if (!status)
        walk(root, n_lines, 0);
    else if (strncmp(err.text, "fuzz:", 5) != 0 || root)
        abort();
    pn_arena_free(&arena);
    free(exact);
    return 0;
}
