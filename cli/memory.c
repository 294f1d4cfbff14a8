/* cli/memory.c - how much all requests together may hold where no option says it: a share of the machine's memory, so
 * that small machines keep theirs for the model. */
#include "kernels/machine.h"
#include "cli/command.h"

/* A 32nd of the memory that may be used, at most 384 MiB, but always enough for one body of the largest size. */
void command_size_bodies(struct config *c)
{
    const size_t most = (size_t)384 << 20;
    size_t memory = c->engine.memory_bytes ? c->engine.memory_bytes : machine_memory();
    if (c->max_body_total)
        return;
    c->max_body_total = memory / 32 < most ? memory / 32 : most;
    if (c->max_body_total < c->max_body_bytes)
        c->max_body_total = c->max_body_bytes;
}
