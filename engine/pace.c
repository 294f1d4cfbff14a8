/* engine/pace.c - see pace.h. Two numbers are kept: what a step of single tokens takes, which is mostly the time to
 * read all weights once, and what each row of a prompt adds to it. The time of a step with n rows is taken to be their
 * sum, which is true enough as long as n is small beside what keeps all cores busy. */
#include "engine/pace.h"

enum {
    LEAST = 16,            /* rows: fewer would read the weights once more for little */
    UNKNOWN = 32,          /* rows beside others before anything was measured         */
    TELLING = 16,          /* rows from which on a step tells what a row takes        */
};

/* Three quarters old, one quarter new; a longer time counts at once, since being too slow is what must not happen. */
static void follow(double *mean, double seen)
{
    *mean = *mean == 0 || seen > *mean ? seen : 0.75 * *mean + 0.25 * seen;
}

/* From a step without prompts the first number is learnt. From one with enough rows of prompts the second: what it took
 * beyond the first, shared among its rows. Where measuring gives less than nothing, since steps vary, a tenth of the
 * whole is assumed. */
void pace_learn(struct pace *p, int n_single, int n_rows, double seconds)
{
    if (n_rows == 0)
        follow(&p->step_seconds, seconds);
    if (n_rows < TELLING)
        return;
    double rest = n_single ? seconds - p->step_seconds : seconds;
    follow(&p->row_seconds, (rest > 0 ? rest : 0.1 * seconds) / n_rows);
}

double pace_aim(const struct pace *p) { return 0.8 * p->max_pause; }

/* What the aim leaves after a step of single tokens, in rows. The upper bound only keeps the number an int. */
int pace_rows(const struct pace *p)
{
    if (p->row_seconds <= 0)
        return UNKNOWN;
    double rows = (pace_aim(p) - p->step_seconds) / p->row_seconds;
    if (rows < LEAST)
        return LEAST;
    return rows < 1 << 20 ? (int)rows : 1 << 20;
}
