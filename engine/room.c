#include "engine/room.h"

#include "kernels/machine.h"

size_t room_margin(size_t machine)
{
    const size_t least = (size_t)64 << 20;
    return machine / 64 > least ? machine / 64 : least;
}

size_t room_free(const struct room *r) { return r->free ? r->free(r->arg) : machine_free(); }

bool room_take(struct room *r, size_t n)
{
    size_t own = machine_own(), other = own > r->taken ? own - r->taken : 0;
    size_t due = r->promised > other ? r->promised - other : 0;
    if (n + due + r->margin > room_free(r))
        return false;
    r->taken += n;
    return true;
}
