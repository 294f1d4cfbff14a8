/* grammar/encode.h - code points as bytes: the edges of an automaton over bytes that one code point of a set leads
 * through. In JSON strings a code point may also be written as an escape; those of printable ASCII only where they must
 * be, so that an answer has few ways to say one thing. */
#ifndef GRAMMAR_ENCODE_H
#define GRAMMAR_ENCODE_H
#include "grammar/build.h"
#include "grammar/dfa.h"

/* Ranges are joined. Surrogates are no code points: they are left out. */
void encode_class(struct nfa *a, int32_t from, int32_t to, const struct range *r, size_t n, enum writing w);

#endif
