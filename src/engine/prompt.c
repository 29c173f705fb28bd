/* The public API of prompts with pictures: see pantry.h. */
#include "engine/handle.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_prompt_refuse(const struct pantry_model *m, struct pantry_error *err)
{
    if (*m->blind.text)
        return pn_fail(err, PANTRY_UNSUPPORTED, "this model cannot see pictures here: %s", m->blind.text);
    return pn_fail(err, PANTRY_UNSUPPORTED, "%s: this model only reads text, it cannot see pictures",
                   m->runner->model->weights->path);
}

static pantry_status look(struct pantry_prompt *p, const struct pantry_picture *pictures, size_t n,
                          struct pantry_error *err)
{
    p->seen = calloc(n, sizeof(struct pn_seen *));
    if (!p->seen)
        return pn_no_memory(err, "a prompt");
    for (; p->n_pictures < n; p->n_pictures++) {
        const struct pantry_picture *picture = &pictures[p->n_pictures];
        pantry_status status = pn_eye_look(p->model->eye, picture->data, picture->len, &p->seen[p->n_pictures], err);
        if (status)
            return n > 1 ? pn_fail_prefix(err, "picture %zu", p->n_pictures + 1) : pn_fail_prefix(err, "the picture");
    }
    return PANTRY_OK;
}

/* Whether a text begins with the token that the model puts before texts: many templates write it themselves. */
static bool has_bos(const struct pn_tokenizer *t, const char *text, size_t len)
{
    size_t n = 0;
    int32_t id = pn_tokenizer_bos(t);
    const char *bos = id >= 0 ? pn_tokenizer_token_text(t, id, &n) : NULL;
    return bos && n && len >= n && memcmp(text, bos, n) == 0;
}

static pantry_status init(struct pantry_prompt *p, const char *text, size_t len, unsigned flags,
                          const struct pantry_picture *pictures, size_t n, struct pantry_error *err)
{
    const struct pn_tokenizer *tokenizer = p->model->tokenizer;
    if (n && !p->model->eye)
        return pn_prompt_refuse(p->model, err);
    if (!tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: the model has no tokenizer",
                       p->model->runner->model->weights->path);
    if (flags & PANTRY_TOKENIZE_SPECIAL && has_bos(tokenizer, text, len))
        flags &= ~(unsigned)PANTRY_TOKENIZE_BOS;
    unsigned wanted = (flags & PANTRY_TOKENIZE_SPECIAL ? PN_TOKENIZE_SPECIAL : 0) |
                      (flags & PANTRY_TOKENIZE_BOS ? PN_TOKENIZE_BOS : 0);
    if (!n)
        return pantry_tokenize(&p->model->view, text, len, flags, &p->ids, &p->n, err);
    pantry_status status = look(p, pictures, n, err);
    if (status)
        return status;
    return pn_pictures_new(p->model->eye, tokenizer, text, len, wanted, p->seen, n, &p->pictures, err);
}

pantry_status pantry_prompt_new(pantry_model *model, const char *text, size_t len, unsigned flags,
                                const struct pantry_picture *pictures, size_t n, pantry_prompt **prompt,
                                struct pantry_error *err)
{
    *prompt = NULL;
    struct pantry_prompt *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, "a prompt");
    p->model = pn_model_retain(model);
    struct pantry_error why;
    pantry_status status = pn_tell(init(p, text, len, flags, pictures, n, &why), &why, err);
    if (status)
        pantry_prompt_free(p);
    else
        *prompt = p;
    return status;
}

const int32_t *pantry_prompt_ids(const pantry_prompt *p, size_t *n)
{
    *n = p->pictures ? (size_t)p->pictures->n : p->n;
    return p->pictures ? p->pictures->ids : p->ids;
}

size_t pantry_prompt_lead(const pantry_prompt *p)
{
    return p->pictures ? (size_t)p->pictures->n_lead : 0;
}

int pantry_prompt_picture(const pantry_prompt *p, size_t i, int *width, int *height)
{
    if (i >= p->n_pictures)
        return 0;
    if (width)
        *width = p->seen[i]->width;
    if (height)
        *height = p->seen[i]->height;
    return p->seen[i]->n_rows;
}

void pantry_prompt_free(pantry_prompt *p)
{
    if (!p)
        return;
    for (size_t i = 0; !p->pictures && i < p->n_pictures; i++) /* else they are the pictures' */
        pn_eye_release(p->model->eye, p->seen[i]);
    pn_pictures_release(p->pictures);
    free(p->seen);
    free(p->ids);
    pantry_model_free(p->model);
    free(p);
}

pantry_status pn_prompt_encode(const pantry_prompt *p, const struct pantry_model *model, struct pantry_error *err)
{
    if (!p || !p->pictures)
        return PANTRY_OK;
    if (p->model != model)
        return pn_fail(err, PANTRY_INVALID, "the prompt is another model's");
    return pn_pictures_encode(p->pictures, err);
}
