/* SentencePiece's model file, a protocol buffer: see tokenizer_files.h. Fields are read through a cursor that knows how
 * many bytes are left; unused fields are skipped by their wire type. */
#include "text/tokenizer/tokenizer_files.h"
#include "text/tokenizer/tokenizer_impl.h"

#include <stdlib.h>

struct cursor {
    const unsigned char *p, *end;
    bool failed;
};

struct field {
    unsigned number, wire;
    uint64_t value;   /* varint, or 32 bits */
    const char *data; /* of a field with a length */
    size_t len;
};

static uint64_t varint(struct cursor *c)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && c->p < c->end; shift += 7) {
        unsigned char b = *c->p++;
        value |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80))
            return value;
    }
    c->failed = true;
    return 0;
}

/* The next field; false at the end or when the rest is damaged. */
static bool next_field(struct cursor *c, struct field *f)
{
    if (c->p >= c->end || c->failed)
        return false;
    uint64_t key = varint(c);
    *f = (struct field){.number = (unsigned)(key >> 3), .wire = (unsigned)(key & 7)};
    size_t left = (size_t)(c->end - c->p), skip = 0;
    switch (f->wire) {
    case 0:
        f->value = varint(c);
        break;
    case 1:
        skip = 8;
        break;
    case 2:
        f->value = varint(c);
        left = (size_t)(c->end - c->p);
        f->data = (const char *)c->p;
        f->len = f->value <= left ? (size_t)f->value : 0;
        if (f->value > left)
            c->failed = true;
        skip = f->len;
        break;
    case 5:
        skip = 4;
        for (unsigned i = 0; i < 4 && left >= 4; i++)
            f->value |= (uint64_t)c->p[i] << (8 * i);
        break;
    default:
        c->failed = true;
    }
    if (skip > left)
        c->failed = true;
    if (c->failed)
        return false;
    c->p += skip;
    return true;
}

static struct cursor inside(const char *data, size_t len)
{
    return (struct cursor){.p = (const unsigned char *)data, .end = (const unsigned char *)data + len};
}

struct pieces {
    struct pn_str *tokens;
    double *scores;
    uint8_t *types, *attributes;
    size_t n;
};

static double float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static void read_piece(const struct field *field, struct pieces *to, struct cursor *outer)
{
    struct cursor c = inside(field->data, field->len);
    struct field f;
    size_t i = to->n++;
    to->tokens[i] = (struct pn_str){.data = "", .len = 0};
    to->scores[i] = 0;
    to->types[i] = PN_TOKEN_NORMAL;
    to->attributes[i] = 0;
    while (next_field(&c, &f)) {
        if (f.number == 1 && f.wire == 2 && f.len <= INT32_MAX)
            to->tokens[i] = (struct pn_str){.data = f.data, .len = f.len};
        else if (f.number == 2 && f.wire == 5)
            to->scores[i] = float_of((uint32_t)f.value);
        else if (f.number == 3 && f.wire == 0 && f.value >= PN_TOKEN_NORMAL && f.value <= PN_TOKEN_BYTE)
            to->types[i] = (uint8_t)f.value;
    }
    outer->failed |= c.failed;
}

struct settings {
    uint64_t model_type; /* 1 unigram, 2 BPE */
    int32_t unk, bos, eos, pad;
    struct pn_vocab_flags flags;
    const char *charsmap;
    size_t charsmap_len;
};

static void read_trainer(const struct field *field, struct settings *s, struct cursor *outer)
{
    struct cursor c = inside(field->data, field->len);
    struct field f;
    while (next_field(&c, &f)) {
        if (f.wire != 0)
            continue;
        switch (f.number) {
        case 3:
            s->model_type = f.value;
            break;
        case 24:
            s->flags.space_suffix = f.value;
            break;
        case 35:
            s->flags.byte_fallback = f.value;
            break;
        case 40:
            s->unk = (int32_t)(uint32_t)f.value;
            break;
        case 41:
            s->bos = (int32_t)(uint32_t)f.value;
            break;
        case 42:
            s->eos = (int32_t)(uint32_t)f.value;
            break;
        case 43:
            s->pad = (int32_t)(uint32_t)f.value;
            break;
        default:
            break;
        }
    }
    outer->failed |= c.failed;
}

static void read_normalizer(const struct field *field, struct settings *s, struct cursor *outer)
{
    struct cursor c = inside(field->data, field->len);
    struct field f;
    while (next_field(&c, &f)) {
        if (f.number == 2 && f.wire == 2) {
            s->charsmap = f.data;
            s->charsmap_len = f.len;
        } else if (f.wire == 0 && f.number == 3) {
            s->flags.add_space_prefix = f.value;
        } else if (f.wire == 0 && f.number == 4) {
            s->flags.remove_extra_whitespaces = f.value;
        } else if (f.wire == 0 && f.number == 5) {
            s->flags.escape_whitespaces = f.value;
        }
    }
    outer->failed |= c.failed;
}

