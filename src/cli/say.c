/* Errors, figures, JSON: see say.h. */
#include "cli/say.h"

#include "base/alloc.h"
#include "base/size.h"
#include "cli/options.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *program = "pantry";

void pn_cli_set_program(const char *argv0)
{
    if (argv0 && *argv0 != '/' && strchr(argv0, '/'))
        program = argv0;
}

const char *pn_cli_program(void)
{
    return program;
}

/* ---- untrusted text ---- */

static bool is_control(utf8proc_int32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0);
}

static void put_shown(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0 || is_control(c))
            fputc('?', out);
        else
            fwrite(text + i, 1, (size_t)n, out);
        i += n > 0 ? (size_t)n : 1;
    }
}

void pn_cli_put_untrusted(FILE *out, const char *text, size_t len)
{
    if (pn_term_is(out))
        put_shown(out, text, len);
    else
        fwrite(text, 1, len, out);
}

/* ---- errors ---- */

void pn_cli_vsay_error(const char *format, va_list args)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, args);
    fflush(stdout); /* earlier output comes first */
    fputs("pantry: ", stderr);
    pn_cli_put_untrusted(stderr, text, strlen(text));
    fputc('\n', stderr);
}

void pn_cli_say_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pn_cli_vsay_error(format, args);
    va_end(args);
}

int pn_cli_fail(const struct pantry_error *error)
{
    pn_cli_say_error("%s", error->text[0] ? error->text : pantry_status_text(error->status));
    return PN_EXIT_FAILED;
}

int pn_cli_no_memory(void)
{
    pn_cli_say_error("out of memory");
    return PN_EXIT_FAILED;
}

/* ---- JSON ---- */

int pn_cli_put_json(json_t *value)
{
    if (!value)
        return pn_cli_no_memory();
    size_t layout = pn_term_is(stdout) ? JSON_INDENT(2) : 0; /* indented for a person, compact for a program */
    int failed = json_dumpf(value, stdout, layout | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    json_decref(value);
    if (failed)
        return pn_cli_no_memory();
    putchar('\n');
    return PN_EXIT_DONE;
}

json_t *pn_cli_json_text(const char *bytes, size_t len)
{
    json_t *text = json_stringn(bytes, len);
    if (text)
        return text;
    struct pn_buf buf = {0};
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)bytes + i, (utf8proc_ssize_t)(len - i), &c);
        pn_buf_put_utf8(&buf, n > 0 ? (uint32_t)c : 0xFFFD);
        i += n > 0 ? (size_t)n : 1;
    }
    text = buf.failed ? NULL : json_stringn(buf.data ? buf.data : "", buf.len);
    pn_buf_free(&buf);
    return text;
}

/* ---- numbers ---- */

const char *pn_cli_grouped(struct pn_number *out, unsigned long long value)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", value);
    char *to = out->text;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out->text;
}

const char *pn_cli_bytes(struct pn_number *out, unsigned long long bytes)
{
    snprintf(out->text, sizeof out->text, "%s", pn_size(bytes).text);
    return out->text;
}

const char *pn_cli_count(struct pn_number *out, unsigned long long count)
{
    static const char *const units[] = {"", " K", " M", " B", " T"};
    double value = (double)count;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(out->text, sizeof out->text, unit && value < 100 ? "%.1f%s" : "%.0f%s", value, units[unit]);
    return out->text;
}

const char *pn_cli_seconds(struct pn_number *out, double seconds)
{
    if (seconds < 0.01)
        snprintf(out->text, sizeof out->text, "%.2f ms", seconds * 1e3);
    else if (seconds < 1)
        snprintf(out->text, sizeof out->text, "%.0f ms", seconds * 1e3);
    else if (seconds < 60)
        snprintf(out->text, sizeof out->text, "%.2f s", seconds);
    else
        snprintf(out->text, sizeof out->text, "%.0f min %02.0f s", (double)(int)(seconds / 60),
                 seconds - 60 * (double)(int)(seconds / 60));
    return out->text;
}

/* ---- speed ---- */

double pn_cli_prefill_rate(const struct pantry_stats *stats)
{
    return stats->prefill_seconds > 0 ? (stats->n_prompt - stats->n_cached) / stats->prefill_seconds : 0;
}

const char *pn_cli_stop_name(const struct pantry_stats *stats)
{
    return stats->stop == PANTRY_STOP_CALLBACK ? "repetition" : pantry_stop_name(stats->stop);
}

double pn_cli_decode_rate(const struct pantry_stats *stats)
{
    bool ended = stats->stop == PANTRY_STOP_END;
    int tokens = stats->n_generated - !ended; /* the end token took a step too, but is not counted */
    return tokens > 0 && stats->n_steps > 0 && stats->decode_seconds > 0 ? tokens / stats->decode_seconds : 0;
}

/* Of steps, not of tokens: a grammar forces some, which take none. */
static void put_share(FILE *out, const struct pantry_stats *stats, int n_threads, const char *before)
{
    double rate = stats->decode_seconds > 0 ? stats->n_steps / stats->decode_seconds : 0;
    double bandwidth = stats->device_bandwidth > 0 ? stats->device_bandwidth : pantry_read_bandwidth(n_threads);
    if (rate > 0 && stats->bytes_per_token > 0 && bandwidth > 0)
        fprintf(out, "%s%.0f %% of %.1f GB/s", before, 100 * rate * stats->bytes_per_token / bandwidth,
                bandwidth / 1e9);
}

void pn_cli_put_speed(FILE *out, const struct pantry_stats *stats, int n_threads)
{
    double rate = pn_cli_decode_rate(stats);
    fflush(stdout);
    fputs(pn_term_style(out, PN_STYLE_DIM), out);
    fprintf(out, "%d token%s", stats->n_generated, stats->n_generated == 1 ? "" : "s");
    if (rate > 0)
        fprintf(out, " · %.1f tok/s", rate);
    put_share(out, stats, n_threads, " · ");
    if (stats->stop == PANTRY_STOP_CANCELLED)
        fputs(" · stopped", out);
    fprintf(out, "%s\n", pn_term_style(out, PN_STYLE_OFF));
}

void pn_cli_put_figures(FILE *out, const struct pantry_stats *stats, int n_threads)
{
    struct pn_number a;
    fflush(stdout);
    fputs(pn_term_style(out, PN_STYLE_DIM), out);
    fprintf(out, "load time:            %s\n", pn_cli_seconds(&a, stats->load_seconds));
    fprintf(out, "time to first token:  %s\n", pn_cli_seconds(&a, stats->first_token_seconds));
    fprintf(out, "prompt tokens:        %d (%d reused)\n", stats->n_prompt, stats->n_cached);
    fprintf(out, "prompt time:          %s\n", pn_cli_seconds(&a, stats->prefill_seconds));
    fprintf(out, "prompt rate:          %.1f tok/s\n", pn_cli_prefill_rate(stats));
    fprintf(out, "answer tokens:        %d\n", stats->n_generated);
    fprintf(out, "answer time:          %s\n", pn_cli_seconds(&a, stats->decode_seconds));
    fprintf(out, "answer rate:          %.1f tok/s\n", pn_cli_decode_rate(stats));
    if (stats->bytes_per_token > 0)
        fprintf(out, "read per token:       %s\n", pn_cli_bytes(&a, (unsigned long long)stats->bytes_per_token));
    put_share(out, stats, n_threads, "memory bandwidth:     ");
    fprintf(out, "\nstopped by:           %s%s\n", pn_cli_stop_name(stats), pn_term_style(out, PN_STYLE_OFF));
}
