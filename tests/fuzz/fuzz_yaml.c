/* Fuzzes the reader of YAML: what it accepts is bounded, and every value has a line of the document. */
#include "base/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int n_values;

static void walk(const struct pn_yaml *v, int depth)
{
    if (++n_values > 16384 || depth > 64 || v->line < 1)
        abort();
    if (v->text && (v->text[v->len] != '\0' || strlen(v->text) != v->len))
        abort();
    for (const struct pn_yaml *m = v->first; m; m = m->next) {
        if (v->kind == PN_YAML_MAP && pn_yaml_get(v, m->key) != m)
            abort();
        walk(m, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_arena arena = {0};
    struct pn_yaml *root;
    struct pantry_error err;
    char *exact = malloc(size ? size : 1); /* of exactly this size */
    if (size)
        memcpy(exact, data, size);
    n_values = 0;
    pantry_status status = pn_yaml_parse(exact, size, "fuzz", &arena, &root, &err);
    if (!status)
        walk(root, 1);
    else if (strncmp(err.text, "fuzz:", 5) != 0 || root)
        abort();
    pn_arena_free(&arena);
    free(exact);
    return 0;
}
