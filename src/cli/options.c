/* Option tables: see options.h. */
#include "cli/options.h"

#include "cli/say.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

bool pn_cli_parse_float(const char *text, double min, double max, float *out)
{
    char *end;
    if (!*text || strspn(text, "+-0123456789.eE") != strlen(text)) /* no "nan", "inf", hexadecimal, leading space */
        return false;
    double value = strtod(text, &end);
    if (*end || !isfinite(value) || ((min != 0 || max != 0) && (value < min || value > max)))
        return false;
    *out = (float)value;
    return true;
}

bool pn_cli_parse_int(const char *text, double min, double max, int *out)
{
    char *end;
    if (!*text || strspn(text, "+-0123456789") != strlen(text))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || errno || value < INT32_MIN || value > INT32_MAX)
        return false;
    if ((min != 0 || max != 0) && ((double)value < min || (double)value > max))
        return false;
    *out = (int)value;
    return true;
}

bool pn_cli_parse_u64(const char *text, uint64_t *out)
{
    char *end;
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end || errno)
        return false;
    *out = value;
    return true;
}

bool pn_cli_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "kmgt";
    size_t n = strspn(text, "0123456789.");
    char number[32];
    if (n == 0 || n >= sizeof number || text[0] == '.')
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    char *end;
    double value = strtod(number, &end);
    if (*end)
        return false;
    const char *unit = text + n + (text[n] == ' ');
    const char *known = *unit ? strchr(units, *unit | 0x20) : NULL;
    if (known) {
        for (const char *u = units; u <= known; u++)
            value *= 1024;
        unit++;
        unit += *unit == 'i';
    }
    unit += (*unit | 0x20) == 'b';
    if (*unit || !(value < 0x1p63))
        return false;
    *out = (uint64_t)value;
    return true;
}

/* ---- the nearest name ---- */

enum { NAME_MAX_LEN = 32 };

/* Optimal string alignment distance: insert, delete, replace, swap neighbours (Damerau 1964). */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    size_t row[3][NAME_MAX_LEN + 1];
    if (n > NAME_MAX_LEN || m > NAME_MAX_LEN)
        return NAME_MAX_LEN;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *pn_cli_nearest(const char *word, const char *(*next)(const void *names, size_t i), const void *names)
{
    size_t len = strlen(word);
    const char *best = NULL, *name;
    size_t best_distance = len < 3 ? 2 : len / 3 + 2; /* one mistake in a short word, more in a long word */
    for (size_t i = 0; (name = next(names, i)); i++) {
        size_t d = distance(word, name);
        if (len >= 2 && strncmp(word, name, len) == 0) /* most likely the start of that name */
            d = 1;
        if (d < best_distance && d < strlen(name)) {
            best_distance = d;
            best = name;
        }
    }
    return best;
}

/* ---- help and mistakes ---- */

const struct pn_option pn_option_help = PN_OPT_FLAG("help", 0, "print this text", .letter = 'h');

static void print_option(const struct pn_option *option)
{
    char left[64];
    const char *space = option->value ? " " : "", *value = option->value ? option->value : "";
    if (option->letter)
        snprintf(left, sizeof left, "-%c, --%s%s%s", option->letter, option->name, space, value);
    else
        snprintf(left, sizeof left, "    --%s%s%s", option->name, space, value);
    printf("  %-26s", left);
    if (strlen(left) > 25)
        printf("\n%28s", "");
    printf(" %s\n", option->help);
}

static void print_help(const struct pn_command *command)
{
    printf("%s\n\nUsage: pantry %s%s%s\n", command->summary, command->name, *command->usage ? " " : "", command->usage);
    if (command->about)
        printf("\n%s\n", command->about);
    for (size_t s = 0; s < PN_SETS_MAX && (s == 0 || command->options[s].n); s++) {
        const struct pn_option_set *set = &command->options[s];
        printf("\n%s:\n", set->title ? set->title : "Options");
        for (size_t i = 0; i < set->n; i++)
            print_option(&set->option[i]);
        if (s == 0)
            print_option(&pn_option_help);
    }
    printf("\nExample:\n  ");
    for (const char *p = command->example; *p; p++) {
        putchar(*p);
        if (*p == '\n')
            fputs("  ", stdout);
    }
    putchar('\n');
}

