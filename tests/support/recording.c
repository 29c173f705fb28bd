#include "recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096, STATES = 64 };

static void play_table(struct pn_apple *apple, const char *line)
{
    uint8_t bytes[8 * PN_MAX_STEPS] = {0};
    size_t n = 0;
    char kind = *line++;
    while (*line && n < sizeof bytes) {
        char *end;
        unsigned long v = strtoul(line + 1, &end, 10);
        if (end == line + 1)
            break;
        for (int i = 0; i < 4; i++)
            bytes[n + (size_t)i] = (uint8_t)(v >> 8 * i);
        n += 8;
        line = end;
    }
    pn_apple_table(apple, kind, bytes, n);
}

static void play_channel(struct pn_apple *apple, char *line, struct pn_sample *s)
{
    char *field[5] = {line};
    struct pn_channel_state state[STATES];
    struct pn_channel c = {.state = state};
    for (int i = 1; i < 5; i++) {
        if (!(field[i] = strchr(field[i - 1], '|')))
            return;
        *field[i]++ = '\0';
    }
    c.group = field[0];
    c.subgroup = field[1];
    c.name = field[2];
    c.unit = field[3];
    for (char *p = strchr(field[4], '=') ? field[4] : NULL; p && c.n_states < STATES;) {
        char *equals = strchr(p, '='), *end;
        if (!equals)
            break;
        *equals = '\0';
        state[c.n_states++] = (struct pn_channel_state){p, strtoll(equals + 1, &end, 10)};
        p = *end == ';' ? end + 1 : NULL;
    }
    c.value = c.n_states ? 0 : strtoll(field[4], NULL, 10);
    pn_apple_add(apple, &c, s);
}

void play_recording(struct pn_apple *apple, const char *text, double seconds, struct pn_sample *s)
{
    char line[LINE], sensor[16];
    double celsius;
    pn_apple_start(apple);
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n < sizeof line) {
            memcpy(line, text, n);
            line[n] = '\0';
            if (strncmp(line, "table ", 6) == 0 && line[6])
                play_table(apple, line + 6);
            else if (sscanf(line, "temp %15s %lf", sensor, &celsius) == 2)
                pn_apple_temperature(apple, sensor, celsius);
            else if (*line != '#')
                play_channel(apple, line, s);
        }
        text += n + (text[n] == '\n');
    }
    pn_apple_finish(apple, seconds, s);
}
