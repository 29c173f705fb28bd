/* How many numbers a patch has at each stage, its pixels as numbers, and rows of the encoder's tables. */
#include "model/vision/vision.h"

#include "tensor/type.h"

int pn_vision_n_pixels(const struct pn_vision *v)
{
    return 3 * v->frames * v->patch * v->patch;
}

int pn_vision_n_given(const struct pn_vision *v)
{
    if (v->n_tiles)
        return pn_vision_n_pixels(v) + 2 * v->n_embd + 1;
    return pn_vision_n_pixels(v) + (pn_vision_has_table(v) ? v->n_embd : 0);
}

int pn_vision_n_states(const struct pn_vision *v)
{
    return v->n_embd * ((v->n_taps ? v->n_taps : 1) + v->n_deep);
}

int pn_vision_n_merged(const struct pn_vision *v)
{
    int n = pn_vision_n_states(v);
    return v->family->merge == PN_MERGE_MEAN ? n : v->group * v->group * n;
}

void pn_vision_levels(const struct pn_vision *v, int channel, float levels[256])
{
    for (int i = 0; i < 256; i++)
        levels[i] = ((float)(i * v->rescale) - v->mean[channel]) / v->deviation[channel];
}

void pn_vision_fill_pixels(const struct pn_vision *v, const struct pn_vision_view *view, int row, int col,
                           float levels[3][256], float *to)
{
    size_t side = (size_t)v->patch, stride = (size_t)view->image.width * 3;
    const unsigned char *from = view->image.rgb + (size_t)row * side * stride + (size_t)col * side * 3;
    for (int c = 0; c < 3; c++)
        for (int f = 0; f < v->frames; f++)
            for (size_t y = 0; y < side; y++)
                for (size_t x = 0; x < side; x++)
                    *to++ = levels[c][from[y * stride + 3 * x + (size_t)c]];
}

bool pn_vision_decode_part(const struct pn_vision *v, const char *name, int64_t row, int n, float *out)
{
    const struct pn_tensor_info *t = pn_weights_tensor(v->weights, name);
    if (!t || t->shape[t->n_dims - 1] % n || t->places || pn_type_info(t->type)->block != 1)
        return false;
    size_t bytes = pn_type_row_bytes(t->type, (size_t)n);
    if (row < 0 || (size_t)row >= t->bytes / bytes)
        return false;
    pn_type_decode_row(t->type, (const char *)t->data + (size_t)row * bytes, out, (size_t)n);
    return true;
}

bool pn_vision_decode(const struct pn_vision *v, const char *name, int64_t row, int n, float *out)
{
    const struct pn_tensor_info *t = pn_weights_tensor(v->weights, name);
    return t && t->n_dims <= 2 && t->shape[t->n_dims - 1] == n && pn_vision_decode_part(v, name, row, n, out);
}
