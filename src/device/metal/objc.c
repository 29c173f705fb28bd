/* Opens the Objective-C runtime and Metal: see objc.h. */
#include "device/metal/objc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

struct pn_objc pn_objc;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_open;

/* Without CoreGraphics the default device may be nil. */
static const char *const libraries[] = {
#ifdef __APPLE__
    "/usr/lib/libobjc.A.dylib",
    "/System/Library/Frameworks/Foundation.framework/Foundation",
    "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics",
    "/System/Library/Frameworks/Metal.framework/Metal",
#else
    "libobjc.A.dylib", /* the emulator, which has all of them */
#endif
};
enum { N_LIBRARIES = sizeof libraries / sizeof *libraries };

static const struct {
    const char *name;
    size_t place;
} functions[] = {
    {"objc_msgSend", offsetof(struct pn_objc, send)},
    {"objc_autoreleasePoolPush", offsetof(struct pn_objc, pool_push)},
    {"objc_autoreleasePoolPop", offsetof(struct pn_objc, pool_pop)},
    {"MTLCreateSystemDefaultDevice", offsetof(struct pn_objc, default_device)},
};

static void *find(void *const *handles, const char *name)
{
    void *f = NULL;
    for (int i = 0; i < N_LIBRARIES && !f; i++)
        f = dlsym(handles[i], name);
    return f;
}

static pantry_status open_libraries(void *handles[N_LIBRARIES], struct pantry_error *err)
{
    for (int i = 0; i < N_LIBRARIES; i++) {
        handles[i] = dlopen(libraries[i], RTLD_NOW | RTLD_GLOBAL);
        if (!handles[i])
            return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: this system lacks %s (%s)", libraries[i], dlerror());
    }
    return PANTRY_OK;
}

static void fill_tables(pn_id (*class_of)(const char *name), pn_sel (*selector_of)(const char *name))
{
    static const char *const classes[] = {
#define PN_CLASS(name, text) text,
#define PN_METHOD0(R, name, selector)
#define PN_METHOD1(R, name, selector, A)
#define PN_METHOD2(R, name, selector, A, B)
#define PN_METHOD3(R, name, selector, A, B, C)
#define PN_METHOD4(R, name, selector, A, B, C, D)
#include "device/metal/methods.def"
#undef PN_CLASS
#undef PN_METHOD0
#undef PN_METHOD1
#undef PN_METHOD2
#undef PN_METHOD3
#undef PN_METHOD4
    };
    static const char *const selectors[] = {
#define PN_CLASS(name, text)
#define PN_METHOD0(R, name, selector)             selector,
#define PN_METHOD1(R, name, selector, A)          selector,
#define PN_METHOD2(R, name, selector, A, B)       selector,
#define PN_METHOD3(R, name, selector, A, B, C)    selector,
#define PN_METHOD4(R, name, selector, A, B, C, D) selector,
#include "device/metal/methods.def"
#undef PN_CLASS
#undef PN_METHOD0
#undef PN_METHOD1
#undef PN_METHOD2
#undef PN_METHOD3
#undef PN_METHOD4
    };
    for (int i = 0; i < PN_N_CLASSES; i++)
        pn_objc.classes[i] = class_of(classes[i]);
    for (int i = 0; i < PN_N_SELECTORS; i++)
        pn_objc.selectors[i] = selector_of(selectors[i]);
}

/* POSIX lets a pointer of dlsym be copied into one to a function. */
static pantry_status open_all(struct pantry_error *err)
{
    void *handles[N_LIBRARIES], *f;
    pn_id (*class_of)(const char *name);
    pn_sel (*selector_of)(const char *name);
    pantry_status status = open_libraries(handles, err);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        f = find(handles, functions[i].name);
        if (!f)
            return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: this system lacks the function %s", functions[i].name);
        memcpy((char *)&pn_objc + functions[i].place, &f, sizeof f);
    }
    f = find(handles, "objc_getClass");
    memcpy(&class_of, &f, sizeof f);
    f = find(handles, "sel_registerName");
    memcpy(&selector_of, &f, sizeof f);
    if (!class_of || !selector_of)
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: this system's Objective-C runtime is incomplete");
    fill_tables(class_of, selector_of);
    return PANTRY_OK;
}

pantry_status pn_objc_open(struct pantry_error *err)
{
    pthread_mutex_lock(&lock);
    pantry_status status = is_open ? PANTRY_OK : open_all(err);
    is_open = status == PANTRY_OK;
    pthread_mutex_unlock(&lock);
    return status;
}

const char *pn_objc_error(pn_id error)
{
    const char *text = error ? pn_string_text(pn_error_description(error)) : NULL;
    return text ? text : "it gave no reason";
}
