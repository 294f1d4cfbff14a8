/* server/inputs.h - what a request wants vectors of: texts, lists of token ids,
 * contents of text and images. */
#ifndef SERVER_INPUTS_H
#define SERVER_INPUTS_H
#include <jansson.h>

#include "server/app.h"

enum { INPUTS_MAX = 2048 };

struct inputs {
    struct app      *app;      /* borrowed                                             */
    struct engine   *engine;   /* borrowed                                             */
    struct exchange *x;        /* borrowed                                             */
    const json_t    *common;   /* borrowed: the request, whose fields hold for every chat that an input becomes */
    struct item     *item;     /* owned, (n)                                           */
    int   n;
    int   n_chats;             /* of these, contents and chats: made when their turn comes, one at a time */
    bool  special;             /* the tokenizer adds its own tokens to texts           */
    int   keep_tokens;         /* as in struct chat                                    */
    int   tokens;              /* of the prompts that were made so far                 */
};

/* Reads add_special_tokens and truncate_prompt_tokens. inputs_free() in any case. */
int  inputs_init(struct inputs *q, struct app *a, struct engine *g, struct exchange *x, const json_t *common,
                 struct err *e);
void inputs_free(struct inputs *q);
/* The end of a request for which rc was returned: -1 is answered with the error, or with nothing where e->text is empty
 * because the client is gone. Counts the tokens and frees the inputs. */
void inputs_end(struct inputs *q, struct app *a, struct exchange *x, int rc, struct err *e);

/* Adds one: a string, an array of token ids, a part ({"type": "text"} or {"type": "image_url"}), {"text": ...},
 * {"image": ...} or {"content": [parts]}. `at` is its path. Texts and ids become prompts at once; the JSON of the
 * others must live until their prompt was made. */
int  inputs_add(struct inputs *q, const json_t *v, const char *at, struct err *e);
/* Adds two texts that are read together, one behind the other. */
int  inputs_add_pair(struct inputs *q, const json_t *a, const char *at_a, const json_t *b, const char *at_b,
                     struct err *e);
/* Adds a whole chat, the messages of q->common. */
int  inputs_add_chat(struct inputs *q, struct err *e);

/* What the fields `input` (one, or a list) or `messages` of a request hold. */
int  inputs_add_all(struct inputs *q, const json_t *in, struct err *e);

/* For struct vectors: the i-th prompt, which becomes the caller's, and how many may be with the engine at once. */
struct prompt *inputs_make(struct inputs *q, int i, struct params *params, struct err *e);
int  inputs_window(const struct inputs *q);

#endif
