/* When a refused request may try again: by what has ended of late, in time that passes only while something is done. */
#include <check.h>

#include "server/pace.h"
#include "tests/suite.h"

static struct pace p;

static void enter(int n, double now)
{
    for (int i = 0; i < n; i++)
        pace_enter(&p, now);
}

START_TEST(nobody_waits)
{
    pace_init(&p);
    ck_assert_int_eq(pace_retry_after(&p, 5, 4), 1);
    enter(4, 5);
    ck_assert_int_eq(pace_retry_after(&p, 500, 4), 1);
    pace_free(&p);
}
END_TEST

/* 2 at once, a request takes 6 s: one ends every 3 s. */
START_TEST(those_that_wait_have_their_turn)
{
    pace_init(&p);
    enter(12, 100);
    double now = 100;
    for (int i = 0; i < 40; i++) {
        now += 3;
        pace_end(&p, now);
        enter(1, now);
    }
    ck_assert_int_eq(pace_retry_after(&p, now, 2), 30);            /* ten wait */
    ck_assert_int_eq(pace_retry_after(&p, now, 8), 12);            /* four     */
    for (int i = 0; i < 9; i++)
        pace_leave(&p, now);                                       /* they were no requests */
    ck_assert_int_eq(pace_retry_after(&p, now, 2), 3);             /* one      */
    pace_free(&p);
}
END_TEST

START_TEST(idle_time_does_not_count)
{
    pace_init(&p);
    double now = 0;
    for (int i = 0; i < 10; i++, now += 3600) {                    /* one at a time, of 2 s, with an hour between */
        enter(1, now);
        pace_end(&p, now + 2);
    }
    enter(6, now);
    ck_assert_int_eq(pace_retry_after(&p, now, 1), 10);
    pace_free(&p);
}
END_TEST

START_TEST(nothing_has_ended_yet)
{
    pace_init(&p);
    enter(8, 0);
    ck_assert_int_eq(pace_retry_after(&p, 0.01, 4), 1);
    ck_assert_int_eq(pace_retry_after(&p, 5, 4), 10);              /* half done: four in 10 s; four wait */
    ck_assert_int_eq(pace_retry_after(&p, 5000, 4), PACE_LONGEST);
    pace_free(&p);
}
END_TEST

/* It has become slow: the time since the last end counts. */
START_TEST(a_standstill_is_seen)
{
    pace_init(&p);
    enter(3, 0);
    double now = 0;
    for (int i = 0; i < 100; i++) {
        now += 0.1;
        pace_end(&p, now);
        enter(1, now);
    }
    ck_assert_int_eq(pace_retry_after(&p, now, 1), 1);
    int later = pace_retry_after(&p, now + 300, 1);
    ck_assert_int_ge(later, 15);
    pace_free(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pace");
    TCase *c = tcase_create("pace");
    tcase_add_test(c, nobody_waits);
    tcase_add_test(c, those_that_wait_have_their_turn);
    tcase_add_test(c, idle_time_does_not_count);
    tcase_add_test(c, nothing_has_ended_yet);
    tcase_add_test(c, a_standstill_is_seen);
    suite_add_tcase(s, c);
    return suite_run(s);
}
