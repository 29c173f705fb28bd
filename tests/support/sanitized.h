/* Which sanitizers this program was built with, as 0 or 1: gcc defines macros, clang has features. They replace the
 * allocator, map much memory and slow everything down. */
#ifndef PN_TESTS_SANITIZED_H
#define PN_TESTS_SANITIZED_H

#if defined(__has_feature)
#define PN_ASAN __has_feature(address_sanitizer)
#define PN_TSAN __has_feature(thread_sanitizer)
#else
#ifdef __SANITIZE_ADDRESS__
#define PN_ASAN 1
#else
#define PN_ASAN 0
#endif
#ifdef __SANITIZE_THREAD__
#define PN_TSAN 1
#else
#define PN_TSAN 0
#endif
#endif

#endif
