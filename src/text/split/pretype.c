/* The pre-tokenizers that GGUF files name: see pretype.h.
 *
 * The expressions are those of the models' own tokenizer.json, read as Oniguruma reads them. Each isolates its matches
 * in the pieces of the step before. */
#include "text/split/pretype.h"

#include "text/split/scan.h"

#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define PREFIX      "[^\\r\\n\\p{L}\\p{N}]?"
#define PUNCT       " ?[^\\s\\p{L}\\p{N}]+"
#define BLANK       "\\s+(?!\\S)|\\s+"
#define LINES       "\\s*[\\r\\n]+|"
#define UPPER       "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER       "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CASED(C)    PREFIX "[" UPPER "]*[" LOWER "]+" C "|" PREFIX "[" UPPER "]+[" LOWER "]*" C

#define GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" BLANK
#define LLAMA3 CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1,3}|" PUNCT "[\\r\\n]*|" LINES BLANK
#define QWEN2  CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}|" PUNCT "[\\r\\n]*|" LINES BLANK
#define GPT4O  CASED(CONTRACTION "?") "|\\p{N}{1,3}|" PUNCT "[\\r\\n/]*|" LINES BLANK

#define ASCII_PUNCT "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define DEEPSEEK(P)                                                                                                    \
    ASCII_PUNCT "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+" P "\\s+(?!\\S)|\\s+"
#define CJK_KANA "[一-龥぀-ゟ゠-ヿ]+"

#define FINNISH " ?[^(\\s|.,!?…。，、।۔،)]+"

/* The letters of the scripts with case, as DeepSeek LLM's tokenizer.json spells them. */
#define CASED_LETTERS                                                                                                  \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"                    \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"             \
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"                    \
    "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"                  \
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                  \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}"          \
    "\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}"         \
    "\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                   \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}"                    \
    "\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                    \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}"                   \
    "\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"                  \
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"                \
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"                             \
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

static const struct pn_pretype rows[] = {
    {.names = "default", .steps = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .steps = {LLAMA3},
     .flags = PN_PRETYPE_IGNORE_MERGES | PN_PRETYPE_ADD_BOS},
    {.names = "dbrx smaug-bpe", .steps = {LLAMA3}},
    {.names = "chatglm-bpe", .steps = {LLAMA3}, .flags = PN_PRETYPE_NO_BOS},
    {.names = "glm4 glm5", .steps = {LLAMA3}, .flags = PN_PRETYPE_NO_BOS | PN_PRETYPE_IGNORE_MERGES},
    {.names = "jais-2",
     .steps = {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1,3}|" PUNCT "[\\r\\n]*|" LINES
                           "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"
                           "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"}},
    {.names = "qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2", .steps = {QWEN2}},
    {.names = "qwen35",
     .steps = {CONTRACTION "|" PREFIX "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES BLANK}},
    {.names = "ufakzeka", .steps = {PREFIX "\\p{L}+|\\p{N}|" PUNCT "[\\r\\n]*|" LINES BLANK}},
    {.names = "minicpm5",
     .steps = {"\\p{N}{1,3}", CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}+|" PUNCT "[\\r\\n]*|" LINES BLANK},
     .flags = PN_PRETYPE_IGNORE_MERGES},
    {.names = "laguna", .steps = {"[^\\n]+|[\\n]+", QWEN2}},
    {.names = "seed-coder",
     .steps = {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" LINES BLANK}},
    {.names = "bailingmoe bailingmoe2 llada-moe",
     .steps = {"'(?i:[sdmt]|ll|ve|re)|" PREFIX "+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" BLANK}},
    {.names = "exaone-moe",
     .steps = {CONTRACTION "|" PREFIX "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" PUNCT
                           "[\\r\\n/]?|\\s*[\\r\\n]|" BLANK}},

    {.names = "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en "
              "jina-v2-code roberta-bpe mpt olmo jais trillion granite-docling exaone4",
     .steps = {GPT2}},
    {.names = "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", .steps = {"\\p{N}", GPT2}},
    {.names = "falcon", .steps = {"[\\p{P}$+<=>^`|~]+", GPT2, PN_NUMBER_BYTES, "[0-9][0-9][0-9]"}},

    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2", .steps = {GPT4O}},
    {.names = "granite-embed-multi-97m", .steps = {GPT4O}, .flags = PN_PRETYPE_IGNORE_MERGES},
    {.names = "tiny_aya cohere2moe", .steps = {"\\d{1,3}(?=(?:\\d{3})*\\b)", GPT4O}},
    {.names = "tekken",
     .steps = {CASED("") "|\\p{N}|" PUNCT "[\\r\\n/]*|" LINES BLANK},
     .flags = PN_PRETYPE_IGNORE_MERGES | PN_PRETYPE_ADD_BOS},
    {.names = "youtu",
     .steps = {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" CJK_KANA,
               CASED(CONTRACTION "?") "|\\p{N}|" PUNCT "[\\r\\n/]*|" LINES BLANK},
     .flags = PN_PRETYPE_IGNORE_MERGES},
    {.names = "kimi-k2",
     .steps = {"[\\p{Han}]+|" PREFIX "[" UPPER "&&[^\\p{Han}]]*[" LOWER "&&[^\\p{Han}]]+" CONTRACTION "?|" PREFIX
               "[" UPPER "&&[^\\p{Han}]]+[" LOWER "&&[^\\p{Han}]]*" CONTRACTION "?|\\p{N}{1,3}|" PUNCT
               "[\\r\\n]*|" LINES BLANK}},

    {.names = "deepseek-llm",
     .steps = {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$",
               "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
    {.names = "deepseek-coder",
     .steps = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     .steps = {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK("[\\r\\n]*|\\s*[\\r\\n]+|")}},
    {.names = "spark2_5", .steps = {"\\p{N}{1,3}", CJK_KANA, DEEPSEEK("|[\\r\\n]|"), "\\p{N}"}},
    {.names = "afmoe",
     .steps =
         {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
          "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]"
          "+",
          DEEPSEEK("[\\r\\n]*|\\s*[\\r\\n]+|")}},

    {.names = "poro-chat bloom gpt3-finnish", .steps = {FINNISH}},
    {.names = "viking", .steps = {FINNISH, "\\p{N}"}},
    {.names = "superbpe", .steps = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}},
    {.names = "chameleon",
     .steps = {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
               "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     .flags = PN_PRETYPE_ADD_BOS},

    {.names = "gemma4 granite-embed-multi-311m",
     .steps = {"[^\\n]+|[\\n]+"},
     .flags = PN_PRETYPE_RAW | PN_PRETYPE_ESCAPE_SPACE | PN_PRETYPE_NEWLINE_RUNS | PN_PRETYPE_ADD_BOS |
              PN_PRETYPE_ALWAYS_BOS},
    {.names = "sarvam-moe", .steps = {"[^\\n]+|[\\n]+"}, .flags = PN_PRETYPE_RAW | PN_PRETYPE_ESCAPE_SPACE},
    {.names = "whitespace", .steps = {"\\s+"}, .flags = PN_PRETYPE_RAW | PN_PRETYPE_DROP_SPACE},
};

const struct pn_pretype *pn_pretype_row(size_t i)
{
    return i < sizeof rows / sizeof *rows ? &rows[i] : NULL;
}

const struct pn_pretype *pn_pretype_find(const char *name, size_t len)
{
    if (!len)
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const char *p = rows[i].names; *p;) {
            size_t n = strcspn(p, " ");
            if (n == len && !memcmp(p, name, n))
                return &rows[i];
            p += n + (p[n] == ' ');
        }
    return NULL;
}
