/* One row per family of models that see: see vision.h. */
#include "model/vision/family_config.h"

#include "model/vision/vision.h"

#include <string.h>

#define CLIP                                                                                                           \
    "{'image_size': 224, 'patch_size': 32, 'hidden_size': 768, 'num_attention_heads': 12, 'num_hidden_layers': 12, "   \
    "'hidden_act': 'quick_gelu', 'layer_norm_eps': 1e-5}"
#define SIGLIP                                                                                                         \
    "{'image_size': 224, 'patch_size': 16, 'hidden_size': 768, 'num_attention_heads': 12, 'num_hidden_layers': 12, "   \
    "'hidden_act': 'gelu_pytorch_tanh', 'layer_norm_eps': 1e-6}"
#define QWEN "{'patch_size': 14, 'num_heads': 16, 'depth': 32, 'spatial_merge_size': 2, 'temporal_patch_size': 2"

#define PIXTRAL                                                                                                        \
    "{'image_size': 1024, 'patch_size': 16, 'hidden_size': 1024, 'num_attention_heads': 16, 'num_hidden_layers': 24, " \
    "'hidden_act': 'gelu', 'layer_norm_eps': 1e-5, 'rope_theta': 10000.0}"
#define IDEFICS3                                                                                                       \
    "{'image_size': 224, 'patch_size': 32, 'hidden_size': 1152, 'num_attention_heads': 16, 'num_hidden_layers': 12, "  \
    "'hidden_act': 'gelu_pytorch_tanh', 'layer_norm_eps': 1e-6}"
#define INTERNVL                                                                                                       \
    "{'image_size': 448, 'patch_size': 14, 'hidden_size': 1024, 'num_attention_heads': 16, 'num_hidden_layers': 24, "  \
    "'hidden_act': 'gelu', 'layer_norm_eps': 1e-6}"

static const struct pn_vision_family families[] = {
    {.types = "llava",
     .encoder = "pixtral",
     .token = "[IMG]",
     .defaults = PIXTRAL,
     .sizing = PN_SIZING_NATIVE,
     .positions = PN_POSITIONS_ROTATED,
     .norm = PN_NORM_RMS,
     .feature_layer = true,
     .more = pn_vision_config_pixtral,
     .write = pn_vision_write_lines,
     .project = pn_vision_project_mlp},
    {.types = "mistral3",
     .projector = "pixtral",
     .token = "[IMG]",
     .defaults = PIXTRAL,
     .sizing = PN_SIZING_NATIVE,
     .positions = PN_POSITIONS_ROTATED,
     .merge = PN_MERGE_WEAVE,
     .norm = PN_NORM_RMS,
     .post_norm = true,
     .feature_layer = true,
     .more = pn_vision_config_pixtral,
     .write = pn_vision_write_lines,
     .project = pn_vision_project_merged},
    {.types = "idefics3 smolvlm",
     .projector = "idefics3",
     .token = "<image>",
     .defaults = IDEFICS3,
     .norm = PN_NORM_LAYER,
     .post_norm = true,
     .more = pn_vision_config_idefics3,
     .cut = pn_vision_cut_idefics3,
     .write = pn_vision_write_idefics3,
     .project = pn_vision_project_one},
    {.types = "llava_next",
     .token = "<image>",
     .defaults = CLIP,
     .norm = PN_NORM_LAYER,
     .feature_layer = true,
     .more = pn_vision_config_llava_next,
     .cut = pn_vision_cut_llava_next,
     .project = pn_vision_project_mlp},
    {.types = "internvl",
     .projector = "internvl",
     .token = "<IMG_CONTEXT>",
     .before = "<img>",
     .after = "</img>",
     .defaults = INTERNVL,
     .norm = PN_NORM_LAYER,
     .more = pn_vision_config_internvl,
     .cut = pn_vision_cut_internvl,
     .project = pn_vision_project_merged},
    {.types = "llava",
     .projector = "mlp",
     .token = "<image>",
     .defaults = CLIP,
     .norm = PN_NORM_LAYER,
     .feature_layer = true,
     .more = pn_vision_config_llava,
     .project = pn_vision_project_mlp},
    {.types = "gemma3",
     .projector = "gemma3",
     .placeholder = "<start_of_image>",
     .token = "<image_soft_token>",
     .before = "\n\n<start_of_image>",
     .after = "<end_of_image>\n\n",
     .defaults = SIGLIP,
     .merge = PN_MERGE_MEAN,
     .norm = PN_NORM_LAYER,
     .post_norm = true,
     .both_ways = true,
     .project = pn_vision_project_gemma},
    {.types = "qwen2_5_vl",
     .projector = "qwen2.5vl_merger",
     .token = "<|image_pad|>",
     .defaults = QWEN ", 'hidden_act': 'silu', 'hidden_size': 1280, 'window_size': 112}",
     .sizing = PN_SIZING_SMART,
     .positions = PN_POSITIONS_ROTATED,
     .norm = PN_NORM_RMS,
     .post_norm = true,
     .sections = true,
     .project = pn_vision_project_mlp},
    {.types = "qwen2_vl",
     .projector = "qwen2vl_merger",
     .token = "<|image_pad|>",
     .defaults = QWEN ", 'hidden_act': 'quick_gelu', 'embed_dim': 1280}",
     .sizing = PN_SIZING_SMART,
     .positions = PN_POSITIONS_ROTATED,
     .norm = PN_NORM_LAYER,
     .post_norm = true,
     .sections = true,
     .project = pn_vision_project_mlp},
    {.types = "mllama",
     .token = "<|image|>",
     .defaults =
         "{'image_size': 448, 'patch_size': 14, 'hidden_size': 1280, 'attention_heads': 16, 'hidden_act': 'gelu', "
         "'num_hidden_layers': 32, 'num_global_layers': 8, 'norm_eps': 1e-5, 'max_num_tiles': 4, "
         "'intermediate_layers_indices': [3, 7, 15, 23, 30]}",
     .sizing = PN_SIZING_CANVAS,
     .positions = PN_POSITIONS_TILED,
     .norm = PN_NORM_LAYER,
     .apart = true,
     .project = pn_vision_project_one},
    {.types = "qwen3_vl qwen3_vl_moe",
     .projector = "qwen3vl_merger",
     .token = "<|image_pad|>",
     .defaults = "{'patch_size': 16, 'num_heads': 16, 'depth': 27, 'spatial_merge_size': 2, 'temporal_patch_size': 2, "
                 "'hidden_act': 'gelu_pytorch_tanh', 'hidden_size': 1152, 'num_position_embeddings': 2304, "
                 "'deepstack_visual_indexes': [8, 16, 24]}",
     .sizing = PN_SIZING_SMART,
     .positions = PN_POSITIONS_STRETCHED,
     .norm = PN_NORM_LAYER,
     .post_norm = true,
     .sections = true,
     .project = pn_vision_project_deep},
};

const struct pn_vision_family *pn_vision_family_at(size_t i)
{
    return i < sizeof families / sizeof *families ? &families[i] : NULL;
}

const struct pn_vision_family *pn_vision_family_of(const char *type, const char *encoder)
{
    size_t len = strlen(type), n;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (const char *at = families[i].types; *at; at += n + (at[n] == ' ')) {
            n = strcspn(at, " ");
            if (n == len && memcmp(at, type, n) == 0 &&
                (!families[i].encoder || (encoder && strcmp(encoder, families[i].encoder) == 0)))
                return &families[i];
        }
    return NULL;
}
