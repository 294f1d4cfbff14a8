/* base/hash.c - SipHash-2-4 with a result of 128 bits, written from the paper. See hash.h for why it is keyed. */
#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sip { uint64_t v0, v1, v2, v3; };

static uint64_t rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }

/* n rounds of the permutation that the paper calls SipRound. */
static void rounds(struct sip *s, int n)
{
    while (n--) {
        s->v0 += s->v1; s->v1 = rotl(s->v1, 13); s->v1 ^= s->v0; s->v0 = rotl(s->v0, 32);
        s->v2 += s->v3; s->v3 = rotl(s->v3, 16); s->v3 ^= s->v2;
        s->v0 += s->v3; s->v3 = rotl(s->v3, 21); s->v3 ^= s->v0;
        s->v2 += s->v1; s->v1 = rotl(s->v1, 17); s->v1 ^= s->v2; s->v2 = rotl(s->v2, 32);
    }
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return x; /* little endian machines only, as everywhere in this project */
}

/* Mixes eight bytes of the text into the state: two rounds each, the "2" of 2-4. */
static void absorb(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    rounds(s, 2);
    s->v0 ^= m;
}

/* The last block holds the rest of the text and, in its highest byte, the length, so texts that differ in trailing
 * zeros differ. The constants 0xee and 0xdd are those of the variant with 128 bits. */
struct hash hash_keyed(const uint8_t key[16], const void *data, size_t n)
{
    uint64_t k0 = load64(key), k1 = load64(key + 8);
    struct sip s = { 0x736f6d6570736575ULL ^ k0, 0x646f72616e646f6dULL ^ k1 ^ 0xee,
                     0x6c7967656e657261ULL ^ k0, 0x7465646279746573ULL ^ k1 };
    const uint8_t *p = data;
    for (size_t i = 0; i + 8 <= n; i += 8)
        absorb(&s, load64(p + i));
    uint64_t last = (uint64_t)n << 56;
    for (size_t i = n & ~(size_t)7; i < n; i++)
        last |= (uint64_t)p[i] << 8 * (i & 7);
    absorb(&s, last);
    struct hash h;
    s.v2 ^= 0xee;
    rounds(&s, 4);
    h.lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    h.hi = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return h;
}

static uint8_t process_key[16];

/* Once for the life of the process. Without random bytes the caches would be open to collisions that a client has
 * prepared, so there is no fallback. */
static void draw_key(void)
{
    if (getrandom(process_key, sizeof process_key, 0) != (ssize_t)sizeof process_key)
        abort(); /* no kernel that we run on lacks it */
}

struct hash hash_bytes(const void *data, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, draw_key);
    return hash_keyed(process_key, data, n);
}

struct hash hash_chain(struct hash parent, const void *data, size_t n)
{
    struct hash two[2] = { parent, hash_bytes(data, n) };
    return hash_bytes(two, sizeof two);
}
