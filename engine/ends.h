/* engine/ends.h - the tokens that end every answer of a model: those of
 * generation_config.json (or config.json), the tokenizer's own end, and what
 * the chat template writes right after an assistant's answer.
 *
 * The lists of published checkpoints do not always hold all of them, and a
 * model that has said <|im_end|> goes on with somebody else's turn. */
#ifndef ENGINE_ENDS_H
#define ENGINE_ENDS_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/text.h"
#include "model/model.h"

enum { ENDS_MAX = MODEL_MAX_EOS + 8 };

struct ends {
    int     n;
    int32_t id[ENDS_MAX];
};

/* Asks the template by rendering short chats: once, at the start. */
void ends_find(struct ends *e, const struct model *m, const struct text *t);

/* Adds an id to a list of *n that has room, unless it is there. */
void ends_add(int32_t *list, int *n, int32_t id);
bool ends_hold(const int32_t *list, int n, int32_t id);

#endif
