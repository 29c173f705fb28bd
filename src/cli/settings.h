/* The settings of the service, from the options of the command, the environment and ~/.pantry/config.toml.
 *
 * Of several places that set one, the first counts: the option, PANTRY_<KEY>, OLLAMA_<KEY>, the file, the default. */
#ifndef PN_CLI_SETTINGS_H
#define PN_CLI_SETTINGS_H

#include "cli/options.h"
#include "base/alloc.h"
#include "server/settings.h"

enum pn_setting_id {
#define SETTING(key, ...) PN_SET_##key,
#include "cli/settings.def"
#undef SETTING
    PN_N_SETTINGS
};

enum pn_setting_kind {
    PN_SETTING_TEXT,
    PN_SETTING_INT,
    PN_SETTING_FLAG,       /* true or false; the option sets true */
    PN_SETTING_OFF,        /* true or false; the option sets false */
    PN_SETTING_LIST,       /* texts; with commas between them in the environment */
    PN_SETTING_SIZE,       /* bytes: a number, or "2G" */
    PN_SETTING_SECONDS,    /* a number of seconds, or "5m" */
    PN_SETTING_KEEP_ALIVE, /* the same, or a negative number for "forever" */
};

/* From when on a value counts that was changed in the file of a service that runs. */
enum pn_setting_when { PN_APPLIES_NOW, PN_APPLIES_LOAD /* to models loaded from then on */, PN_APPLIES_START };

struct pn_setting {
    const char *key;
    enum pn_setting_kind kind;
    enum pn_setting_when when;
    const char *option, *ollama, *value, *fallback;
    double min, max;
    const char *choices, *help, *more;
};
extern const struct pn_setting pn_settings_table[PN_N_SETTINGS];

/* In the order of precedence. */
enum pn_setting_source { PN_FROM_DEFAULT, PN_FROM_FILE, PN_FROM_OLLAMA, PN_FROM_ENVIRONMENT, PN_FROM_OPTION };

struct pn_setting_value {
    enum pn_setting_source source;
    int line;                /* in the file */
    const char *text;        /* as given, or for a list with commas */
    const char *const *list; /* up to NULL */
    double number;           /* of all kinds but texts and lists; -1: forever */
};

/* What the command line gives: targets of the options' table. */
struct pn_settings_given {
    struct {
        const char *text;
        bool given; /* of flags */
        struct pn_text_list list;
    } of[PN_N_SETTINGS];
};
extern const struct pn_option pn_settings_options[PN_N_SETTINGS]; /* of struct pn_settings_given */
#define PN_SETTINGS_OPTIONS                                                                                            \
    {                                                                                                                  \
        .title = "Service", .option = pn_settings_options, .n = PN_N_SETTINGS                                          \
    }

struct pn_settings {
    struct pn_setting_value of[PN_N_SETTINGS];
    char *file; /* PANTRY_CONFIG or ~/.pantry/config.toml */
    bool has_file;
    struct pn_model_settings *models; /* (n_models) */
    size_t n_models;
    struct pn_model_alias *aliases; /* (n_aliases) */
    size_t n_aliases;
    struct pn_adapter_setting *adapters; /* (n_adapters) */
    size_t n_adapters;
    struct pn_arena arena; /* all of it */
};

/* Reads all places; `given` NULL: no options. Errors name the place: "config.toml:3: port: ...", "OLLAMA_HOST: ...",
 * "--port: ...". Call pn_settings_free also after a failure. */
pantry_status pn_settings_read(struct pn_settings *settings, const struct pn_settings_given *given,
                               struct pantry_error *err);
void pn_settings_free(struct pn_settings *settings);

/* Where a value comes from: "default", "/path/config.toml:3", "OLLAMA_HOST", "--host". */
void pn_settings_origin(const struct pn_settings *settings, enum pn_setting_id id, char *out, size_t size);
/* "PANTRY_KEEP_ALIVE" */
void pn_settings_variable(const struct pn_setting *setting, char out[64]);

/* Values by their kinds. */
const char *pn_settings_text(const struct pn_settings *settings, enum pn_setting_id id); /* NULL: "" */
int pn_settings_int(const struct pn_settings *settings, enum pn_setting_id id);
bool pn_settings_bool(const struct pn_settings *settings, enum pn_setting_id id);

#endif
