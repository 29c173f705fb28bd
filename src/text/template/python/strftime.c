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

enum value {
    NO_VALUE,
    CENTURY,
    DAY,
    HOUR,
    HOUR_OF_12,
    ISO_WEEK,
    ISO_WEEKDAY,
    ISO_YEAR,
    ISO_YEAR_OF_100,
    MICROSECOND,
    MINUTE,
    MONTH,
    MONDAY_WEEK,
    SECOND,
    SUNDAY_WEEK,
    WEEKDAY,
    YEAR,
    YEAR_DAY,
    YEAR_OF_100,
    N_VALUES
};

/* What a letter prints: a number of at least `width` digits with `fill` before it, or another format. */
static const struct field {
    char letter;
    enum value value;
    int width;
    char fill;
    const char *same;
} fields[] = {
    {.letter = 'C', CENTURY, 2, '0'},
    {.letter = 'd', DAY, 2, '0'},
    {.letter = 'e', DAY, 2, ' '},
    {.letter = 'f', MICROSECOND, 6, '0'},
    {.letter = 'g', ISO_YEAR_OF_100, 2, '0'},
    {.letter = 'G', ISO_YEAR, 4, '0'},
    {.letter = 'H', HOUR, 2, '0'},
    {.letter = 'I', HOUR_OF_12, 2, '0'},
    {.letter = 'j', YEAR_DAY, 3, '0'},
    {.letter = 'k', HOUR, 2, ' '},
    {.letter = 'l', HOUR_OF_12, 2, ' '},
    {.letter = 'm', MONTH, 2, '0'},
    {.letter = 'M', MINUTE, 2, '0'},
    {.letter = 'S', SECOND, 2, '0'},
    {.letter = 'u', ISO_WEEKDAY, 1, '0'},
    {.letter = 'U', SUNDAY_WEEK, 2, '0'},
    {.letter = 'V', ISO_WEEK, 2, '0'},
    {.letter = 'w', WEEKDAY, 1, '0'},
    {.letter = 'W', MONDAY_WEEK, 2, '0'},
    {.letter = 'y', YEAR_OF_100, 2, '0'},
    {.letter = 'Y', YEAR, 1, '0'},
    {.letter = 'c', .same = "%a %b %e %H:%M:%S %Y"},
    {.letter = 'D', .same = "%m/%d/%y"},
    {.letter = 'F', .same = "%Y-%m-%d"},
    {.letter = 'n', .same = "\n"},
    {.letter = 'r', .same = "%I:%M:%S %p"},
    {.letter = 'R', .same = "%H:%M"},
    {.letter = 't', .same = "\t"},
    {.letter = 'T', .same = "%H:%M:%S"},
    {.letter = 'x', .same = "%m/%d/%y"},
    {.letter = 'X', .same = "%H:%M:%S"},
    {.letter = 'z', .same = ""}, /* the time has no zone */
    {.letter = 'Z', .same = ""},
    {.letter = '%', .same = "%"},
};

static void find_values(const struct tm *t, int micro, int values[N_VALUES])
{
    int year = t->tm_year + 1900, iso_year, monday = (t->tm_wday + 6) % 7;
    values[ISO_WEEK] = iso_week(t, &iso_year);
    values[CENTURY] = year / 100;
    values[DAY] = t->tm_mday;
    values[HOUR] = t->tm_hour;
    values[HOUR_OF_12] = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    values[ISO_WEEKDAY] = monday + 1;
    values[ISO_YEAR] = iso_year;
    values[ISO_YEAR_OF_100] = iso_year % 100;
    values[MICROSECOND] = micro;
    values[MINUTE] = t->tm_min;
    values[MONTH] = t->tm_mon + 1;
    values[MONDAY_WEEK] = (t->tm_yday + 7 - monday) / 7;
    values[SECOND] = t->tm_sec;
    values[SUNDAY_WEEK] = (t->tm_yday + 7 - t->tm_wday) / 7;
    values[WEEKDAY] = t->tm_wday;
    values[YEAR] = year;
    values[YEAR_DAY] = t->tm_yday + 1;
    values[YEAR_OF_100] = year % 100;
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

/* Names of days and months, AM and PM. False: the letter is none of these. */
static bool put_name(struct jj_buf *b, const struct tm *t, char letter, char pad)
{
    const char *day = days[t->tm_wday], *month = months[t->tm_mon], *half = t->tm_hour < 12 ? "am" : "pm";
    switch (letter) {
    case 'a':
        put_word(b, day, 3, pad);
        return true;
    case 'A':
        put_word(b, day, strlen(day), pad);
        return true;
    case 'b':
    case 'h':
        put_word(b, month, 3, pad);
        return true;
    case 'B':
        put_word(b, month, strlen(month), pad);
        return true;
    case 'p':
        put_word(b, half, 2, pad == '#' ? 0 : '^');
        return true;
    case 'P':
        put_word(b, half, 2, 0);
        return true;
    default:
        return false;
    }
}

static void put_all(struct jj_buf *b, const struct tm *t, int micro, const char *format, size_t n);

static void put_field(struct jj_buf *b, const struct tm *t, int micro, char letter, char pad)
{
    int values[N_VALUES];
    if (put_name(b, t, letter, pad))
        return;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *f = &fields[i];
        if (f->letter != letter)
            continue;
        if (f->same) {
            put_all(b, t, micro, f->same, strlen(f->same)); /* a % at its end is itself */
        } else {
            find_values(t, micro, values);
            put_number(b, values[f->value], f->width, f->fill, f->value == MICROSECOND ? 0 : pad);
        }
        return;
    }
    pn_jj_putc(b, '%');
    if (pad)
        pn_jj_putc(b, pad);
    pn_jj_putc(b, letter);
}

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
