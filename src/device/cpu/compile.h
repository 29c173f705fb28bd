/* Compiles plans for the CPU. */
#ifndef PN_DEVICE_CPU_COMPILE_H
#define PN_DEVICE_CPU_COMPILE_H

#include "device/cpu/program.h"

pantry_status pn_cpu_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err);
void pn_cpu_program_free(struct pn_device *device, struct pn_program *p);

/* Points a program to the scratch of a step; the runner's may have grown since the last step. */
void pn_cpu_use_scratch(struct pn_program *p, const struct pn_buffer *scratch);

#endif
