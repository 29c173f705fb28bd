/* One value of a setting: from a text (options, environment) or from the configuration file. */
#ifndef PN_CLI_SETTING_VALUE_H
#define PN_CLI_SETTING_VALUE_H

#include "base/toml.h"
#include "cli/settings.h"

/* `where` begins the error. The value's texts live in the arena. */
pantry_status pn_setting_from_text(const struct pn_setting *setting, const char *text, const char *where,
                                   struct pn_arena *arena, struct pn_setting_value *out, struct pantry_error *err);
pantry_status pn_setting_from_toml(const struct pn_setting *setting, const struct pn_toml *toml, const char *where,
                                   struct pn_arena *arena, struct pn_setting_value *out, struct pantry_error *err);
/* Of a list that an option was given several times with. */
pantry_status pn_setting_from_list(const char *const *items, size_t n, struct pn_arena *arena,
                                   struct pn_setting_value *out, struct pantry_error *err);
/* "5m", "1h30m", "300" (seconds), "-1" (forever, as -1); false for anything else. */
bool pn_setting_parse_time(const char *text, double *seconds);
/* Of a value of kind KEEP_ALIVE. */
struct pn_keep_alive pn_setting_keep_alive(const struct pn_setting_value *value);

#endif
