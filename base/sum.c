/* base/sum.c - see sum.h.
 *
 * Four lanes take a word each in turn; a step of a lane can be undone, so that one word that differs always changes the
 * result. What is left of the text, filled up with zeros, and its length are taken last. docs/quantisation.md has the
 * same in words, as stored files hold these sums. */
#include "base/sum.h"

#include <string.h>

enum { LANES = 4, STEP = LANES * 8 };

static uint64_t take(uint64_t lane, uint64_t word)
{
    lane ^= word;
    return (lane << 29 | lane >> 35) * 0x9e3779b97f4a7c15u;
}

static void take_step(uint64_t lane[LANES], const uint8_t *p)
{
    for (int i = 0; i < LANES; i++) {
        uint64_t word;
        memcpy(&word, p + 8 * i, sizeof word);
        lane[i] = take(lane[i], word);
    }
}

/* The sum is part of a file format, so it must never change. Reads eight bytes at a time in this machine's order, which
 * is little-endian wherever this runs. */
uint64_t sum_bytes(const void *data, size_t n)
{
    uint64_t lane[LANES] = { 1, 2, 3, 4 }, sum = n;
    const uint8_t *p = data;
    uint8_t last[STEP] = { 0 };
    size_t at = 0;
    for (; at + STEP <= n; at += STEP)
        take_step(lane, p + at);
    if (at < n) {
        memcpy(last, p + at, n - at);
        take_step(lane, last);
    }
    for (int i = 0; i < LANES; i++)
        sum = take(sum, lane[i]);
    return sum ^ sum >> 32;
}
