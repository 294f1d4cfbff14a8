/* engine/room.h - is there memory for more pages of the KV cache?
 *
 * The plan says how much there may ever be; whether the machine has it is asked
 * when it is about to be taken, so that the answer is "no page is free" and not
 * the end of the process. What else the model will need and was not taken yet
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
    size_t taken;                  /* bytes behind pages so far                */
};

size_t room_margin(size_t machine);            /* for a machine of so many bytes */
size_t room_free(const struct room *r);        /* what the machine could give, promises and margin not counted */
bool   room_take(struct room *r, size_t n);    /* true: n bytes may be taken, and count as taken from now on */

#endif
