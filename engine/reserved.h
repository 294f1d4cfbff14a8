/* engine/reserved.h - which added tokens build a chat, and so count only where
 * the template wrote them.
 *
 *   structure   what the checkpoint names (bos, eos and the like, image and video tokens, every ..._token_id of
 *               config.json and generation_config.json) and what its templates write: in nobody's text
 *   tags        of what the templates write, pairs <x> and </x> (think, tool_call, tool_response): they mark up what is
 *               within a turn, come back with the model's own answers, and prompts explain answers by them. In the text
 *               of a request they stay tokens, in what tools and documents say they are text
 *   the rest    <|box_start|>, <grounding>, <loc0001>: a token wherever it stands
 *
 * Words and white space that somebody added to the vocabulary are never
 * structure: what is reserved has brackets or the like around it. */
#ifndef ENGINE_RESERVED_H
#define ENGINE_RESERVED_H
#include "engine/chat_templates.h"
#include "tokenizer/tokenizer.h"

/* Reserves these tokens in t. `dir`: of config.json and generation_config.json; image_token, image_mark: the model's,
 * -1 where there are none. */
void reserve_structure(struct tokenizer *t, const struct chat_templates *c, const char *dir, int image_token,
                       int image_mark);

#endif
