/* Kernels: compiled from their text when the GPU is opened, and for this GPU when they are first used.
 *
 * Both results are in the system's own cache, which knows the text, the options, the GPU and the version of the system:
 * a second start finds them there. A cache of ours beside it would only save the part that is already fast. */
#include "device/metal/state.h"

#include <stdlib.h>
#include <string.h>

enum { UTF8 = 4, MATH_SAFE = 0, WARP = PN_GPU_WARP };
/* MSL of macOS 14 and of macOS 13. */
enum { LANGUAGE_3_1 = 3 << 16 | 1, LANGUAGE_3_0 = 3 << 16 };

static pn_id new_options(void)
{
    pn_id options = pn_objc_new(PN_CLASS_options), process = pn_process_current(pn_objc.classes[PN_CLASS_process_info]);
    bool is_14 = pn_process_is_at_least(process, (struct pn_macos){14, 0, 0});
    pn_options_language(options, is_14 ? LANGUAGE_3_1 : LANGUAGE_3_0);
    /* The fast mode may drop NaN and infinity, which masks use. */
    if (pn_objc_has(options, PN_SEL_options_math))
        pn_options_math(options, MATH_SAFE);
    else
        pn_options_fast_math(options, false);
    return options;
}

pantry_status pn_metal_compile(struct pn_metal *m, const char *kernels, size_t len, struct pantry_error *err)
{
    static const char define[] = "#define PN_GPU_METAL 1\n";
    size_t all = sizeof define - 1 + len;
    char *text = malloc(all);
    if (!text)
        return pn_no_memory(err, "the source of kernels");
    memcpy(text, define, sizeof define - 1);
    memcpy(text + sizeof define - 1, kernels, len);
    pn_id source = pn_string_with_bytes(pn_objc_alloc(pn_objc.classes[PN_CLASS_string]), text, all, UTF8);
    pn_id options = new_options(), error = NULL;
    m->library = pn_device_new_library(m->device, source, options, &error);
    pn_objc_release(options);
    pn_objc_release(source);
    free(text);
    if (!m->library)
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: the kernels do not compile: %s", pn_objc_error(error));
    return PANTRY_OK;
}

static pantry_status make_pipeline(struct pn_metal *m, enum pn_gpu_kernel kernel, struct pantry_error *err)
{
    const char *name = pn_gpu_kernel_name(kernel);
    pn_id function = pn_library_function(m->library, pn_string_with_text(pn_objc.classes[PN_CLASS_string], name));
    if (!function)
        return pn_fail(err, PANTRY_INTERNAL, "Metal: the source has no kernel %s", name);
    pn_id error = NULL, pipeline = pn_device_new_pipeline(m->device, function, &error);
    pn_objc_release(function);
    if (!pipeline)
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: kernel %s: %s", name, pn_objc_error(error));
    unsigned long threads = (unsigned long)pn_gpu_kernel_threads(kernel), most = pn_pipeline_max_threads(pipeline);
    unsigned long width = pn_pipeline_width(pipeline);
    pantry_status status = PANTRY_OK;
    if (width != WARP)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "Metal: kernel %s: SIMD groups have %lu threads (needed: %d)", name,
                         width, WARP);
    else if (threads > most)
        status = pn_fail(err, PANTRY_UNSUPPORTED,
                         "Metal: kernel %s: too many threads in a group (found %lu, allowed %lu)", name, threads, most);
    if (status)
        pn_objc_release(pipeline);
    else
        m->pipelines[kernel] = pipeline;
    return status;
}

pantry_status pn_metal_pipeline(struct pn_metal *m, enum pn_gpu_kernel kernel, pn_id *out, struct pantry_error *err)
{
    pantry_status status = m->pipelines[kernel] ? PANTRY_OK : make_pipeline(m, kernel, err);
    *out = m->pipelines[kernel];
    return status;
}

void pn_metal_pipelines_close(struct pn_metal *m)
{
    for (int i = 0; i < PN_GPU_N_KERNELS; i++)
        pn_objc_release(m->pipelines[i]);
    pn_objc_release(m->library);
}
