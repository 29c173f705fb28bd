/* Which memory is resident while steps run. Kernels find memory by address, so Metal has to be told all of it: from
 * macOS 15 on by a set that the queue keeps, before by a list that every step names. */
#include "device/metal/state.h"

#include <stdlib.h>
#include <string.h>

enum { USAGE_READ_WRITE = 3 };

pantry_status pn_metal_residency_open(struct pn_metal *m, struct pantry_error *err)
{
    if (!pn_objc.classes[PN_CLASS_set_descriptor] || !pn_objc_has(m->device, PN_SEL_device_new_set))
        return PANTRY_OK;
    pn_id error = NULL, descriptor = pn_objc_new(PN_CLASS_set_descriptor);
    m->set = pn_device_new_set(m->device, descriptor, &error);
    pn_objc_release(descriptor);
    if (!m->set)
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: cannot make a residency set: %s", pn_objc_error(error));
    pn_queue_add_set(m->queue, m->set);
    return PANTRY_OK;
}

void pn_metal_residency_close(struct pn_metal *m)
{
    pn_objc_release(m->set);
    free(m->resident);
}

pantry_status pn_metal_make_resident(struct pn_metal *m, pn_id buffer, struct pantry_error *err)
{
    if (m->set) {
        pn_set_add(m->set, buffer);
        m->set_is_changed = true;
        return PANTRY_OK;
    }
    if (m->n_resident == m->cap_resident) {
        size_t cap = m->cap_resident ? 2 * m->cap_resident : 64;
        pn_id *grown = realloc(m->resident, cap * sizeof *grown);
        if (!grown)
            return pn_no_memory(err, "the list of the GPU's memory");
        m->resident = grown;
        m->cap_resident = cap;
    }
    m->resident[m->n_resident++] = buffer;
    return PANTRY_OK;
}

/* The set refers to its buffers: committed at once, so that their memory goes. */
void pn_metal_end_residency(struct pn_metal *m, pn_id buffer)
{
    if (m->set) {
        pn_set_remove(m->set, buffer);
        pn_set_commit(m->set);
        return;
    }
    for (size_t i = 0; i < m->n_resident; i++)
        if (m->resident[i] == buffer) {
            m->resident[i] = m->resident[--m->n_resident];
            return;
        }
}

void pn_metal_use_resident(struct pn_metal *m, pn_id encoder)
{
    if (!m->set) {
        if (m->n_resident)
            pn_encoder_use(encoder, m->resident, m->n_resident, USAGE_READ_WRITE);
    } else if (m->set_is_changed) {
        pn_set_commit(m->set);
        pn_set_request(m->set);
        m->set_is_changed = false;
    }
}
