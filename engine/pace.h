/* engine/pace.h - how many rows of prompts a step may take while others are
 * being answered, decided from how long steps took so far.
 *
 * Whoever is alone gets the largest step. Beside others who wait for their next
 * tokens, a step may take about `max_pause` seconds: so many rows as that leaves
 * after what a step of single tokens takes. Answers do not depend on it, since a
 * row's arithmetic does not depend on the batch; only waiting does. */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

struct pace {
    double max_pause;      /* seconds that a step may take which has tokens for others in it     */
    double step_seconds;   /* of a step of single tokens; 0: none was seen yet                   */
    double row_seconds;    /* that a row of a prompt adds; 0: none was seen yet                  */
};

/* Seconds that a stop of those who are answered is aimed at: less than max_pause, because what steps and parts of
 * images take varies by a fifth on a machine with other work. */
double pace_aim(const struct pace *p);

/* A step of n_single tokens of those that are being answered and n_rows of prompts has taken so long. */
void pace_learn(struct pace *p, int n_single, int n_rows, double seconds);

/* Rows of prompts that the next step may take beside single tokens: at least a few, so that prompts get on. */
int  pace_rows(const struct pace *p);

#endif
