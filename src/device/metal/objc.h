/* Objective-C from C: the runtime and Metal are opened at run time, and each method of methods.def is a function here
 * that sends its message, through a pointer of exactly its type, as arm64 needs it.
 *
 * Elsewhere than on macOS, one library may have all of them: tests/metal-emulator. */
#ifndef PN_DEVICE_METAL_OBJC_H
#define PN_DEVICE_METAL_OBJC_H

#include "base/status.h"
#include "device/gpu/args.h"

#include <stdbool.h>

/* Distinct types, so that a compiler tells an object from a selector. */
typedef struct pn_objc_object *pn_id;
typedef const struct pn_objc_selector *pn_sel;

struct pn_macos { /* NSOperatingSystemVersion */
    long major, minor, patch;
};

struct pn_extent { /* MTLSize */
    unsigned long width, height, depth;
};

#define PN_METHOD0(R, name, selector)             PN_METHOD(name, selector)
#define PN_METHOD1(R, name, selector, A)          PN_METHOD(name, selector)
#define PN_METHOD2(R, name, selector, A, B)       PN_METHOD(name, selector)
#define PN_METHOD3(R, name, selector, A, B, C)    PN_METHOD(name, selector)
#define PN_METHOD4(R, name, selector, A, B, C, D) PN_METHOD(name, selector)

enum pn_objc_method {
#define PN_CLASS(name, text)
#define PN_METHOD(name, selector) PN_SEL_##name,
#include "device/metal/methods.def"
#undef PN_METHOD
#undef PN_CLASS
    PN_N_SELECTORS
};

enum pn_objc_class {
#define PN_CLASS(name, text) PN_CLASS_##name,
#define PN_METHOD(name, selector)
#include "device/metal/methods.def"
#undef PN_METHOD
#undef PN_CLASS
    PN_N_CLASSES
};

#undef PN_METHOD0
#undef PN_METHOD1
#undef PN_METHOD2
#undef PN_METHOD3
#undef PN_METHOD4

/* Filled in by pn_objc_open, and the same from then on. */
struct pn_objc {
    void (*send)(void);
    void *(*pool_push)(void);
    void (*pool_pop)(void *pool);
    pn_id (*default_device)(void);
    pn_sel selectors[PN_N_SELECTORS];
    pn_id classes[PN_N_CLASSES]; /* NULL: this system lacks it */
};
extern struct pn_objc pn_objc;

/* PANTRY_UNSUPPORTED, with the reason, where there is no Metal. Any thread may call it, any number of times. */
pantry_status pn_objc_open(struct pantry_error *err);

/* The text of an NSError, or of none. Valid until the pool around the call is drained. */
const char *pn_objc_error(pn_id error);

#define PN_CLASS(name, text)
#define PN_SENT(name) pn_objc.send)(self, pn_objc.selectors[PN_SEL_##name]
#define PN_METHOD0(R, name, selector)                                                                                  \
    static inline R pn_##name(pn_id self)                                                                              \
    {                                                                                                                  \
        return ((R(*)(pn_id, pn_sel))PN_SENT(name));                                                                   \
    }
#define PN_METHOD1(R, name, selector, A)                                                                               \
    static inline R pn_##name(pn_id self, A a)                                                                         \
    {                                                                                                                  \
        return ((R(*)(pn_id, pn_sel, A))PN_SENT(name), a);                                                             \
    }
#define PN_METHOD2(R, name, selector, A, B)                                                                            \
    static inline R pn_##name(pn_id self, A a, B b)                                                                    \
    {                                                                                                                  \
        return ((R(*)(pn_id, pn_sel, A, B))PN_SENT(name), a, b);                                                       \
    }
#define PN_METHOD3(R, name, selector, A, B, C)                                                                         \
    static inline R pn_##name(pn_id self, A a, B b, C c)                                                               \
    {                                                                                                                  \
        return ((R(*)(pn_id, pn_sel, A, B, C))PN_SENT(name), a, b, c);                                                 \
    }
#define PN_METHOD4(R, name, selector, A, B, C, D)                                                                      \
    static inline R pn_##name(pn_id self, A a, B b, C c, D d)                                                          \
    {                                                                                                                  \
        return ((R(*)(pn_id, pn_sel, A, B, C, D))PN_SENT(name), a, b, c, d);                                           \
    }
#include "device/metal/methods.def"
#undef PN_CLASS
#undef PN_SENT
#undef PN_METHOD0
#undef PN_METHOD1
#undef PN_METHOD2
#undef PN_METHOD3
#undef PN_METHOD4

/* A new object of a class, with one reference. */
static inline pn_id pn_objc_new(enum pn_objc_class class)
{
    return pn_objc_init(pn_objc_alloc(pn_objc.classes[class]));
}

static inline bool pn_objc_has(pn_id object, enum pn_objc_method method)
{
    return pn_objc_responds(object, pn_objc.selectors[method]);
}

#endif
