/* Options of the commands: one table serves parsing, checking, help, manual and shell completions.
 *
 * A table row gives the place of its value as an offset into a struct, so that tables are constant and commands share
 * groups of options (the model's, the sampler's). Options and other arguments may be mixed; `--` ends the
 * options; `-` alone is an argument. */
#ifndef PN_CLI_OPTIONS_H
#define PN_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PN_EXIT_DONE = 0,
    PN_EXIT_FAILED = 1,
    PN_EXIT_USAGE = 2,
    PN_CLI_GO_ON = -1, /* the arguments are valid: the command goes on */
};

enum { PN_LIST_MAX = 64 };

/* The values of an option that may be repeated. */
struct pn_text_list {
    const char *item[PN_LIST_MAX];
    size_t n;
};

enum pn_option_kind {
    PN_OPTION_FLAG,  /* bool = true */
    PN_OPTION_OFF,   /* bool = false */
    PN_OPTION_INT,   /* int within [min, max] */
    PN_OPTION_FLOAT, /* float within [min, max] */
    PN_OPTION_SEED,  /* uint64_t */
    PN_OPTION_SIZE,  /* uint64_t, in bytes: "2G", "1.5 GiB", "800M" */
    PN_OPTION_TEXT,  /* const char * */
    PN_OPTION_LIST,  /* struct pn_text_list */
};

struct pn_option {
    enum pn_option_kind kind;
    char letter;           /* 0: none */
    const char *name;      /* without the dashes */
    const char *value;     /* name of the value in the help, NULL for flags. Shells complete files for "FILE" */
    const char *parameter; /* its name in the chat's `/set parameter`; NULL: not a parameter */
    const char *choices;   /* of texts: the allowed values, separated by spaces; NULL: any */
    bool any;              /* of texts: the choices are only the usual values */
    double min, max;       /* of numbers; both 0: any */
    size_t offset;         /* of the value in the struct that the option set fills */
    const char *help;      /* one line */
    const char *more;      /* further sentences for the manual, or NULL */
};

/* Rows of option tables. The last arguments are the help and further members, such as `.letter = 'n'`. */
#define PN_OPT_FLAG(name_, offset_, ...)                                                                               \
    {                                                                                                                  \
        .kind = PN_OPTION_FLAG, .name = name_, .offset = offset_, .help = __VA_ARGS__                                  \
    }
#define PN_OPT_OFF(name_, offset_, ...)                                                                                \
    {                                                                                                                  \
        .kind = PN_OPTION_OFF, .name = name_, .offset = offset_, .help = __VA_ARGS__                                   \
    }
#define PN_OPT_VALUE(kind_, name_, value_, offset_, ...)                                                               \
    {                                                                                                                  \
        .kind = kind_, .name = name_, .value = value_, .offset = offset_, .help = __VA_ARGS__                          \
    }
#define PN_OPT_TEXT(name_, value_, offset_, ...) PN_OPT_VALUE(PN_OPTION_TEXT, name_, value_, offset_, __VA_ARGS__)
#define PN_OPT_LIST(name_, value_, offset_, ...) PN_OPT_VALUE(PN_OPTION_LIST, name_, value_, offset_, __VA_ARGS__)
#define PN_OPT_SEED(name_, value_, offset_, ...) PN_OPT_VALUE(PN_OPTION_SEED, name_, value_, offset_, __VA_ARGS__)
#define PN_OPT_SIZE(name_, value_, offset_, ...) PN_OPT_VALUE(PN_OPTION_SIZE, name_, value_, offset_, __VA_ARGS__)
#define PN_OPT_INT(name_, value_, offset_, min_, max_, ...)                                                            \
    PN_OPT_VALUE(PN_OPTION_INT, name_, value_, offset_, __VA_ARGS__, .min = min_, .max = max_)
#define PN_OPT_FLOAT(name_, value_, offset_, min_, max_, ...)                                                          \
    PN_OPT_VALUE(PN_OPTION_FLOAT, name_, value_, offset_, __VA_ARGS__, .min = min_, .max = max_)

struct pn_option_set {
    const char *title; /* heading in the help; NULL: "Options" */
    const struct pn_option *option;
    size_t n;
};

#define PN_OPTIONS(title_, table)                                                                                      \
    {                                                                                                                  \
        .title = (title_), .option = (table), .n = sizeof(table) / sizeof *(table)                                     \
    }

extern const struct pn_option pn_option_help; /* every command has it, in addition to its tables */

enum { PN_SETS_MAX = 4 };

struct pn_command {
    const char *name;
    const char *usage;   /* the arguments, as in "MODEL [TEXT]"; shells complete the first: MODEL, FILE or COMMAND */
    const char *summary; /* one line of `pantry help` */
    const char *about;   /* description in --help and the manual, may be NULL */
    const char *example; /* one or more command lines */
    struct pn_option_set options[PN_SETS_MAX];                           /* the unused ones are empty */
    int (*run)(const struct pn_command *command, int argc, char **argv); /* argv[0] is the command; exit status */
    bool no_store; /* needs no store, or reads all settings itself */
};

struct pn_arguments {
    int n;
    char **text; /* the arguments that are not options, in order; NULL-terminated */
};

/* Fills one struct per option set of the command (`targets`) and *arguments (inside argv, which is reordered). Returns
 * PN_CLI_GO_ON, or the exit status after --help was printed or a mistake was reported. */
int pn_cli_parse(const struct pn_command *command, int argc, char **argv, void *const *targets,
                 struct pn_arguments *arguments);

/* Reports wrong usage and shows the usage; returns PN_EXIT_USAGE. */
int pn_cli_misuse(const struct pn_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The name nearest to `word`, or NULL if none is near. `next` gives name number i, NULL after the last. */
const char *pn_cli_nearest(const char *word, const char *(*next)(const void *names, size_t i), const void *names);

/* The whole text must be a number in [min, max]; false otherwise. */
bool pn_cli_parse_int(const char *text, double min, double max, int *out);
bool pn_cli_parse_float(const char *text, double min, double max, float *out);
bool pn_cli_parse_u64(const char *text, uint64_t *out);
/* "512M", "1.5G", "2 GiB", "1000000": units are powers of 1,024. */
bool pn_cli_parse_size(const char *text, uint64_t *out);

#endif
