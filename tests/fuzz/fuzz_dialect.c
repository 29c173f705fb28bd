/* Fuzzes the parser of every dialect: the same bytes whole and in pieces must give the same text and calls. Byte 0
 * chooses the dialect, byte 1 the options, byte 2 the cuts. The seeds are the samples of the unit tests: one of them
 * replaces an input that is too short. */
#include "base/alloc.h"
#include "dialect_samples.h"
#include "text/dialect/dialect.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define HEADER    3
#define N_SAMPLES (sizeof samples / sizeof *samples)

struct result {
    struct pn_buf content, reasoning, calls;
};

static void collect(void *user, const struct pn_parse_event *event)
{
    struct result *r = user;
    if (event->type == PN_EVENT_CONTENT) {
        pn_buf_append(&r->content, event->text, event->len);
    } else if (event->type == PN_EVENT_REASONING) {
        pn_buf_append(&r->reasoning, event->text, event->len);
    } else {
        json_t *arguments = json_loads(event->arguments, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (!arguments)
            arguments = json_loads(event->arguments, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        if (!arguments || !*event->name)
            abort();
        json_decref(arguments);
        pn_buf_printf(&r->calls, "%s(%s)#%s\n", event->name, event->arguments, event->id ? event->id : "");
    }
}

static void result_free(struct result *r)
{
    pn_buf_free(&r->content);
    pn_buf_free(&r->reasoning);
    pn_buf_free(&r->calls);
}

static struct result parse(const struct pn_dialect *dialect, const struct pn_parse_options *o, const char *text,
                           size_t len, unsigned cut)
{
    struct result r = {0};
    struct pn_parser *p = pn_parser_new(dialect, o, collect, &r);
    if (!p)
        abort();
    for (size_t i = 0, n; i < len; i += n) {
        n = cut ? 1 + (i * 31 + cut) % (cut % 16 + 1) : len;
        n = n < len - i ? n : len - i;
        char *piece = malloc(n); /* of exactly this size */
        memcpy(piece, text + i, n);
        if (pn_parser_push(p, piece, n, NULL))
            abort();
        free(piece);
    }
    if (pn_parser_finish(p, NULL))
        abort();
    pn_parser_free(p);
    return r;
}

static void require_same(const struct pn_buf *a, const struct pn_buf *b)
{
    if (a->len != b->len || (a->len && memcmp(a->data, b->data, a->len) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *tools;
    if (!tools)
        tools = json_loads(sample_tools, 0, NULL);
    if (size < HEADER)
        return 0;
    size_t n = 0;
    while (pn_dialect_at(n))
        n++;
    const struct pn_dialect *dialect = pn_dialect_at(data[0] % n);
    const char *text = (const char *)data + HEADER, *prompt = data[1] & 4 ? "<think>\n" : "<|START_THINKING|>";
    struct pn_parse_options o = {
        .reasoning_in_content = data[1] & 1,
        .tool_choice = data[1] & 2 ? PN_TOOL_NONE : PN_TOOL_AUTO,
        .prompt = data[1] & 8 ? prompt : NULL,
        .prompt_len = data[1] & 8 ? strlen(prompt) : 0,
        .tools = tools,
        .continues = data[1] & 16,
        .continued_content = data[1] & 32 ? "Well, " : NULL,
        .continued_reasoning = data[1] & 64 ? "Hm" : NULL,
    };
    struct result whole = parse(dialect, &o, text, size - HEADER, 0);
    struct result pieces = parse(dialect, &o, text, size - HEADER, 1u + data[2]);
    require_same(&whole.content, &pieces.content);
    require_same(&whole.reasoning, &pieces.reasoning);
    require_same(&whole.calls, &pieces.calls);
    result_free(&whole);
    result_free(&pieces);
    return 0;
}

static size_t dialect_index(const char *name)
{
    size_t i = 0;
    while (pn_dialect_at(i) && strcmp(pn_dialect_name(pn_dialect_at(i)), name) != 0)
        i++;
    return i;
}

/* Mostly libFuzzer's own mutations; sometimes a sample, or a piece of one inserted. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    const struct sample *s = &samples[(seed >> 8) % N_SAMPLES];
    size_t len = strlen(s->output);
    if ((size < HEADER || seed % 61 == 0) && len + HEADER <= max_size) {
        data[0] = (uint8_t)dialect_index(s->dialect);
        data[1] = (uint8_t)(seed >> 24 & 3 ? 0 : seed >> 16);
        data[2] = (uint8_t)(seed >> 3);
        memcpy(data + HEADER, s->output, len);
        return len + HEADER;
    }
    if (size > HEADER && seed % 5 == 0) {
        size_t start = seed / 7 % len, n = 1 + seed / 11 % (len - start), at = HEADER + seed / 13 % (size - HEADER);
        if (size + n <= max_size) {
            memmove(data + at + n, data + at, size - at);
            memcpy(data + at, s->output + start, n);
            return size + n;
        }
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
