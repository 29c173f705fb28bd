/* The pre-tokenizers that GGUF files name: see pretype.h.
 *
 * The expressions are those of the models' own tokenizer.json, read as Oniguruma reads them. Each isolates its matches
 * from what the step before left. */
#include "text/pretype.h"

#include "text/scan.h"

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
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ί"                \
    "ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"

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
     .steps = {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
               "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+",
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
     .flags = PN_PRETYPE_RAW | PN_PRETYPE_ESCAPE_SPACE | PN_PRETYPE_NEWLINE_RUNS | PN_PRETYPE_ADD_BOS},
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
