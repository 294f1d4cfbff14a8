/* base/nearest.c - how far two names are apart. See nearest.h.
 *
 * The distance counts letters that are missing, too many, wrong, or swapped with their neighbour (the restricted
 * distance of Damerau and Levenshtein). A name of several words is also near to one that has all of these words and
 * some more: --max-seqs is --max-num-seqs. */
#include "base/nearest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int least(int a, int b) { return a < b ? a : b; }

/* The distance of two names, of at most NEAREST_BYTES letters each. Only the last three rows of the table are needed,
 * so they take turns. */
static int distance(const char *a, const char *b)
{
    int row[3][NEAREST_BYTES + 1], n = (int)strlen(a), m = (int)strlen(b);
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return row[n % 3][m];
}

/* Does every word of `typed`, between dashes, occur as a word of `name`? */
static bool words_of(const char *typed, const char *name)
{
    for (const char *p = typed; *p; p += strspn(p, "-")) {
        size_t n = strcspn(p, "-");
        bool   found = false;
        for (const char *q = name; *q && !found; q += strspn(q, "-")) {
            size_t k = strcspn(q, "-");
            found = k == n && strncmp(p, q, n) == 0;
            q += k;
        }
        if (!found)
            return false;
        p += n;
    }
    return *typed;
}

/* Names are compared with `-`, however they were typed. Nothing is near to a word that is too long. */
void nearest_begin(struct nearest *n, const char *typed, size_t length)
{
    *n = (struct nearest){ .distance = NEAREST_BYTES };
    if (length >= NEAREST_BYTES)
        return;
    memcpy(n->typed, typed, length);
    for (char *p = n->typed; *p; p++)
        if (*p == '_')
            *p = '-';
}

/* A third of the letters may be wrong; in short words one. */
void nearest_offer(struct nearest *n, const char *name)
{
    int length = (int)strlen(n->typed);
    if (length < 2 || strlen(name) >= NEAREST_BYTES)
        return;
    int d = distance(n->typed, name), most = length / 3 > 1 ? length / 3 : 1;
    if (d > most && words_of(n->typed, name))
        d = most;
    if (d > most || d >= n->distance)
        return;
    n->distance = d;
    strcpy(n->best, name);
}
