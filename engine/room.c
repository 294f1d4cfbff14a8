/* engine/room.c - see room.h. What is promised but not used yet must stay free for whom it was promised to: of it, what
 * this process holds beyond the pages counts as used. */
#include "engine/room.h"

#include "kernels/machine.h"

/* A part of the machine for everybody else, and on small machines not less than what the C library may want at once. */
size_t room_margin(size_t machine)
{
    const size_t least = (size_t)64 << 20;
    return machine / 64 > least ? machine / 64 : least;
}

size_t room_free(const struct room *r) { return r->free ? r->free(r->arg) : machine_free(); }

/* Nothing is taken here: the caller may use the bytes now, and they count as his from now on. */
bool room_take(struct room *r, size_t n)
{
    size_t own = machine_own(), other = own > r->taken ? own - r->taken : 0;
    size_t due = r->promised > other ? r->promised - other : 0;
    if (n + due + r->margin > room_free(r))
        return false;
    r->taken += n;
    return true;
}
