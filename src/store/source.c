/* Where a name or URL leads: see hub.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_source_open(const char *text, const struct pn_pull_options *o, const struct pn_model_name *name,
                             struct pn_registry *registry, struct pantry_error *err)
{
    const pantry_cancel *cancel = o->fetch.cancel;
    if (pn_store_is_url(text))
        return pn_url_open(registry, name, text, o, err);
    if (!pn_hub_has(name))
        return pn_registry_open(registry, name, o->insecure, o->public_only, cancel, err);
    return pn_hub_open(registry, name, o->public_only, cancel, err);
}

pantry_status pn_source_name(const char *text, const struct pn_pull_options *o, struct pn_model_name *name,
                             struct pantry_error *err)
{
    if (!pn_store_is_url(text))
        return pn_name_parse(text, name, err);
    char *given = o->name ? strdup(o->name) : pn_url_name(text);
    pantry_status status = given ? pn_name_parse(given, name, err) : pn_no_memory(err, text);
    free(given);
    return status;
}