static pantry_status read_model(const char *data, size_t len, struct pieces *pieces, struct settings *s,
                                struct pantry_error *err)
{
    struct cursor c = inside(data, len);
    struct field f;
    size_t n = 0;
    while (next_field(&c, &f))
        n += f.number == 1 && f.wire == 2;
    if (c.failed || !n)
        return pn_fail(err, PANTRY_FORMAT, "tokenizer.model: not a SentencePiece model, or cut off");
    pieces->tokens = calloc(n, sizeof *pieces->tokens);
    pieces->scores = calloc(n, sizeof *pieces->scores);
    pieces->types = calloc(n, 1);
    pieces->attributes = calloc(n, 1);
    if (!pieces->tokens || !pieces->scores || !pieces->types || !pieces->attributes)
        return pn_no_memory(err, "the vocabulary");
    c = inside(data, len);
    while (next_field(&c, &f)) {
        if (f.wire != 2)
            continue;
        if (f.number == 1)
            read_piece(&f, pieces, &c);
        else if (f.number == 2)
            read_trainer(&f, s, &c);
        else if (f.number == 3)
            read_normalizer(&f, s, &c);
    }
    if (c.failed)
        return pn_fail(err, PANTRY_FORMAT, "tokenizer.model: a damaged message");
    /* User-defined pieces: BPE looks for them in normalized text, unigram weighs them. */
    for (size_t i = 0; i < pieces->n; i++)
        if (pieces->types[i] == PN_TOKEN_USER)
            pieces->attributes[i] = s->model_type == 2 ? PN_TOKEN_NORMALIZED : PN_TOKEN_SCORED;
    if (s->model_type != 1 && s->model_type != 2)
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "tokenizer.model: model type %d; only unigram (1) and BPE (2) are supported",
                       (int)s->model_type);
    return PANTRY_OK;
}

/* Moves the texts of the tokens into the tokenizer's own memory. */
static pantry_status own_tokens(struct pieces *pieces, struct pn_pipeline *owner, struct pantry_error *err)
{
    for (size_t i = 0; i < pieces->n; i++) {
        pieces->tokens[i].data = pn_arena_copy(&owner->arena, pieces->tokens[i].data, pieces->tokens[i].len);
        if (!pieces->tokens[i].data)
            return pn_no_memory(err, "the vocabulary");
    }
    return PANTRY_OK;
}

pantry_status pn_tokenizer_from_sentencepiece(const char *data, size_t len, const struct pn_vocab_visitor *visitor,
                                              struct pn_tokenizer **out, struct pantry_error *err)
{
    struct pieces pieces = {0};
    struct settings s = {.model_type = 1, .unk = 0, .bos = 1, .eos = 2, .pad = -1};
    s.flags = (struct pn_vocab_flags){.add_bos = true,
                                      .add_space_prefix = true,
                                      .remove_extra_whitespaces = true,
                                      .escape_whitespaces = true,
                                      .fuse_unk = true};
    struct pn_pipeline *owner = calloc(1, sizeof *owner);
    pantry_status status = owner ? read_model(data, len, &pieces, &s, err) : pn_no_memory(err, "the tokenizer");
    if (!status)
        status = own_tokens(&pieces, owner, err);
    if (!status) {
        struct pn_vocab v = pn_vocab_empty();
        v.kind = s.model_type == 2 ? PN_VOCAB_SPM : PN_VOCAB_UNIGRAM;
        v.tokens = pieces.tokens;
        v.n_tokens = pieces.n;
        v.scores = pieces.scores;
        v.types = pieces.types;
        v.attributes = pieces.attributes;
        v.spm = (struct pn_spm_vocab){.charsmap = s.charsmap, .charsmap_len = s.charsmap_len};
        v.flags = s.flags;
        v.id.bos = s.bos;
        v.id.eos = s.eos;
        v.id.unk = s.unk;
        v.id.pad = s.pad;
        v.strings = owner;
        status = visitor ? visitor->see(visitor->user, &v, err) : PANTRY_OK;
        if (!status) {
            owner = NULL; /* owned by the tokenizer from here on, even if the call fails */
            status = pn_tokenizer_new(&v, out, err);
        }
    }
    pn_pipeline_free(owner);
    free(pieces.tokens);
    free(pieces.scores);
    free(pieces.types);
    free(pieces.attributes);
    return status;
}
