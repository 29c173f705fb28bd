/* Opening models of every kind: see hf.h. */
#include "model/hf/hf.h"

pantry_status pn_model_inspect(const char *path, struct pn_weights **out, struct pantry_error *err)
{
    pantry_status status = pn_weights_inspect(path, out, err);
    if (!status && (*out)->hf && (status = pn_hf_translate(*out, err))) {
        pn_weights_close(*out);
        *out = NULL;
    }
    return status;
}

pantry_status pn_model_open_adapted(const char *path, const char *const *adapters, struct pn_weights **out,
                                    struct pantry_error *err)
{
    pantry_status status = pn_weights_inspect(path, out, err);
    if (status)
        return status;
    if ((*out)->hf && !(status = pn_hf_replace(*out, adapters, err)))
        status = pn_hf_translate(*out, err);
    if (!status)
        status = pn_weights_require_types(*out, err);
    if (status) {
        pn_weights_close(*out);
        *out = NULL;
    }
    return status;
}

pantry_status pn_model_open(const char *path, struct pn_weights **out, struct pantry_error *err)
{
    return pn_model_open_adapted(path, NULL, out, err);
}

pantry_status pn_model_open_writable(const char *path, int n_layers, struct pn_weights **out, struct pantry_error *err)
{
    pantry_status status = pn_weights_inspect(path, out, err);
    long layers = 0;
    if (status)
        return status;
    if (!(*out)->hf)
        status =
            pn_fail(err, PANTRY_UNSUPPORTED,
                    "%s: all weights can be trained in Hugging Face and MLX directories only; train an adapter", path);
    for (size_t i = 0; !status && i < (*out)->hf->tensors.len; i++) {
        long layer = pn_hf_layer_of((*out)->hf->tensors.data[i].name);
        layers = layer + 1 > layers ? layer + 1 : layers;
    }
    int first = n_layers < 0 || n_layers >= layers ? 0 : (int)(layers - n_layers);
    if (!status && !(status = pn_hf_make_writable(*out, first, err)) && !(status = pn_hf_translate(*out, err)) &&
        !(status = pn_weights_require_types(*out, err)))
        status = pn_hf_check_writable(*out, err);
    if (status) {
        pn_weights_close(*out);
        *out = NULL;
    }
    return status;
}
