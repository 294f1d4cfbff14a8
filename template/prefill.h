/* template/prefill.h - continue_final_message: the last message is a beginning
 * that the model goes on from. As in the reference, a mark is put behind it
 * before the chat is rendered, and the rendered text ends where the mark is. */
#ifndef TEMPLATE_PREFILL_H
#define TEMPLATE_PREFILL_H
#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

struct prefill {
    json_t *begun;         /* owned: the text that is to go on             */
    json_t *content;       /* borrowed: the string with the mark behind it */
};

/* Puts the mark behind the text of the last message, in a copy of that message. -1: it is no assistant's, or has no
 * text. */
int  prefill_mark(struct prefill *p, json_t *messages, struct err *e);
/* Shortens the rendered text to where the mark is. -1: the template did not write the message as it is. */
int  prefill_cut(const struct prefill *p, const char *text, size_t *n, struct err *e);
void prefill_free(struct prefill *p);

#endif
