/* Speed of the tokenizer on one thread:
 *
 *     build/tests/bench/tokenizer_bench DIR FILE
 *
 * loads DIR/tokenizer.json and encodes FILE, whole and line by line, both with
 * the words in the cache that the round before left there. One JSON line of
 * processor seconds, the best of ROUNDS; tokenizer_bench.py sets the reference
 * library's beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "tokenizer/tokenizer.h"

enum { ROUNDS = 5 };

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) < 0)
        return NULL;
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = xmalloc(*n + 1);
    *n = fread(text, 1, *n, f);
    fclose(f);
    return text;
}

/* Encodes the text, whole or line by line; returns the number of ids. */
static size_t encode(const struct tokenizer *t, const char *text, size_t n, bool lines)
{
    struct ids ids = { 0 };
    struct err e = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        const char *end = lines ? memchr(text + i, '\n', n - i) : NULL;
        size_t len = end ? (size_t)(end - text) + 1 - i : n - i;
        ids.n = 0;
        if (tokenizer_encode(t, text + i, len, false, &ids, &e) < 0) {
            fprintf(stderr, "%s\n", e.text);
            exit(1);
        }
        count += ids.n;
        i += len;
    }
    ids_free(&ids);
    return count;
}

static double best(const struct tokenizer *t, const char *text, size_t n, bool lines, size_t *count)
{
    double least = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double start = seconds();
        *count = encode(t, text, n, lines);
        double took = seconds() - start;
        least = took < least ? took : least;
    }
    return least;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    size_t n = 0, ids, line_ids;
    char *text = argc == 3 ? read_file(argv[2], &n) : NULL;
    if (!text) {
        fprintf(stderr, "usage: tokenizer_bench DIR FILE\n");
        return 2;
    }
    double start = seconds();
    struct tokenizer *t = tokenizer_open(argv[1], &e);
    if (!t) {
        fprintf(stderr, "%s\n", e.text);
        return 2;
    }
    double load = seconds() - start;
    double whole = best(t, text, n, false, &ids), lines = best(t, text, n, true, &line_ids);
    printf("{\"bytes\": %zu, \"load\": %.4f, \"whole\": %.5f, \"ids\": %zu, \"lines\": %.5f, \"line_ids\": %zu}\n", n,
           load, whole, ids, lines, line_ids);
    tokenizer_close(t);
    free(text);
    return 0;
}
