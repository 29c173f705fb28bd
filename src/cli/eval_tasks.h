/* Tasks of a JSONL file, for `pantry eval --tasks`. */
#ifndef PN_CLI_EVAL_TASKS_H
#define PN_CLI_EVAL_TASKS_H

#include "pantry.h"

#include <jansson.h>

/* Answers all tasks; prints the shares that are right, or sets "choices" and "generation" in `results` (may be NULL).
 * Exit status. */
int pn_eval_tasks(const char *path, pantry_model *model, json_t *results);

#endif
