/* engine/plan.h - everything that will be allocated, as numbers, before any of
 * it is. The engine opens with exactly these sizes. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H
#include "engine/engine.h"
#include "engine/runner.h"

struct setup {                     /* what was asked for, a number where an option left the choice, and what follows */
    struct engine_config  config;  /* its strings are borrowed */
    struct runner_sizes   sizes;
    struct engine_plan    plan;
    size_t device_resize;          /* bytes for resizing one on the device; 0: the host does it */
};

struct memory {            /* bytes; where the host computes, device and host are both its own */
    size_t device, host;   /* that there are                                                   */
    size_t free;           /* of the host's, that others have not taken; 0: all of it          */
};

/* The type of --kv-cache-dtype, which is not `auto`. -1: no cache has numbers of such a type. */
int kv_option(const struct engine_config *o, enum dtype *out, struct err *e);

/* Of the weights that products read: prepared ones stay what they are, others become what --weights says. */
const char *weights_name(const struct engine_config *o, const struct model *m);

/* m may be dry. */
int setup_make(struct setup *s, const struct engine_options *opt, const struct model *m, const struct memory *memory,
               struct err *e);

/* One line with the numbers of a plan that does not fit. */
void setup_refusal(const struct setup *s, struct err *e);

#endif
