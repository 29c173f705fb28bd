/* Reads length-prefixed texts on standard input and writes their ids, for differential tests:
 *   tok_batch MODEL [special] [bos] [decode] [time] [ends]
 * MODEL is a GGUF file, a tokenizer.json, a SentencePiece tokenizer.model or a directory with one of the two.
 * Input: for each text a 32-bit little-endian length and its bytes. Output: for each a 32-bit count and 32-bit ids, or
 * with `decode` a 32-bit length and the bytes that the ids decode to. `time` prints instead, per text,
 * a line with the processor time of its encoding in seconds, its bytes and its tokens. `ends` reads nothing and prints
 * the ids that end a generation, one per line. */
#include "base/clock.h"
#include "engine/gguf_tokenizer.h"
#include "text/tokenizer/tokenizer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_u32(FILE *f, uint32_t *out)
{
    return fread(out, sizeof *out, 1, f) == 1;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static pantry_status load(const char *path, struct pn_weights **w, struct pn_tokenizer **t, struct pantry_error *err)
{
    bool json = ends_with(path, ".json"), model = ends_with(path, ".model");
    char *data = NULL;
    size_t len;
    if (ends_with(path, ".gguf")) {
        pantry_status status = pn_weights_open(path, w, err);
        return status ? status : pn_vocab_from_weights(*w, t, err);
    }
    if (!json && !model)
        return pn_tokenizer_from_hf(path, NULL, t, NULL, err);
    pantry_status status = pn_file_read(path, (size_t)1 << 30, &data, &len, err);
    if (!status)
        status = json ? pn_tokenizer_from_json(data, len, NULL, NULL, t, err)
                      : pn_tokenizer_from_sentencepiece(data, len, NULL, t, err);
    free(data);
    return status;
}

int main(int argc, char **argv)
{
    struct pantry_error err = {0};
    struct pn_weights *w = NULL;
    struct pn_tokenizer *t = NULL;
    unsigned flags = 0;
    bool decode = false, timing = false, ends = false;
    if (argc < 2)
        return 2;
    for (int i = 2; i < argc; i++) {
        flags |= !strcmp(argv[i], "special") ? PN_TOKENIZE_SPECIAL : !strcmp(argv[i], "bos") ? PN_TOKENIZE_BOS : 0;
        decode |= !strcmp(argv[i], "decode");
        timing |= !strcmp(argv[i], "time");
        ends |= !strcmp(argv[i], "ends");
    }
    double t0 = (double)pn_clock_thread_ns() * 1e-9;
    if (load(argv[1], &w, &t, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (timing)
        fprintf(stderr, "loaded in %.1f ms\n", ((double)pn_clock_thread_ns() * 1e-9 - t0) * 1e3);
    struct pn_ids ids = {0};
    struct pn_buf text = {0}, back = {0};
    uint32_t len;
    for (size_t i = 0; ends && i < pn_tokenizer_n_vocab(t); i++)
        if (pn_tokenizer_is_eog(t, (int32_t)i))
            printf("%zu\n", i);
    while (!ends && read_u32(stdin, &len)) {
        pn_buf_clear(&text);
        if (!pn_buf_reserve(&text, (size_t)len + 1) || fread(text.data, 1, len, stdin) != len)
            return 1;
        ids.len = 0;
        double start = (double)pn_clock_thread_ns() * 1e-9;
        if (pn_tokenizer_encode(t, text.data, len, flags, &ids, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        if (timing) {
            double s = (double)pn_clock_thread_ns() * 1e-9 - start;
            printf("%.6f %u %zu\n", s, len, ids.len);
            fflush(stdout);
            continue;
        }
        if (decode) {
            pn_buf_clear(&back);
            if (pn_tokenizer_decode(t, ids.data, ids.len, true, &back, &err))
                return 1;
            uint32_t n = (uint32_t)back.len;
            fwrite(&n, sizeof n, 1, stdout);
            fwrite(back.data, 1, n, stdout);
        } else {
            uint32_t n = (uint32_t)ids.len;
            fwrite(&n, sizeof n, 1, stdout);
            fwrite(ids.data, sizeof *ids.data, n, stdout);
        }
    }
    free(ids.data);
    pn_buf_free(&text);
    pn_buf_free(&back);
    pn_tokenizer_free(t);
    pn_weights_close(w);
    return 0;
}