int pn_cli_misuse(const struct pn_command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pn_cli_vsay_error(format, args);
    va_end(args);
    fprintf(stderr, "usage: pantry %s%s%s (`%s %s --help` explains)\n", command->name, *command->usage ? " " : "",
            command->usage, pn_cli_program(), command->name);
    return PN_EXIT_USAGE;
}

/* ---- parsing ---- */

struct parser {
    const struct pn_command *command;
    void *const *targets;
};

static const char *option_name(const void *names, size_t i)
{
    const struct pn_command *command = names;
    for (size_t s = 0; s < PN_SETS_MAX; s++) {
        if (i < command->options[s].n)
            return command->options[s].option[i].name;
        i -= command->options[s].n;
    }
    return i == 0 ? pn_option_help.name : NULL;
}

/* By name, or by letter if `name` is NULL. *to is NULL for --help, which every command has. */
static const struct pn_option *find_option(const struct parser *parser, const char *name, size_t len, char letter,
                                           void **to)
{
    for (size_t s = 0; s < PN_SETS_MAX; s++) {
        const struct pn_option_set *set = &parser->command->options[s];
        for (size_t o = 0; o < set->n; o++) {
            const struct pn_option *option = &set->option[o];
            bool same =
                name ? strlen(option->name) == len && memcmp(option->name, name, len) == 0 : option->letter == letter;
            if (same) {
                *to = (char *)parser->targets[s] + option->offset;
                return option;
            }
        }
    }
    *to = NULL;
    bool help = name ? len == 4 && memcmp("help", name, 4) == 0 : letter == pn_option_help.letter;
    return help ? &pn_option_help : NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *p = choices; len && (p = strstr(p, value)); p += len)
        if ((p == choices || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
            return true;
    return false;
}

static int bad_number(const struct parser *parser, const struct pn_option *option, const char *shown, const char *value)
{
    const char *kind = option->kind == PN_OPTION_FLOAT ? "a number" : "a whole number";
    if (option->min == 0 && option->max == 0)
        return pn_cli_misuse(parser->command, "%s: wrong value (found \"%s\", allowed %s)", shown, value, kind);
    return pn_cli_misuse(parser->command, "%s: wrong value (found \"%s\", allowed %s from %g to %.10g)", shown, value,
                         kind, option->min, option->max);
}

static int store_value(const struct parser *parser, const struct pn_option *option, void *to, const char *shown,
                       const char *value)
{
    if (option == &pn_option_help) {
        print_help(parser->command);
        return PN_EXIT_DONE;
    }
    switch (option->kind) {
    case PN_OPTION_FLAG:
    case PN_OPTION_OFF:
        *(bool *)to = option->kind == PN_OPTION_FLAG;
        break;
    case PN_OPTION_INT:
        if (!pn_cli_parse_int(value, option->min, option->max, to))
            return bad_number(parser, option, shown, value);
        break;
    case PN_OPTION_FLOAT:
        if (!pn_cli_parse_float(value, option->min, option->max, to))
            return bad_number(parser, option, shown, value);
        break;
    case PN_OPTION_SEED:
        if (!pn_cli_parse_u64(value, to))
            return bad_number(parser, option, shown, value);
        break;
    case PN_OPTION_SIZE:
        if (!pn_cli_parse_size(value, to))
            return pn_cli_misuse(parser->command, "%s: not a size (found \"%s\", allowed sizes such as 800M or 1.5G)",
                                 shown, value);
        break;
    case PN_OPTION_TEXT:
        if (option->choices && !option->any && !is_choice(option->choices, value))
            return pn_cli_misuse(parser->command, "%s: wrong value (found \"%s\", allowed %s)", shown, value,
                                 option->choices);
        *(const char **)to = value;
        break;
    case PN_OPTION_LIST: {
        struct pn_text_list *list = to;
        if (list->n == PN_LIST_MAX)
            return pn_cli_misuse(parser->command, "%s: too many values (allowed %d)", shown, PN_LIST_MAX);
        list->item[list->n++] = value;
        break;
    }
    }
    return PN_CLI_GO_ON;
}

static int unknown_option(const struct parser *parser, const char *shown, const char *name)
{
    const char *near = name ? pn_cli_nearest(name, option_name, parser->command) : NULL;
    if (near)
        return pn_cli_misuse(parser->command, "%s: no option %s; did you mean --%s?", parser->command->name, shown,
                             near);
    return pn_cli_misuse(parser->command, "%s: no option %s", parser->command->name, shown);
}

/* argv[*i] is "--name" or "--name=value"; moves *i to the last argument used. */
static int parse_long(const struct parser *parser, int argc, char **argv, int *i)
{
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    char shown[64];
    snprintf(shown, sizeof shown, "--%.*s", (int)(len > 60 ? 60 : len), text);
    void *to;
    const struct pn_option *option = find_option(parser, text, len, 0, &to);
    if (!option)
        return unknown_option(parser, shown, shown + 2);
    const char *value = equals ? equals + 1 : NULL;
    if (!option->value && value)
        return pn_cli_misuse(parser->command, "%s takes no value", shown);
    if (option->value && !value) {
        if (*i + 1 >= argc)
            return pn_cli_misuse(parser->command, "%s needs a value: %s", shown, option->value);
        value = argv[++*i];
    }
    return store_value(parser, option, to, shown, value);
}

/* argv[*i] is "-x", "-xVALUE" or flags together: "-xyz". */
static int parse_short(const struct parser *parser, int argc, char **argv, int *i)
{
    void *unused;
    if (argv[*i][2] && find_option(parser, argv[*i] + 1, strlen(argv[*i] + 1), 0, &unused))
        return unknown_option(parser, argv[*i], argv[*i] + 1); /* "-temp 0": a dash too few */
    for (const char *p = argv[*i] + 1; *p; p++) {
        char shown[3] = {'-', *p, 0};
        void *to;
        const struct pn_option *option = find_option(parser, NULL, 0, *p, &to);
        if (!option)
            return unknown_option(parser, argv[*i], argv[*i][2] ? argv[*i] + 1 : NULL);
        const char *value = NULL;
        if (option->value) {
            value = p[1] ? p + 1 : *i + 1 < argc ? argv[++*i] : NULL;
            if (!value)
                return pn_cli_misuse(parser->command, "%s needs a value: %s", shown, option->value);
        }
        int status = store_value(parser, option, to, shown, value);
        if (status != PN_CLI_GO_ON || value)
            return status;
    }
    return PN_CLI_GO_ON;
}

int pn_cli_parse(const struct pn_command *command, int argc, char **argv, void *const *targets,
                 struct pn_arguments *arguments)
{
    const struct parser parser = {command, targets};
    bool options_ended = false;
    int n = 0;
    /* Other arguments move to the front of argv, never past the argument being read. */
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        int status = PN_CLI_GO_ON;
        if (options_ended || text[0] != '-' || !text[1])
            argv[n++] = argv[i];
        else if (strcmp(text, "--") == 0)
            options_ended = true;
        else if (text[1] == '-')
            status = parse_long(&parser, argc, argv, &i);
        else
            status = parse_short(&parser, argc, argv, &i);
        if (status != PN_CLI_GO_ON)
            return status;
    }
    argv[n] = NULL;
    arguments->n = n;
    arguments->text = argv;
    return PN_CLI_GO_ON;
}

int pn_cli_parse_options(const struct pn_command *command, int argc, char **argv, void *target)
{
    void *const targets[] = {target};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    return status == PN_CLI_GO_ON && arguments.n ? pn_cli_misuse(command, "%s takes no argument", command->name)
                                                 : status;
}
