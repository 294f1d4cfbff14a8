/* engine/room.c - see room.h. What is promised but not used yet must stay free for whom it was promised to: of it, what
 * this process holds beyond the pages counts as used. What was taken and is not behind pages yet is missing in what the
 * process holds and still counts as free in the machine: it is added to what must stay free. */
#include "engine/room.h"

#include "kernels/machine.h"

/* A part of the machine for everybody else, and on small machines not less than what the C library may want at once. */
size_t room_margin(size_t machine)
{
    const size_t least = (size_t)64 << 20;
    return machine / 64 > least ? machine / 64 : least;
}

size_t room_free(const struct room *r) { return r->free ? r->free(r->arg) : machine_free(); }

/* Nothing is touched here: the caller may use the bytes now or later, and they count as his from now on. */
bool room_take(struct room *r, size_t n)
{
    size_t own = machine_own(), other = own > r->filled ? own - r->filled : 0, ahead = r->taken - r->filled;
    size_t due = r->promised > other ? r->promised - other : 0;
    if (n + ahead + due + r->margin > room_free(r))
        return false;
    r->taken += n;
    return true;
}

void room_fill(struct room *r, size_t n) { r->filled += n; }
