/* output/grounding.h - answers of Kosmos-2 that say where in the image things are:
 *
 *     <phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>
 *
 * names the cells, of 32 x 32, of a box's upper left and lower right corner.
 * Several boxes stand between </delimiter_of_multi_objects/>, and an object may
 * come without a phrase. What is between < and > leaves the text, and the
 * phrases stay in it. Both are what the reference's post_process_generation()
 * makes of the same text, however that comes in pieces: a cell beyond 32 x 32,
 * which a model can only spell, lies in a row below the image. But there are two
 * limits: a cell from GROUNDING_MAX_CELL on makes no box, and tags and phrases
 * longer than GROUNDING_MAX are ordinary text. */
#ifndef OUTPUT_GROUNDING_H
#define OUTPUT_GROUNDING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define GROUNDING_MAX_CELL INT64_C(1000000000000)

enum { GROUNDING_MAX = 4096, GROUNDING_MAX_BOXES = 1024, GROUNDING_TAG = 64 };

struct grounding {
    struct buf held;           /* from a < on: a tag, if a > comes on the same line */
    struct buf blank;          /* white space that counts only if text follows      */
    bool begun;                /* there has been text                               */
    /* what has been read of a phrase and its boxes */
    enum { NOWHERE, IN_PHRASE, BEHIND_PHRASE, IN_OBJECT } state;
    char   tag[GROUNDING_TAG]; /* (n_tag) from the last < on; n_tag 0: there is none */
    size_t n_tag;
    struct buf phrase;         /* empty: the object has none                        */
    int64_t *cell;             /* owned, (2, GROUNDING_MAX_BOXES); NULL until one is needed. -1: too large a number */
    int   n_cells;
    int   run;                 /* cells since the last delimiter                    */
};

void grounding_init(struct grounding *g);
void grounding_free(struct grounding *g);
/* Appends to `text` what has become certain of it, and to `boxes` what an object that has ended gives: members of a
 * JSON array, {"phrase", "box": [x1, y1, x2, y2]}, of the image's width and height from 0 to 1. */
void grounding_add(struct grounding *g, const char *s, size_t n, struct buf *text, struct buf *boxes);
/* There is no more. */
void grounding_end(struct grounding *g, struct buf *text);
size_t grounding_bytes(const struct grounding *g);      /* that it holds */

#endif
