/* engine/text.h - what a checkpoint directory says about text: its tokenizer,
 * its chat template, and in which form that template wants a message's content.
 * Read-only after opening; any thread. */
#ifndef ENGINE_TEXT_H
#define ENGINE_TEXT_H
#include <stdbool.h>

#include "engine/chat_templates.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

struct text {
    struct tokenizer *tokenizer;   /* owned */
    struct chat_templates templates;   /* none: chat is refused, completions work */
    bool  content_parts;           /* it knows lists of parts alone, and would lose a string */
    bool  content_string;          /* the template wants a string: image placeholders first, one a line */
    char *image_mark;              /* owned; what a template writes for an image; NULL: takes no images */
    char *image_place;             /* owned; text of one place of an image; likewise                    */
    bool  trust_special_tokens;    /* tokens that build a chat count in everybody's text, as in the reference */
};

struct rendering {                 /* of a chat */
    char    *text;                 /* owned, (n): may hold NULs */
    size_t   n;
    uint8_t *from;                 /* owned, (n): whose it is, an enum origin; NULL: everybody is trusted */
};

/* template_file replaces the checkpoint's template (NULL: its own); format: "auto", "string" or "openai".
 * image_token, image_mark: the model's, -1 where it takes no images. */
int  text_open(struct text *t, const char *dir, const char *template_file, const char *format, int image_token,
               int image_mark, struct err *e);
void text_close(struct text *t);

/* Renders the chat. -1: status 400. */
int  text_render(const struct text *t, const struct chat *chat, struct rendering *out, struct err *e);
void rendering_free(struct rendering *r);

#endif
