/* Names of the encoder's tensors: those of directories become those of GGUF projectors. */
#include "model/vision/vision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beginnings of names that belong to the encoder, and what remains of them. */
static const struct {
    const char *from, *to;
} roots[] = {
    {"vision_tower.vision_model.", ""},
    {"vision_tower.", ""},
    {"vision_model.", ""},
    {"visual.", ""},
    {"multi_modal_projector.", "projector."},
    {"connector.", "connector."},
    {"image_newline", "image_newline"},
};

#define TILED_LAYER(from, to)                                                                                          \
    {from ".layers.*.input_layernorm", to ".*.ln1"}, {from ".layers.*.post_attention_layernorm", to ".*.ln2"},         \
        {from ".layers.*.self_attn.q_proj", to ".*.attn_q"}, {from ".layers.*.self_attn.k_proj", to ".*.attn_k"},      \
        {from ".layers.*.self_attn.v_proj", to ".*.attn_v"}, {from ".layers.*.self_attn.o_proj", to ".*.attn_out"},    \
        {from ".layers.*.mlp.fc1", to ".*.ffn_up"}, {from ".layers.*.mlp.fc2", to ".*.ffn_down"},                      \
        {from ".layers.*.gate_attn", to ".*.gate_attn"},                                                               \
    {                                                                                                                  \
        from ".layers.*.gate_ffn", to ".*.gate_ffn"                                                                    \
    }

/* "*" is a layer. Parts that have a weight and a bias are named once. */
static const struct {
    const char *from, *to;
} names[] = {
    {"embeddings.class_embedding", "v.class_embd"},
    {"embeddings.patch_embedding", "v.patch_embd"},
    {"embeddings.position_embedding", "v.position_embd"},
    {"pre_layrnorm", "v.pre_ln"},
    {"post_layernorm", "v.post_ln"},
    {"encoder.layers.*.layer_norm1", "v.blk.*.ln1"},
    {"encoder.layers.*.layer_norm2", "v.blk.*.ln2"},
    {"encoder.layers.*.self_attn.q_proj", "v.blk.*.attn_q"},
    {"encoder.layers.*.self_attn.k_proj", "v.blk.*.attn_k"},
    {"encoder.layers.*.self_attn.v_proj", "v.blk.*.attn_v"},
    {"encoder.layers.*.self_attn.out_proj", "v.blk.*.attn_out"},
    {"encoder.layers.*.mlp.fc1", "v.blk.*.ffn_up"},
    {"encoder.layers.*.mlp.fc2", "v.blk.*.ffn_down"},
    {"class_embedding", "v.class_embd"},
    {"patch_embedding", "v.patch_embd"},
    {"gated_positional_embedding.embedding", "v.position_embd.weight"},
    {"gated_positional_embedding.gate", "v.position_gate"},
    {"gated_positional_embedding.tile_embedding", "v.tile_position_embd"},
    {"pre_tile_positional_embedding.embedding", "v.pre_tile_embd"},
    {"pre_tile_positional_embedding.gate", "v.pre_tile_gate"},
    {"post_tile_positional_embedding.embedding", "v.post_tile_embd"},
    {"post_tile_positional_embedding.gate", "v.post_tile_gate"},
    {"layernorm_pre", "v.pre_ln"},
    {"layernorm_post", "v.post_ln"},
    TILED_LAYER("transformer", "v.blk"),
    TILED_LAYER("global_transformer", "v.gblk"),
    {"patch_embed.proj", "v.patch_embd"},
    {"blocks.*.norm1", "v.blk.*.ln1"},
    {"blocks.*.norm2", "v.blk.*.ln2"},
    {"blocks.*.attn.qkv", "v.blk.*.attn_qkv"},
    {"blocks.*.attn.proj", "v.blk.*.attn_out"},
    {"blocks.*.mlp.fc1", "v.blk.*.ffn_up"},
    {"blocks.*.mlp.fc2", "v.blk.*.ffn_down"},
    {"blocks.*.mlp.gate_proj", "v.blk.*.ffn_gate"},
    {"blocks.*.mlp.up_proj", "v.blk.*.ffn_up"},
    {"blocks.*.mlp.down_proj", "v.blk.*.ffn_down"},
    {"pos_embed", "v.position_embd"},
    {"blocks.*.mlp.linear_fc1", "v.blk.*.ffn_up"},
    {"blocks.*.mlp.linear_fc2", "v.blk.*.ffn_down"},
    {"merger.norm", "v.post_ln"},
    {"merger.linear_fc1", "mm.0"},
    {"merger.linear_fc2", "mm.2"},
    {"deepstack_merger_list.*.norm", "v.deepstack.*.norm"},
    {"deepstack_merger_list.*.linear_fc1", "v.deepstack.*.fc1"},
    {"deepstack_merger_list.*.linear_fc2", "v.deepstack.*.fc2"},
    {"merger.ln_q", "v.post_ln"},
    {"merger.mlp.0", "mm.0"},
    {"merger.mlp.2", "mm.2"},
    /* Pixtral */
    {"patch_conv", "v.patch_embd"},
    {"ln_pre", "v.pre_ln"},
    {"transformer.layers.*.attention_norm", "v.blk.*.ln1"},
    {"transformer.layers.*.ffn_norm", "v.blk.*.ln2"},
    {"transformer.layers.*.attention.q_proj", "v.blk.*.attn_q"},
    {"transformer.layers.*.attention.k_proj", "v.blk.*.attn_k"},
    {"transformer.layers.*.attention.v_proj", "v.blk.*.attn_v"},
    {"transformer.layers.*.attention.o_proj", "v.blk.*.attn_out"},
    {"transformer.layers.*.feed_forward.gate_proj", "v.blk.*.ffn_gate"},
    {"transformer.layers.*.feed_forward.up_proj", "v.blk.*.ffn_up"},
    {"transformer.layers.*.feed_forward.down_proj", "v.blk.*.ffn_down"},
    {"projector.norm", "mm.input_norm"},
    {"projector.patch_merger.merging_layer", "mm.patch_merger"},
    /* InternVL */
    {"embeddings.cls_token", "v.class_embd"},
    {"embeddings.position_embeddings", "v.position_embd.weight"},
    {"embeddings.patch_embeddings.projection", "v.patch_embd"},
    {"encoder.layer.*.layernorm_before", "v.blk.*.ln1"},
    {"encoder.layer.*.layernorm_after", "v.blk.*.ln2"},
    {"encoder.layer.*.attention.q_proj", "v.blk.*.attn_q"},
    {"encoder.layer.*.attention.k_proj", "v.blk.*.attn_k"},
    {"encoder.layer.*.attention.v_proj", "v.blk.*.attn_v"},
    {"encoder.layer.*.attention.q_norm", "v.blk.*.attn_q_norm"},
    {"encoder.layer.*.attention.k_norm", "v.blk.*.attn_k_norm"},
    {"encoder.layer.*.attention.projection_layer", "v.blk.*.attn_out"},
    {"encoder.layer.*.lambda_1", "v.blk.*.ls1.weight"},
    {"encoder.layer.*.lambda_2", "v.blk.*.ls2.weight"},
    {"encoder.layer.*.mlp.fc1", "v.blk.*.ffn_up"},
    {"encoder.layer.*.mlp.fc2", "v.blk.*.ffn_down"},
    {"layernorm", "v.post_ln"},
    {"projector.layer_norm", "mm.input_norm"},
    /* Idefics 3 */
    {"connector.modality_projection.proj", "mm.model.fc"},
    /* LLaVA-NeXT */
    {"image_newline", "model.image_newline"},
    {"projector.linear_1", "mm.0"},
    {"projector.linear_2", "mm.2"},
    {"projector.mm_input_projection_weight", "mm.input_projection.weight"},
    {"projector.mm_soft_emb_norm", "mm.soft_emb_norm"},
    {"projector", "mm.0"},
};

