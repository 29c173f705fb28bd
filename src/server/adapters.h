/* Adapters that requests choose: the name of a model may go on with "+NAME" or "+NAME:SCALE", several times. NAME is
 * one of the configuration's, or a model of the store that is an adapter or carries some. */
#ifndef PN_SERVER_ADAPTERS_H
#define PN_SERVER_ADAPTERS_H

#include "base/alloc.h"
#include "server/settings.h"

enum { PN_ADAPTERS_MAX = 8 /* in a name */ };

/* The adapters of the configuration, whose places in the list are their ids. */
struct pn_adapter_list {
    const struct pn_adapter_setting *data;
    size_t len;
};

/* What a name with adapters means. */
struct pn_adapted {
    char *name;    /* "base+a+b:0.5": the same for all spellings */
    char **paths;  /* "PATH=SCALE" each, as pantry_model_options takes them, ended by NULL */
    size_t n, cap; /* of the paths */
};
void pn_adapted_free(struct pn_adapted *adapted);

/* Where the adapters of a name begin, after the place `from`: its next '+'. NULL: nowhere. */
const char *pn_adapters_begin(const char *name, const char *from);

/* Resolves `text`, "+NAME..." after the name of the model `base`. A number after the last ':' is a scale, unless the
 * store has a model of the whole name. PANTRY_NOT_FOUND: there is no such adapter. Free *out, also after a failure. */
pantry_status pn_adapters_resolve(const struct pn_adapter_list *list, const char *base, const char *text,
                                  struct pn_adapted *out, struct pantry_error *err);

/* Leaves only the last part of the adapters' paths in an error, since clients see it. */
void pn_adapted_hide(const struct pn_adapted *adapted, struct pantry_error *err);

/* Appends "+NAME:SCALE" for each scale that is not 0; those that belong to another model than `base` are left out,
 * unless `base` is NULL. */
void pn_adapters_put(const struct pn_adapter_list *list, const float *scales, const char *base, struct pn_buf *out);

/* Is an adapter of that name part of a name? */
bool pn_adapters_have(const char *name, const char *adapter);

#endif
