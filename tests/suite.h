/* tests/suite.h - the end of every test's main(). */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H
#include <check.h>
#include <stdlib.h>

/* Runs a suite; with VERBOSE set, names every test. Exit status: 1 if one failed. */
static inline int suite_run(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, getenv("VERBOSE") ? CK_VERBOSE : CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
