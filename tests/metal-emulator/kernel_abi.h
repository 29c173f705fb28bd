/* What a compiled kernel and the emulator know of each other; C and C++. */
#ifndef METAL_EMULATOR_KERNEL_ABI_H
#define METAL_EMULATOR_KERNEL_ABI_H

enum { EMU_MAX_BINDINGS = 31, EMU_WARP = 32, EMU_MAX_THREADS = 1024 };

/* What a parameter of a kernel gets. The order is that of emu_thread.values, after the first two. */
enum emu_kind {
    EMU_BUFFER,
    EMU_SHARED,
    EMU_thread_position_in_grid,
    EMU_threadgroup_position_in_grid,
    EMU_thread_position_in_threadgroup,
    EMU_thread_index_in_threadgroup,
    EMU_simdgroup_index_in_threadgroup,
    EMU_thread_index_in_simdgroup,
    EMU_threads_per_threadgroup,
    EMU_threadgroups_per_grid,
    EMU_simdgroups_per_threadgroup,
    EMU_threads_per_simdgroup,
    EMU_threads_per_grid,
    EMU_N_KINDS
};

struct emu_parameter {
    int kind, index;
};

/* A thread of a kernel: its bindings and its built-in values. */
struct emu_thread {
    void *buffers[EMU_MAX_BINDINGS];
    void *shared[EMU_MAX_BINDINGS];
    unsigned values[EMU_N_KINDS][3];
};

struct emu_kernel {
    const char *name;
    void (*run)(const struct emu_thread *thread);
    const struct emu_parameter *parameters;
    int n_parameters;
};

#ifdef __cplusplus
extern "C" {
#endif
#define EMU_CALLED __attribute__((visibility("default")))
/* Waits until all lanes of the warp are here; each leaves n bytes (at most 16), and gets those of lane `from`. */
EMU_CALLED void emu_exchange(const void *mine, void *other, unsigned n, unsigned from, const char *file, int line);
/* The same, and gets those of all lanes, n bytes each. */
EMU_CALLED void emu_gather(const void *mine, void *all, unsigned n, const char *file, int line);
EMU_CALLED unsigned emu_lane(void);
EMU_CALLED void emu_group_barrier(const char *file, int line);
EMU_CALLED void emu_warp_barrier(const char *file, int line);
#ifdef __cplusplus
}
#endif

#endif