/* The text after `beginning`; NULL: `name` begins otherwise. */
static const char *after(const char *name, const char *beginning)
{
    size_t n = strlen(beginning);
    return strncmp(name, beginning, n) == 0 ? name + n : NULL;
}

/* Matches up to the end of `pattern`; what follows must be nothing or ".weight" or ".bias". *layer: the number at "*".
 */
static const char *match(const char *name, const char *pattern, int *layer)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            char *end;
            long n = strtol(name, &end, 10);
            if (*name < '0' || *name > '9' || n < 0 || n > PN_MAX_LAYERS)
                return NULL;
            *layer = (int)n;
            name = end;
        } else if (*name++ != *pattern) {
            return NULL;
        }
    }
    return *name == '\0' || *name == '.' ? name : NULL;
}

bool pn_vision_name(const char *name, char *out, size_t size)
{
    char rest[256];
    const char *inner = after(name, "model.");
    inner = inner ? inner : name;
    bool ours = false;
    for (size_t i = 0; i < sizeof roots / sizeof *roots && !ours; i++) {
        const char *tail = after(inner, roots[i].from);
        if ((ours = tail != NULL))
            snprintf(rest, sizeof rest, "%s%s", roots[i].to, tail);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && ours; i++) {
        int layer = -1;
        const char *leaf = match(rest, names[i].from, &layer), *star = strchr(names[i].to, '*');
        if (!leaf)
            continue;
        if (star)
            snprintf(out, size, "%.*s%d%s%s", (int)(star - names[i].to), names[i].to, layer, star + 1, leaf);
        else
            snprintf(out, size, "%s%s", names[i].to, leaf);
        return true;
    }
    return false;
}
