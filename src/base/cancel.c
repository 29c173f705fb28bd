/* pantry_cancel: see pantry.h. */
#include "pantry.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Signal handlers may set it, so the flag must be lock-free. */
struct pantry_cancel {
    atomic_bool set;
};
_Static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "a signal handler can set an atomic flag");

pantry_cancel *pantry_cancel_new(void)
{
    struct pantry_cancel *c = malloc(sizeof *c);
    if (c)
        atomic_init(&c->set, false);
    return c;
}

void pantry_cancel_set(pantry_cancel *c)
{
    atomic_store(&c->set, true);
}

void pantry_cancel_clear(pantry_cancel *c)
{
    atomic_store(&c->set, false);
}

bool pantry_cancel_is_set(const pantry_cancel *c)
{
    return atomic_load(&c->set);
}

void pantry_cancel_free(pantry_cancel *c)
{
    free(c);
}
