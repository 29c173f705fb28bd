/* strftime_now: the time of day in Python's format letters, in the C locale. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "text/template/value.h"

#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* ISO 8601 week and the year it belongs to */
static int iso_week(const struct tm *t, int *year)
{
    int weekday = (t->tm_wday + 6) % 7, week = (t->tm_yday - weekday + 10) / 7;
    *year = t->tm_year + 1900;
    if (week < 1) {
        int last = *year - 1, yday = t->tm_yday + 365 + is_leap(last);
        *year = last;
        return (yday - weekday + 10) / 7;
    }
    if (week == 53 && t->tm_yday - weekday + 3 >= 365 + is_leap(*year)) {
        ++*year;
        return 1;
    }
    return week;
}

static void put_field(struct jj_buf *b, const struct tm *t, int micro, char letter, char pad);

static void put_all(struct jj_buf *b, const struct tm *t, int micro, const char *format, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (format[i] != '%' || i + 1 == n) {
            pn_jj_putc(b, format[i]);
            continue;
        }
        char pad = 0;
        if (i + 2 < n && strchr("-_0^#", format[i + 1]))
            pad = format[++i];
        put_field(b, t, micro, format[++i], pad);
    }
}

static void put_number(struct jj_buf *b, int value, int width, char fill, char pad)
{
    char text[32];
    if (pad == '-')
        snprintf(text, sizeof text, "%d", value);
    else if (pad == '_' || (fill == ' ' && pad != '0'))
        snprintf(text, sizeof text, "%*d", width, value);
    else
        snprintf(text, sizeof text, "%0*d", width, value);
    pn_jj_puts(b, text);
}

static void put_word(struct jj_buf *b, const char *word, size_t n, char pad)
{
    if (pad == '^' || pad == '#')
        pn_jj_put_upper(b, word, n);
    else
        pn_jj_put(b, word, n);
}

static void put_field(struct jj_buf *b, const struct tm *t, int micro, char letter, char pad)
{
    int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12, iso_year, week = iso_week(t, &iso_year);
    const char *same = NULL;
    switch (letter) {
    case 'a':
        put_word(b, days[t->tm_wday], 3, pad);
        break;
    case 'A':
        put_word(b, days[t->tm_wday], strlen(days[t->tm_wday]), pad);
        break;
    case 'b':
    case 'h':
        put_word(b, months[t->tm_mon], 3, pad);
        break;
    case 'B':
        put_word(b, months[t->tm_mon], strlen(months[t->tm_mon]), pad);
        break;
    case 'c':
        same = "%a %b %e %H:%M:%S %Y";
        break;
    case 'C':
        put_number(b, (t->tm_year + 1900) / 100, 2, '0', pad);
        break;
    case 'd':
        put_number(b, t->tm_mday, 2, '0', pad);
        break;
    case 'D':
    case 'x':
        same = "%m/%d/%y";
        break;
    case 'e':
        put_number(b, t->tm_mday, 2, ' ', pad);
        break;
    case 'f':
        put_number(b, micro, 6, '0', 0);
        break;
    case 'F':
        same = "%Y-%m-%d";
        break;
    case 'g':
        put_number(b, iso_year % 100, 2, '0', pad);
        break;
    case 'G':
        put_number(b, iso_year, 4, '0', pad);
        break;
    case 'H':
        put_number(b, t->tm_hour, 2, '0', pad);
        break;
    case 'I':
        put_number(b, hour12, 2, '0', pad);
        break;
    case 'j':
        put_number(b, t->tm_yday + 1, 3, '0', pad);
        break;
    case 'k':
        put_number(b, t->tm_hour, 2, ' ', pad);
        break;
    case 'l':
        put_number(b, hour12, 2, ' ', pad);
        break;
    case 'm':
        put_number(b, t->tm_mon + 1, 2, '0', pad);
        break;
    case 'M':
        put_number(b, t->tm_min, 2, '0', pad);
        break;
    case 'n':
        pn_jj_putc(b, '\n');
        break;
    case 'p':
        pn_jj_puts(b, t->tm_hour < 12 ? (pad == '#' ? "am" : "AM") : (pad == '#' ? "pm" : "PM"));
        break;
    case 'P':
        pn_jj_puts(b, t->tm_hour < 12 ? "am" : "pm");
        break;
    case 'r':
        same = "%I:%M:%S %p";
        break;
    case 'R':
        same = "%H:%M";
        break;
    case 'S':
        put_number(b, t->tm_sec, 2, '0', pad);
        break;
    case 't':
        pn_jj_putc(b, '\t');
        break;
    case 'T':
    case 'X':
        same = "%H:%M:%S";
        break;
    case 'u':
        put_number(b, t->tm_wday ? t->tm_wday : 7, 1, '0', pad);
        break;
    case 'U':
        put_number(b, (t->tm_yday + 7 - t->tm_wday) / 7, 2, '0', pad);
        break;
    case 'V':
        put_number(b, week, 2, '0', pad);
        break;
    case 'w':
        put_number(b, t->tm_wday, 1, '0', pad);
        break;
    case 'W':
        put_number(b, (t->tm_yday + 7 - (t->tm_wday + 6) % 7) / 7, 2, '0', pad);
        break;
    case 'y':
        put_number(b, (t->tm_year + 1900) % 100, 2, '0', pad);
        break;
    case 'Y':
        put_number(b, t->tm_year + 1900, 1, '0', pad);
        break;
    case 'z': /* the time knows no zone */
    case 'Z':
        break;
    case '%':
        pn_jj_putc(b, '%');
        break;
    default:
        pn_jj_putc(b, '%');
        if (pad)
            pn_jj_putc(b, pad);
        pn_jj_putc(b, letter);
    }
    if (same)
        put_all(b, t, micro, same, strlen(same));
}

jv pn_jj_strftime(struct jj_run *r, const struct jj_str *format)
{
    struct tm t;
    struct timeval now = {0};
    time_t seconds = (time_t)r->now;
    if (r->now) {
        gmtime_r(&seconds, &t);
    } else {
        gettimeofday(&now, NULL);
        seconds = now.tv_sec;
        localtime_r(&seconds, &t);
    }
    struct jj_buf b = {.r = r};
    put_all(&b, &t, (int)now.tv_usec, format->p, format->n);
    return pn_jj_buf_str(&b);
}
