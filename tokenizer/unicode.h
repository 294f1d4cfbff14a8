/* tokenizer/unicode.h - what the reference takes a code point for, and the
 * normal forms. The only user of utf8proc. */
#ifndef TOKENIZER_UNICODE_H
#define TOKENIZER_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

bool unicode_space(uint32_t c);       /* White_Space                                        */
bool unicode_word(uint32_t c);        /* \w of the reference's plain regular expressions     */
bool unicode_punctuation(uint32_t c); /* ASCII punctuation and the categories P*             */
bool unicode_numeric(uint32_t c);     /* Nd, Nl, No                                          */
bool unicode_mark(uint32_t c);        /* Mn, Mc, Me, as StripAccents strips them             */
int  unicode_script(uint32_t c);      /* of UnicodeScripts: equal numbers stay together; 0: any */

/* Lower case of one character: 1 or 2 characters. */
int unicode_lower(uint32_t c, uint32_t out[2]);

enum normal_form { NFC, NFD, NFKC, NFKD };

/* Appends the normal form of s (valid UTF-8). Linear but for the sorting of combining marks, n log n. Unless it is
 * NULL, made(arg, from, to) is called each time the bytes [from, to) of s have been appended. Returns -1 when the
 * memory runs out or `out` is full. */
int unicode_normalize(enum normal_form form, const char *s, size_t n, struct buf *out,
                      void (*made)(void *arg, size_t from, size_t to), void *arg);

/* Length of the extended grapheme cluster at the start of s (n > 0). */
size_t unicode_grapheme(const char *s, size_t n);

/* The code points that a regular expression's \p{name} matches in the
 * reference's Unicode, but not in that of an old PCRE2. NULL: none. */
struct range { uint32_t first, last; };
const struct range *unicode_property_new(const char *name, size_t *count);

#endif
