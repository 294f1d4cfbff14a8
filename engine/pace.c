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

void pace_learn(struct pace *p, int n_single, int n_rows, double seconds)
{
    if (n_rows == 0)
        follow(&p->step_seconds, seconds);
    if (n_rows < TELLING)
        return;
    double rest = n_single ? seconds - p->step_seconds : seconds;
    follow(&p->row_seconds, (rest > 0 ? rest : 0.1 * seconds) / n_rows);
}

int pace_rows(const struct pace *p)
{
    if (p->row_seconds <= 0)
        return UNKNOWN;
    double rows = (p->max_pause - p->step_seconds) / p->row_seconds;
    if (rows < LEAST)
        return LEAST;
    return rows < 1 << 20 ? (int)rows : 1 << 20;
}
