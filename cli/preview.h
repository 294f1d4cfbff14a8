/* cli/preview.h - a small copy of a picture on the terminal, where the terminal can show one.
 *
 * The protocol of kitty's graphics (also Ghostty, WezTerm) is used where the environment names such a terminal and it
 * answers that it can; sixels where the terminal says that it has them. One that says neither is sent nothing. */
#ifndef CLI_PREVIEW_H
#define CLI_PREVIEW_H
#include "image/image.h"

enum preview { PREVIEW_OFF, PREVIEW_KITTY, PREVIEW_SIXEL };

/* --preview: "auto" asks the terminal, the others are taken at their word. */
enum preview preview_choose(const char *option);

/* Shows the picture in a file that was read. What cannot be decoded is not shown: the model will say why. */
void preview_show(enum preview how, const void *file, size_t n);

/* The bytes for the terminal, for tests. */
int preview_write(enum preview how, const struct pixels *p, struct buf *out, struct err *e);

#endif
