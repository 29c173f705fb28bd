/* Recordings of Apple's counters, as text: the back end of tests instead of os_darwin.c.
 *
 *     # a comment
 *     table P 8000000,16000000          clocks of a kind of core, as the IORegistry's numbers
 *     temp Tp01 47.5
 *     GROUP|SUBGROUP|NAME|UNIT|123      a simple channel
 *     GROUP|SUBGROUP|NAME|UNIT|IDLE=5;V0P14=3
 */
#ifndef PN_TESTS_RECORDING_H
#define PN_TESTS_RECORDING_H

#include "monitor/apple.h"

/* Adds all lines between a start and a finish; what has another form is left out. */
void play_recording(struct pn_apple *apple, const char *text, double seconds, struct pn_sample *s);

#endif
