/* The part of `pantry doctor` that examines the machine: what was found, and what to do about it. */
#ifndef PN_CLI_DOCTOR_MACHINE_H
#define PN_CLI_DOCTOR_MACHINE_H

enum pn_machine_state { PN_MACHINE_OK, PN_MACHINE_ADVICE, PN_MACHINE_WRONG, PN_MACHINE_SKIPPED };

struct pn_machine_check {
    const char *name;
    enum pn_machine_state state;
    char found[384];
    char what[1024], mend[256]; /* of a state that is not ok: what could be better, and how */
};

enum { PN_MACHINE_CHECKS = 20 };

/* Makes all checks; returns how many. `quick` leaves out the one that takes seconds. */
int pn_machine_examine(int quick, struct pn_machine_check out[PN_MACHINE_CHECKS]);

#endif
