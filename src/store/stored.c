/* A model that can be run by name: see store.h. */
#include "store/internal.h"

#include <stdlib.h>

const char pn_source_own[] = "pantry";

void pn_stored_free(struct pn_stored *model)
{
    free(model->name);
    free(model->path);
    free(model->manifest);
    *model = (struct pn_stored){0};
}

void pn_store_list_free(struct pn_stored *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pn_stored_free(&list[i]);
    free(list);
}
