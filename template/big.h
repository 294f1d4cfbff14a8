/* template/big.h - integers beyond 64 bits, as Python's: a tool's
 * schema has them as limits. Arithmetic is the plainest there is; it serves
 * correctness, not speed.
 *
 * A value that fits 64 bits is always V_INT; V_BIG is what does not. A result of
 * more than about 4300 digits, which Python would not print either, ends the
 * rendering. */
#ifndef TEMPLATE_BIG_H
#define TEMPLATE_BIG_H
#include "template/value.h"

enum { BIG_MAX = 448 };    /* limbs */

struct big_int {
    bool     negative;
    uint32_t n;            /* of limb, the last of which is not zero */
    uint32_t limb[];       /* (n) the least significant first        */
};

/* One while it is computed with. */
struct big {
    bool     negative;
    uint32_t n;
    uint32_t limb[BIG_MAX];
};

/* Digits of a base up to 36, nothing between. false: more than fit. */
bool big_parse(struct big *out, const char *digits, size_t n, int base, bool negative);

/* b as a value, of the arena. false: the arena is at its end. */
bool big_keep(struct arena *a, const struct big *b, struct value *out);

/* What these make is an integer again; both ends the rendering where it is too large. */
/* op: enum token_kind, but T_DIV */
struct value tpl_big_binary(struct render *r, int op, struct value a, struct value b);
struct value tpl_big_negate(struct render *r, struct value v);
struct value tpl_big_parse(struct render *r, const char *digits, size_t n, int base, bool negative);
struct value tpl_big_from_double(struct render *r, double f);   /* its whole part; f is finite */

int    big_order(struct value a, struct value b);               /* of integers: -1, 0, 1 */
int    big_order_double(struct value big, double f);            /* f is no nan           */
double big_to_double(const struct big_int *b);                  /* rounded once; inf where it is too large */
size_t big_bits(const struct big_int *b);

/* The digits, without a sign. */
struct str *tpl_big_digits(struct render *r, const struct big_int *b, int base, bool capitals);

#endif
