/* Binds the arguments of a call to the named parameters of a function. */
#include "text/template/value.h"

#include <string.h>

void pn_jj_bind(struct jj_run *r, const char *name, const struct jj_args *args, size_t skip, const char *const *params,
                size_t n_params, size_t n_required, jv *out)
{
    for (size_t i = 0; i < n_params; i++)
        out[i] = (jv){.t = JJ_MISSING};
    if (args->n_pos > n_params) {
        if (n_params + skip == 0)
            pn_jj_raise(r, "TypeError", "%s() takes no arguments (%zu given)", name, args->n_pos);
        const char *from = n_required < n_params ? pn_jj_sprintf(r, "from %zu to ", n_required + skip) : "";
        pn_jj_raise(r, "TypeError", "%s() takes %s%zu positional argument%s but %zu %s given", name, from,
                    n_params + skip, n_params + skip == 1 ? "" : "s", args->n_pos + skip,
                    args->n_pos + skip == 1 ? "was" : "were");
    }
    for (size_t i = 0; i < args->n_pos; i++)
        out[i] = args->pos[i];
    for (size_t k = 0; k < args->n_kw; k++) {
        size_t i = 0;
        const struct jj_str *kw = args->kw[k].name;
        while (i < n_params && !(strlen(params[i]) == kw->n && memcmp(params[i], kw->p, kw->n) == 0))
            i++;
        if (i == n_params)
            pn_jj_raise(r, "TypeError", "%s() got an unexpected keyword argument '%.*s'", name, (int)kw->n, kw->p);
        if (out[i].t != JJ_MISSING)
            pn_jj_raise(r, "TypeError", "%s() got multiple values for argument '%s'", name, params[i]);
        out[i] = args->kw[k].value;
    }
    size_t missing[2], n_missing = 0; /* no function here requires more than two */
    for (size_t i = 0; i < n_required; i++)
        if (out[i].t == JJ_MISSING && n_missing < 2)
            missing[n_missing++] = i;
    if (n_missing == 1)
        pn_jj_raise(r, "TypeError", "%s() missing 1 required positional argument: '%s'", name, params[missing[0]]);
    if (n_missing)
        pn_jj_raise(r, "TypeError", "%s() missing 2 required positional arguments: '%s' and '%s'", name,
                    params[missing[0]], params[missing[1]]);
}
