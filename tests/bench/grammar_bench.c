/* What grammars cost with the vocabulary of a checkpoint: how long a schema takes to compile, and a mask to make.
 *
 *     build/tests/bench/grammar_bench DIR CASES.json
 *
 * The cases are a list of {"name", "schema", "values"}: each value is written as JSON, cut into tokens, and fed to a
 * matcher token by token. "first" is the first value's mean mask, before anything is known of its states; "mean", "p99"
 * and "most" are those of all values, of which there are three rounds. Times in microseconds, of one thread. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/masks.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"

enum { MAX_MASKS = 200000, ROUNDS = 3 };

static struct err e;
static double took[MAX_MASKS];
static int n_masks;

static void give_up(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, e.text);
    exit(1);
}

static void feed(const struct tokenizer *t, struct tokens *tokens, struct grammar *g, const json_t *value,
                 uint32_t *mask)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    struct ids ids = { 0 };
    struct matcher *m = matcher_new(g, tokens, &e);
    if (!text || !m || tokenizer_encode(t, text, strlen(text), false, &ids, &e) < 0)
        give_up("tokens");
    for (size_t i = 0; i <= ids.n && n_masks < MAX_MASKS; i++) {
        double began = clock_seconds();
        if (matcher_mask(m, mask, &e) < 0)
            give_up("mask");
        took[n_masks++] = (clock_seconds() - began) * 1e6;
        if (i < ids.n && !matcher_accept(m, ids.id[i])) {
            fprintf(stderr, "not in the grammar, token %zu of %s\n", i, text);
            exit(1);
        }
    }
    matcher_free(m);
    ids_free(&ids);
    free(text);
}

static int by_time(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double mean(int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += took[i];
    return n ? sum / n : 0;
}

static void run_case(const struct tokenizer *t, struct tokens *tokens, const json_t *c, uint32_t *mask)
{
    struct grammar_source s = { .kind = GRAMMAR_SCHEMA, .json = json_object_get(c, "schema") };
    const json_t *values = json_object_get(c, "values");
    double began = clock_seconds();
    struct grammar *g = grammar_compile(&s, &e);
    double compiled = (clock_seconds() - began) * 1e3, first = 0;
    if (!g)
        give_up(json_string_value(json_object_get(c, "name")));
    n_masks = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < json_array_size(values); i++) {
            feed(t, tokens, g, json_array_get(values, i), mask);
            first = round == 0 && i == 0 ? mean(n_masks) : first;
        }
    double all = mean(n_masks);
    qsort(took, (size_t)n_masks, sizeof *took, by_time);
    printf("%-28s %9.2f ms %8.1f %8.1f %8.1f %8.1f %7d\n", json_string_value(json_object_get(c, "name")), compiled,
           first, all, took[n_masks * 99 / 100], took[n_masks - 1], n_masks);
    grammar_unref(g);
}

int main(int argc, char **argv)
{
    json_error_t why;
    struct text text = { .tokenizer = argc == 3 ? tokenizer_open(argv[1], &e) : NULL };
    json_t *cases = argc == 3 ? json_load_file(argv[2], 0, &why) : NULL, *c;
    size_t i;
    if (!text.tokenizer || !cases) {
        fprintf(stderr, "grammar_bench DIR CASES.json: %s\n", text.tokenizer ? why.text : e.text);
        return 1;
    }
    int vocab = tokenizer_size(text.tokenizer);
    double began = clock_seconds();
    struct tokens *tokens = masks_tokens(&text, vocab, &e);
    uint32_t *mask = calloc(tokens_mask_words(vocab), sizeof *mask);
    if (!tokens || !mask)
        give_up("vocabulary");
    printf("%d tokens, read in %.0f ms\n%-28s %12s %8s %8s %8s %8s %7s\n", vocab, (clock_seconds() - began) * 1e3,
           "schema", "compile", "first", "mean", "p99", "most", "masks");
    json_array_foreach(cases, i, c)
        run_case(text.tokenizer, tokens, c, mask);
    free(mask);
    tokens_free(tokens);
    tokenizer_close(text.tokenizer);
    json_decref(cases);
    return 0;
}
