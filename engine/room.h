/* engine/room.h - is there memory for more pages of the KV cache?
 *
 * The plan says how much there may ever be; whether the machine has it is asked
 * before a page is handed out, so that the answer is "no page is free" and not
 * the end of the process. It is put behind pages a few at a time, when they are
 * needed. What else the model will need and was not taken yet
 * (weights that are still in their file, scratch, encoded images) stays out of
 * it, and a margin for everybody else. Owned by the engine thread. */
#ifndef ENGINE_ROOM_H
#define ENGINE_ROOM_H
#include <stdbool.h>
#include <stddef.h>

struct room {
    size_t (*free)(void *arg);     /* bytes that the machine could give now; NULL: kernels/machine.h says it */
    void  *arg;                    /* borrowed */
    size_t promised;               /* bytes of the plan that are for this alone */
    size_t margin;                 /* bytes that are left to others            */
    size_t taken;                  /* bytes for the pages that there are ...   */
    size_t filled;                 /* ... of which this process has got so many */
};

size_t room_margin(size_t machine);            /* for a machine of so many bytes */
size_t room_free(const struct room *r);        /* what the machine could give, promises and margin not counted */
bool   room_take(struct room *r, size_t n);    /* true: n bytes are for more pages, and count as taken from now on */
void   room_fill(struct room *r, size_t n);    /* so many of these are about to be used for the first time */

#endif
