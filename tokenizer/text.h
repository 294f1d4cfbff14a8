/* tokenizer/text.h - text on its way to the model: bytes and the pieces they
 * are cut into.
 *
 * Every stage (added tokens, normalizers, pre-tokenizers) turns one struct text
 * into another. Cutting keeps the bytes and only makes more pieces; rewriting
 * makes new bytes. One thing about the original text must survive both: does a
 * piece start where the original text starts? (Metaspace's "first" asks.) The
 * reference keeps offsets for every byte; we keep `head`, the number of leading
 * bytes of a piece that stand for the original's first character. Of a chat a
 * second thing survives, until the added tokens are found: whose every byte is. */
#ifndef TOKENIZER_TEXT_H
#define TOKENIZER_TEXT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tokenizer/origin.h"

struct piece {
    uint32_t at, len; /* its bytes in the text                       */
    uint32_t head;    /* leading bytes that stand for the original's first character */
    int32_t  id;      /* it is this added token; -1: ordinary text   */
    bool     origin;  /* it was cut off where the original text starts */
};

struct text {
    struct buf    bytes;
    struct buf    from;   /* enum origin of every byte, as long as bytes; empty unless traced */
    bool          traced;
    struct piece *piece;  /* owned, (n) */
    size_t        n, cap;
};

/* Longest text that a stage may make; offsets have 32 bits. */
enum { TEXT_MAX = 0x7fffffff };

void text_begin(struct text *t);
void text_free(struct text *t);
void text_clear(struct text *t);
int  text_add_piece(struct text *t, struct piece p); /* -1: memory out */

/* The part from..to of piece p, as a piece of its own. */
struct piece piece_cut(const struct piece *p, uint32_t from, uint32_t to);

/* Rewrites one piece of text, character by character, keeping `head`:
 * `out` gets what the calls add, rewrite_end() makes it a piece. */
struct rewrite {
    const char  *in;    /* borrowed: the piece's bytes */
    const uint8_t *from;   /* borrowed: the origins of these; NULL: nobody asks */
    size_t       n;
    size_t       head;  /* of the input                */
    bool         origin;
    struct text *out;
    size_t       start; /* of the piece in out         */
    size_t       out_head;
};

struct rewrite rewrite_begin(const char *in, const uint8_t *from, const struct piece *p, struct text *out);

/* Adds bytes that stand for what the input's byte `from` stands for.
 * from = REWRITE_START: inserted in front of everything. */
#define REWRITE_START SIZE_MAX
void rewrite_add(struct rewrite *w, const char *s, size_t n, size_t from);
/* The same for what the bytes [at, end) stand for together. */
void rewrite_for(struct rewrite *w, const char *s, size_t n, size_t at, size_t end);
void rewrite_char(struct rewrite *w, uint32_t cp, size_t from);
void rewrite_copy(struct rewrite *w, size_t from, size_t to); /* input bytes as they are */

/* The new piece (not yet added to out): `id` is -1 and `origin` that of the input. */
struct piece rewrite_end(struct rewrite *w);

#endif
