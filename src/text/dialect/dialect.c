/* The list of dialects, and detection: a template has the first dialect in the list whose detector finds its needles in
 * the template's text. Specific ones come first, because general ones match some of the same needles. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

#define PN_DIALECTS(X)                                                                                                 \
    X(harmony)                                                                                                         \
    X(muse)                                                                                                            \
    X(functionary_v3_2)                                                                                                \
    X(functionary_v3_1)                                                                                                \
    X(kimi_k2)                                                                                                         \
    X(kimi_k3)                                                                                                         \
    X(ling)                                                                                                            \
    X(cohere)                                                                                                          \
    X(command_r)                                                                                                       \
    X(lfm2)                                                                                                            \
    X(gigachat)                                                                                                        \
    X(minimax_m3)                                                                                                      \
    X(minimax_m2)                                                                                                      \
    X(deepseek_dsml)                                                                                                   \
    X(gemma4)                                                                                                          \
    X(minicpm)                                                                                                         \
    X(seed_oss)                                                                                                        \
    X(qwen3_coder)                                                                                                     \
    X(qwen3_5)                                                                                                         \
    X(hunyuan3)                                                                                                        \
    X(glm)                                                                                                             \
    X(solar)                                                                                                           \
    X(apertus)                                                                                                         \
    X(nemotron)                                                                                                        \
    X(apriel)                                                                                                          \
    X(hunyuan)                                                                                                         \
    X(minimax_m1)                                                                                                      \
    X(deepseek)                                                                                                        \
    X(deepseek_v3_1)                                                                                                   \
    X(mistral)                                                                                                         \
    X(smollm3)                                                                                                         \
    X(internlm)                                                                                                        \
    X(olmo)                                                                                                            \
    X(granite)                                                                                                         \
    X(hermes)                                                                                                          \
    X(llama3)                                                                                                          \
    X(phi)                                                                                                             \
    X(gemma)                                                                                                           \
    X(plain)

#define PN_X(name) extern const struct pn_dialect pn_dialect_##name;
PN_DIALECTS(PN_X)
#undef PN_X

static const struct pn_dialect *const dialects[] = {
#define PN_X(name) &pn_dialect_##name,
    PN_DIALECTS(PN_X)
#undef PN_X
};

static bool detects(const struct pn_detector *detector, const char *source, size_t len)
{
    if (!detector->all[0])
        return false;
    for (int i = 0; i < PN_MAX_NEEDLES && detector->all[i]; i++)
        if (pn_text_find(source, len, 0, detector->all[i]) == len)
            return false;
    for (int i = 0; i < PN_MAX_NEEDLES && detector->none[i]; i++)
        if (pn_text_find(source, len, 0, detector->none[i]) < len)
            return false;
    return true;
}

const struct pn_dialect *pn_dialect_detect(const char *template_source, size_t len)
{
    const size_t n = sizeof dialects / sizeof *dialects,
                 n_detectors = sizeof dialects[0]->detect / sizeof(struct pn_detector);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n_detectors; k++)
            if (detects(&dialects[i]->detect[k], template_source, len))
                return dialects[i];
    return dialects[n - 1];
}

const char *pn_dialect_name(const struct pn_dialect *dialect)
{
    return dialect->name;
}

const struct pn_dialect *pn_dialect_at(size_t i)
{
    return i < sizeof dialects / sizeof *dialects ? dialects[i] : NULL;
}

const struct pn_dialect *pn_dialect_find(const char *name)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (strcmp(dialects[i]->name, name) == 0)
            return dialects[i];
    return NULL;
}
