/* engine/masks.h - the tokens that a step may draw where requests have grammars.
 *
 * The masks depend on the tokens before, so they are made when the step's forward pass is under way: on a device that
 * computes by itself they cost nothing, unless they take longer than it does. A request whose grammar knows no next
 * token, or not in reasonable time, is marked `stuck`: it draws anything, and ends. */
#ifndef ENGINE_MASKS_H
#define ENGINE_MASKS_H
#include <stddef.h>
#include <stdint.h>

#include "engine/scheduler.h"
#include "engine/text.h"
#include "grammar/tokens.h"

/* Takes from the bits of the step's rows (rows, tokens_mask_words(vocab)) what grammars do not allow. Ends are allowed
 * exactly where the grammar may end, and nothing else where it must. */
void masks_fill(const struct step *step, uint32_t *allowed, int vocab);

/* The vocabulary of a model as grammars see it. NULL: memory, or its tokens have no text of their own (400). */
struct tokens *masks_tokens(const struct text *t, int vocab, struct err *e);

#endif
