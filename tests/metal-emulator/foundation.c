/* Strings, errors, and the version of the system. */
#include "emulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct string {
    struct object base;
    char *text;
};
struct error {
    struct object base;
    struct object *text;
};
struct version {
    long major, minor, patch;
};

static void free_string(struct object *o)
{
    free(((struct string *)o)->text);
}

static void free_error(struct object *o)
{
    emu_release(((struct error *)o)->text);
}

struct class emu_string = {.name = "NSString", .size = sizeof(struct string), .dealloc = free_string};
struct class emu_error = {.name = "NSError", .size = sizeof(struct error), .dealloc = free_error};
struct class emu_process = {.name = "NSProcessInfo", .size = sizeof(struct object)};

struct object *emu_string_new(const char *text)
{
    struct string *s = emu_new(&emu_string);
    s->text = strdup(text);
    return &s->base;
}

const char *emu_text(const struct object *string)
{
    if (!string || string->isa != &emu_string)
        emu_misuse("a string is expected (found %s)", string ? string->isa->name : "nil");
    return ((const struct string *)string)->text;
}

void emu_fail(struct object **out, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    if (out) {
        struct error *e = emu_new(&emu_error);
        e->text = emu_string_new(text);
        *out = emu_autorelease(e);
    }
    free(text);
}

static struct object *with_bytes(struct string *self, selector name, const char *bytes, word length, word encoding)
{
    (void)name;
    if (encoding != 4)
        emu_misuse("a string's encoding is UTF-8, 4 (found %lu)", encoding);
    self->text = strndup(bytes, length);
    return &self->base;
}

static struct object *with_text(struct class *self, selector name, const char *text)
{
    (void)self;
    (void)name;
    return emu_autorelease(emu_string_new(text));
}

static const char *utf8(struct string *self, selector name)
{
    (void)name;
    return self->text;
}

static struct object *description(struct error *self, selector name)
{
    (void)name;
    return self->text;
}

static struct object *process_info(struct class *self, selector name)
{
    static struct object *info;
    (void)name;
    if (!info) {
        info = emu_new(self);
        self->n_live--; /* it lives as long as the process */
    }
    return info;
}

/* METAL_EMULATOR_MACOS: the major version that it claims to be. */
static bool is_at_least(struct object *self, selector name, struct version v)
{
    (void)self;
    (void)name;
    const char *set = getenv("METAL_EMULATOR_MACOS");
    return v.major <= (set ? atol(set) : 15);
}

const struct method emu_foundation_methods[] = {METHOD(emu_string, "initWithBytes:length:encoding:", with_bytes),
                                                CLASS_METHOD(emu_string, "stringWithUTF8String:", with_text),
                                                METHOD(emu_string, "UTF8String", utf8),
                                                METHOD(emu_error, "localizedDescription", description),
                                                CLASS_METHOD(emu_process, "processInfo", process_info),
                                                METHOD(emu_process, "isOperatingSystemAtLeastVersion:", is_at_least),
                                                {0}};
