/* settings.def as tables: see settings.h. */
#include "cli/settings.h"

#define SETTING(key_, kind_, when_, option_, ollama_, value_, fallback_, min_, max_, choices_, help_, more_)           \
    {#key_, PN_SETTING_##kind_, PN_APPLIES_##when_, option_, ollama_, value_, fallback_, min_, max_, choices_, help_,  \
     more_},
const struct pn_setting pn_settings_table[PN_N_SETTINGS] = {
#include "cli/settings.def"
};
#undef SETTING

/* On the command line values are texts: setting_value.c reads them, as it does those of the environment. */
#define OPTION_TEXT       PN_OPTION_TEXT
#define OPTION_INT        PN_OPTION_TEXT
#define OPTION_SIZE       PN_OPTION_TEXT
#define OPTION_SECONDS    PN_OPTION_TEXT
#define OPTION_KEEP_ALIVE PN_OPTION_TEXT
#define OPTION_FLAG       PN_OPTION_FLAG
#define OPTION_OFF        PN_OPTION_FLAG
#define OPTION_LIST       PN_OPTION_LIST
#define TARGET_TEXT       text
#define TARGET_INT        text
#define TARGET_SIZE       text
#define TARGET_SECONDS    text
#define TARGET_KEEP_ALIVE text
#define TARGET_FLAG       given
#define TARGET_OFF        given
#define TARGET_LIST       list
#define SETTING(key_, kind_, when_, option_, ollama_, value_, fallback_, min_, max_, choices_, help_, more_)           \
    {.kind = OPTION_##kind_,                                                                                           \
     .name = (option_),                                                                                                \
     .value = (value_),                                                                                                \
     .choices = (choices_),                                                                                            \
     .offset = offsetof(struct pn_settings_given, of[PN_SET_##key_].TARGET_##kind_),                                   \
     .help = (help_),                                                                                                  \
     .more = (more_)},
const struct pn_option pn_settings_options[PN_N_SETTINGS] = {
#include "cli/settings.def"
};
#undef SETTING
