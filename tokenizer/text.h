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
#include "base/err.h"
#include "base/origin.h"

/* A stretch of a text that the model, or the next stage, sees on its own. */
struct piece {
    uint32_t at, len; /* its bytes in the text                       */
    uint32_t head;    /* leading bytes that stand for the original's first character */
    int32_t  id;      /* it is this added token; -1: ordinary text   */
    bool     origin;  /* it was cut off where the original text starts */
};

/* What all stages together may do with one text. Every stage of a checkpoint may make a text longer, and sixty of them
 * make it grow without bound; what is derived here from the text's length suffices for any that somebody has trained
 * with. */
struct effort {
    size_t stage;   /* bytes that one stage may make         */
    size_t left;    /* bytes that may still be read and made */
};

/* The effort for a text of n bytes. `spare`: what a stage may add to an empty text. */
struct effort effort_for(size_t n, size_t spare);

/* Takes n bytes of work from what is left. Returns false where there is not so much left, and from then on always. */
bool effort_spend(struct effort *e, size_t n);

/* Says in e that the effort is used up, and returns -1. */
int effort_error(struct err *e);

/* A text and its pieces. Bytes that belong to no piece are not part of it any more. */
struct text {
    struct effort *effort;   /* borrowed, shared by all texts of one run */
    struct buf    bytes;
    struct buf    from;   /* enum origin of every byte, as long as bytes; empty unless traced */
    bool          traced; /* origins are kept */
    struct piece *piece;  /* owned, (n) */
    size_t        n, cap;
};

/* Longest text that a stage may make; offsets have 32 bits. */
enum { TEXT_MAX = 0x7fffffff };

/* Makes an empty text, which shares the effort with others. text_clear() empties it and keeps its memory. */
void text_begin(struct text *t, struct effort *effort);
void text_free(struct text *t);
void text_clear(struct text *t);
int  text_add_piece(struct text *t, struct piece p); /* -1: memory out */
/* The pieces that were collected in spare become those of t, whose bytes stay. The old ones' memory goes to spare, to
 * be used again. */
void text_take_pieces(struct text *t, struct text *spare);

/* Says in e why a stage failed that made t: it ran out of memory, or of effort. Returns -1. */
int text_error(const struct text *t, struct err *e);

/* The part from..to of piece p, as a piece of its own. */
struct piece piece_cut(const struct piece *p, uint32_t from, uint32_t to);

/* The state while one piece of text is rewritten, character by character, keeping `head`: `out` gets what the calls
 * add, and rewrite_end() makes it a piece. */
struct rewrite {
    const char  *in;    /* borrowed: the piece's bytes */
    const uint8_t *from;   /* borrowed: the origins of these; NULL: nobody asks */
    size_t       n;
    size_t       head;  /* of the input                */
    bool         origin;
    struct text *out;   /* borrowed: gets the new bytes */
    size_t       start; /* of the piece in out         */
    size_t       out_head;
};

struct rewrite rewrite_begin(const char *in, const uint8_t *from, const struct piece *p, struct text *out);

/* Adds bytes that stand for what the input's byte `from` stands for.
 * from = REWRITE_START: inserted in front of everything. */
#define REWRITE_START SIZE_MAX
void rewrite_add(struct rewrite *w, const char *s, size_t n, size_t from);
/* The same for bytes that stand for what the bytes [at, end) of the input stand for together. */
void rewrite_for(struct rewrite *w, const char *s, size_t n, size_t at, size_t end);
void rewrite_char(struct rewrite *w, uint32_t cp, size_t from);
void rewrite_copy(struct rewrite *w, size_t from, size_t to); /* input bytes as they are */

/* The new piece (not yet added to out): `id` is -1 and `origin` that of the input. Where the effort is at its end,
 * out's bytes have failed. */
struct piece rewrite_end(struct rewrite *w);

#endif
