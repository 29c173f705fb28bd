/* The configuration file: ~/.pantry/config.toml, or the one that PANTRY_CONFIG names. */
#ifndef PN_CLI_SETTINGS_FILE_H
#define PN_CLI_SETTINGS_FILE_H

#include "cli/settings.h"

/* Fills what the file sets, and settings->file. A missing file sets nothing, unless PANTRY_CONFIG names it. */
pantry_status pn_settings_read_file(struct pn_settings *settings, struct pantry_error *err);

/* Sets PANTRY_MODELS, which the store reads, to what the file says, unless it is set. Other settings are not looked
 * at. */
pantry_status pn_settings_find_models(struct pantry_error *err);

#endif
