/* The part of `pantry doctor` that examines the settings: the file, the environment, and what they speak of. */
#ifndef PN_CLI_DOCTOR_CONFIG_H
#define PN_CLI_DOCTOR_CONFIG_H

#include "cli/doctor_machine.h"

enum { PN_CONFIG_CHECKS = 4 };

/* Makes all checks; returns how many. */
int pn_config_examine(struct pn_machine_check out[PN_CONFIG_CHECKS]);

#endif
