/* tests/kernels/test_ops.c - every operation on every backend and instruction
 * set against the reference, and the promise that a row's result is bit by bit
 * the same whatever else is in the batch. */
#include "tests/kernels/wide.h"

#include "tests/kernels/variants.h"

#include "tests/kernels/dense.inc"
#include "tests/kernels/image.inc"
#include "tests/kernels/attention.inc"
#include "tests/kernels/tokens.inc"
#include "tests/suite.h"

int main(void)
{
    Suite *s = suite_create("ops");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 300);
    dense_tests(t);
    quantised_tests(t);
    image_tests(t);
    attention_tests(t);
    token_tests(t);
    suite_add_tcase(s, t);
    return suite_run(s);
}
