/* tests/engine/test_pace.c - rows of prompts beside others' tokens follow what steps took. */
#include <check.h>

#include "engine/pace.h"
#include "tests/suite.h"

START_TEST(follows_what_rows_take)
{
    struct pace p = { .max_pause = 0.15 };
    ck_assert_int_eq(pace_rows(&p), 32);                   /* nothing is known */
    pace_learn(&p, 0, 500, 0.5);                           /* a millisecond a row, alone */
    ck_assert_int_ge(pace_rows(&p), 119);
    pace_learn(&p, 4, 0, 0.05);                            /* and 50 ms for the others' tokens */
    ck_assert_int_ge(pace_rows(&p), 69);
    ck_assert_int_le(pace_rows(&p), 70);
    pace_learn(&p, 4, 100, 0.25);                          /* slower: at once */
    ck_assert_int_ge(pace_rows(&p), 34);
    ck_assert_int_le(pace_rows(&p), 35);
    for (int i = 0; i < 30; i++)
        pace_learn(&p, 4, 100, 0.15);                      /* faster: little by little */
    ck_assert_int_ge(pace_rows(&p), 68);
    ck_assert_int_le(pace_rows(&p), 70);
}
END_TEST

START_TEST(leaves_something_for_prompts)
{
    struct pace p = { .max_pause = 0.01 };
    pace_learn(&p, 4, 0, 0.5);
    pace_learn(&p, 4, 100, 10);
    ck_assert_int_eq(pace_rows(&p), 16);
    pace_learn(&p, 4, 3, 100);                             /* three rows tell nothing of what a row takes */
    ck_assert_int_eq(pace_rows(&p), 16);
    pace_learn(&p, 4, 100, 0.4);                           /* less than the tokens alone: the guess stays positive */
    ck_assert_int_ge(pace_rows(&p), 16);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pace");
    TCase *t = tcase_create("pace");
    tcase_add_test(t, follows_what_rows_take);
    tcase_add_test(t, leaves_something_for_prompts);
    suite_add_tcase(s, t);
    return suite_run(s);
}
