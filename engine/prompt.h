/* engine/prompt.h - a chat as the engine takes it: token ids with every image's
 * places, their positions, and the resized pixels. Made on the caller's thread,
 * read-only afterwards. */
#ifndef ENGINE_PROMPT_H
#define ENGINE_PROMPT_H
#include <stdatomic.h>

#include "base/budget.h"
#include "base/hash.h"
#include "engine/engine.h"
#include "engine/text.h"
#include "image/passes.h"
#include "model/model.h"

struct prompt_image {
    struct hash key;           /* of the pixels, their size and the plan */
    struct image_plan plan;
    struct pixels px;          /* owned: what the plan makes of it; with passes: as it was sent */
    struct pixels picture;     /* owned: it as it was sent, upright, where it is wanted and `px` are several views */
    struct passes *passes;     /* owned: how the device is to resize it; NULL: it has its size */
    int start, end;            /* its places in ids: the first, and the one behind the last; between them also what
                                  the model's format writes there */
    int *run;                  /* owned, (plan.runs): where each run of places begins; NULL: one run, from start on */
    struct image_info info;    /* of the file                         */
};

enum { PROMPT_TAIL = 32 };

struct prompt {
    atomic_int refs;           /* answers to the same prompt share it          */
    char tail[PROMPT_TAIL];    /* the last bytes of its text ...               */
    int  n_tail;               /* ... as many as there are                     */
    double decode_seconds, resize_seconds;     /* that its images took; resize: a part of the other */
    int32_t *ids;              /* owned, (n)                                   */
    int32_t *pos;              /* owned, (3, n); NULL: 0, 1, 2, ...            */
    int n;
    int next_pos;              /* of the first token of the answer             */
    struct image_range *sees;  /* owned, (n): images that cross-attention sees from each token; NULL: none from any */
    struct image_range next_sees;  /* likewise from every token of the answer      */
    bool looks_ahead;          /* a token sees images that come after it: none can be computed before all are encoded */
    struct prompt_image *images;   /* owned */
    int n_images;
    bool spans;                /* the model's image_spans                      */
    bool whole;                /* the model's prompts_whole                    */
    int n_gone;                /* images of the request before these, of which nothing was left */
    struct budget *pixels;         /* borrowed: what the images' pixels were taken from ... */
    size_t n_pixels;               /* ... and how many bytes they are; 0: none yet          */
};

/* The tokens that see each other both ways, of which `token` of the prompt or the answer is one: its run of an image's
 * places; the whole prompt, where the model reads prompts so; or itself alone. They are computed in one step. */
struct token_span { int first, end; };
struct token_span prompt_span(const struct prompt *p, int token);
/* The first token that `token` sees where it has a window of so many, itself the last: all that it sees both ways are
 * seen through any window. */
int prompt_sees_from(const struct prompt *p, int token, int window);

static inline struct image_range prompt_sees(const struct prompt *p, int token)    /* of the prompt or the answer */
{
    if (token >= p->n)
        return p->next_sees;
    return p->sees ? p->sees[token] : (struct image_range){ 0 };
}

struct prompt_limits {
    struct budget *decoding;       /* borrowed: bytes that all threads together may use for decoding */
    struct budget *pixels;         /* borrowed: likewise for what it makes, until the request ends */
    struct image_limits upload;
    struct image_options image;    /* the server's */
    int max_images, max_len;       /* tokens of the prompt: one must be left for the answer */
    int max_image_tokens;          /* of one image: more were not planned for */
    size_t max_plan_bytes;         /* likewise of RGB; 0: any */
    int    max_together;           /* likewise of patches that are encoded at one time; 0: any */
    int pad;                       /* the token that fills up texts where the model wants that */
    size_t device_resize;          /* bytes that the device has for resizing an image; 0: it does not */
};

/* Bytes of its pixels. */
size_t prompt_image_bytes(const struct prompt_image *image);

struct prompt_stats { int decoded; double decode_seconds; };

struct prompt *prompt_from_chat(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const struct chat *chat, struct prompt_stats *stats, struct err *e);
struct prompt *prompt_from_text(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const char *text, size_t n, bool special, int keep_tokens, struct err *e);
struct prompt *prompt_from_pair(const struct model *m, const struct text *t, const struct prompt_limits *limits,
                                const char *a, size_t n_a, const char *b, size_t n_b, bool special, int keep_tokens,
                                struct err *e);
struct prompt *prompt_from_places(const struct model *m, const struct prompt_limits *limits, const int32_t *ids,
                                  size_t n, const struct chat *images, struct prompt_stats *stats, struct err *e);
struct prompt *prompt_from_ids(const struct model *m, const struct prompt_limits *limits, const struct ids *ids,
                               int keep_tokens, struct err *e);

#endif
