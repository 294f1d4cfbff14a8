/* tests/slow.h - SLOW is 1 in sanitizer builds: there a test may take fewer of
 * what only repeats - sizes, rounds, instances - but not less of what runs at
 * the same time. */
#ifndef TESTS_SLOW_H
#define TESTS_SLOW_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif

#endif
