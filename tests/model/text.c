/* tests/model/text.c - a golden case's prompt and continuation: logits of the
 * prompt's last rows, the same bits in one piece, in chunks and where the last
 * row alone is read, the tokens that the reference chose. Included by tests, after `thorough`: whether all rows
 * are compared in chunks of several sizes, or the last ones after sixteens. */
#ifndef TESTS_MODEL_TEXT_C
#define TESTS_MODEL_TEXT_C
#include "tests/model/golden.c"
#include "tests/model/rig.c"

/* The logits of the prompt and of the reference's continuation, a row for every token after the first. */
static void check_continuation(struct rig *g, const struct golden *want, const int32_t *ids, int n, const float *last)
{
    int n_greedy, vocab = g->m->vocab;
    int32_t *greedy = golden_ints(want, "greedy", 0, &n_greedy);
    const float *margins = golden_find(want, "margins", 0) ? golden_floats(want, "margins", 0, (size_t)n_greedy) : NULL;
    float *rows = malloc((size_t)n_greedy * (size_t)vocab * sizeof *rows), limit = TRIAL_LIMIT;
    struct err e;
    memcpy(rows, last, (size_t)vocab * sizeof *rows);
    ck_assert_msg(trial_follow(&g->t, ids, n, greedy, n_greedy - 1, rows + vocab, &e) == 0, "%s", e.text);
    struct continuation c = record_continuation(rows, vocab, greedy, n_greedy, margins, limit);
    if (c.close)
        printf("%s on %s: %d of %d tokens differ where the reference's margin is at most %g\n", want->dir,
               g->backend->name, c.close, n_greedy, 2 * (double)limit);
    ck_assert_msg(c.wrong == 0, "%s on %s: %d of %d tokens are other ones, the first is %d", want->dir,
                  g->backend->name, c.wrong, n_greedy, c.first);
    free(rows);
    free(greedy);
}

static void golden_text(struct rig *g, const struct golden *want)
{
    static const int sizes[] = { 16, 7, 1 };
    int n;
    int32_t *ids = golden_ints(want, "ids", 0, &n);
    size_t row = (size_t)g->m->vocab, all = (size_t)n * row,
        some = golden_find(want, "logits", 0)->bytes / sizeof(float);
    float *logits = malloc(all * sizeof *logits), *again = malloc(all * sizeof *logits),
          *quiet = malloc(row * sizeof *quiet);
    struct err e;
    ck_assert_uint_eq(some % row, 0);                    /* all rows, or only the last ones */
    /* While the caches are empty: the steps that read nothing have to fill them. The last step has several rows. */
    ck_assert_msg(trial_prompt_quietly(&g->t, ids, n, n % 16 == 1 ? 12 : 16, quiet, &e) == 0, "%s", e.text);
    rig_prompt(g, ids, n, n, logits);
    float d = golden_compare("logits", logits + all - some, golden_floats(want, "logits", 0, some), some, TRIAL_LIMIT);
    printf("%s on %s: logits within %.1e\n", want->dir, g->backend->name, (double)d);
    for (int c = 0; c < (!thorough ? 0 : n > 100 ? 1 : 3); c++) {
        rig_prompt(g, ids, n, sizes[c], again);
        ck_assert_msg(!memcmp(logits, again, all * sizeof *logits), "%s on %s: chunks of %d differ from the whole",
                      want->dir, g->backend->name, sizes[c]);
    }
    ck_assert_msg(!memcmp(logits + all - row, quiet, row * sizeof *quiet), "%s on %s: the last row alone differs",
                  want->dir, g->backend->name);
    check_continuation(g, want, ids, n, logits + all - row);
    free(logits);
    free(again);
    free(quiet);
    free(ids);
}

#endif
