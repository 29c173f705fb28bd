/* Runs the dispatches of command buffers, and knows which of them may overlap on a real GPU. */
#include "emulator.h"

#include <stdlib.h>
#include <string.h>

static struct past {
    const char *kernel;
    long encoder;
} * past; /* by dispatch - 1 */
static uint32_t n_past, cap_past;
static uint32_t complete;     /* the host has waited for dispatches up to this */
static uint32_t ordered_upto; /* of the current encoder: these are before the last barrier */
static long current_encoder;

enum emu_order emu_order(void)
{
    const char *set = getenv("METAL_EMULATOR_ORDER");
    if (!set || strcmp(set, "forward") == 0)
        return EMU_FORWARD;
    if (strcmp(set, "reversed") == 0)
        return EMU_REVERSED;
    if (strcmp(set, "shuffled") == 0)
        return EMU_SHUFFLED;
    emu_misuse("METAL_EMULATOR_ORDER: forward, reversed or shuffled (found %s)", set);
}

void emu_all_complete(void)
{
    complete = n_past;
}

uint32_t emu_n_complete(void)
{
    return complete;
}

bool emu_is_concurrent(uint32_t dispatch)
{
    if (dispatch <= emu_now.command->known_dispatch || dispatch >= n_past)
        return false;
    long encoder = past[dispatch - 1].encoder;
    if (encoder == current_encoder)
        return dispatch > ordered_upto;
    return encoder > emu_now.command->known_encoder;
}

const char *emu_kernel_of(uint32_t dispatch)
{
    return past[dispatch - 1].kernel;
}

static uint32_t remember(const struct command *c)
{
    if (n_past == cap_past) {
        cap_past = cap_past ? 2 * cap_past : 1024;
        past = realloc(past, cap_past * sizeof *past);
        if (!past)
            abort();
    }
    past[n_past++] = (struct past){c->kernel->name, c->encoder};
    return n_past;
}

bool emu_dispatch(const struct command *c, char **fault)
{
    uint32_t dispatch = remember(c);
    if (c->encoder != current_encoder)
        ordered_upto = 0;
    current_encoder = c->encoder;
    if (c->ordered)
        ordered_upto = dispatch - 1;
    emu_now = (struct emu_now){.command = c, .dispatch = dispatch};
    struct emu_thread bindings = {0};
    for (int i = 0; i < EMU_MAX_BINDINGS; i++) {
        bindings.buffers[i] = c->bytes[i] ? c->bytes[i] : c->buffers[i] ? c->buffers[i]->gpu + c->offsets[i] : NULL;
        if (c->shared[i]) {
            char *room = malloc(c->shared[i] + 2 * EMU_MARGIN);
            if (!room)
                abort();
            emu_now.shared[i] = room + EMU_MARGIN;
            emu_now.shared_cells[i] = emu_new_cells(c->shared[i]);
            bindings.shared[i] = emu_now.shared[i];
        }
    }
    *fault = emu_run_groups(&bindings);
    for (int i = 0; i < EMU_MAX_BINDINGS; i++) {
        free(emu_now.shared[i] ? emu_now.shared[i] - EMU_MARGIN : NULL);
        emu_free_cells(emu_now.shared_cells[i], c->shared[i]);
    }
    emu_now.command = NULL;
    return *fault == NULL;
}
