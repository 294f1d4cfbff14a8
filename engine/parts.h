/* engine/parts.h - the engine from within: what opening.c, engine.c and submit.c
 * share, and nobody else.
 *
 * opening.c fills and frees it. Its own thread (engine.c) owns the last part of
 * it alone. The threads that submit requests (submit.c) read what is constant
 * and touch what is shared, under the locks that are named there. */
#ifndef ENGINE_PARTS_H
#define ENGINE_PARTS_H
#include <pthread.h>
#include <stdio.h>

#include "base/budget.h"
#include "base/buf.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/pace.h"
#include "engine/plan.h"
#include "engine/prompt.h"
#include "engine/request.h"
#include "engine/room.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/stats.h"
#include "engine/text.h"

struct late {                  /* a token whose text is still to be told */
    struct request *r;         /* borrowed; NULL: it has ended meanwhile */
    struct sampled  s;
};

struct engine {
    /* constant after opening */
    struct setup   setup;
    char          *model_dir;          /* owned */
    struct device *device;             /* owned */
    struct model  *model;              /* owned */
    struct text    text;
    struct ends    ends;
    struct prompt_limits limits;
    struct pooling_choice pooling;
    FILE          *trace;              /* owned; NULL: none */
    pthread_t      thread;
    struct budget  decoding;           /* bytes for uploads while they become pixels ... */
    struct budget  pixels;             /* ... and for these, until their requests end; see plan.c */
    pthread_mutex_t tokens_lock;       /* for the first one who needs them          */
    struct tokens *tokens;             /* owned: the vocabulary for grammars; NULL: nobody has needed it yet */
    struct tally  *answers;            /* borrowed; what waits to be taken; NULL: nobody counts */

    /* shared */
    struct engine_wake wake;           /* its lock also covers the three below */
    struct request *inbox, *inbox_last;
    int  n_queued;                     /* inbox and waiting list               */
    bool stopping;
    uint64_t next_number;
    struct stats stats;

    /* the engine thread's */
    struct runner    runner;
    struct text_cache {
        struct engine *g;              /* whose it is                          */
        struct pages   pages;          /* of model_text_cache(); none where that is not there */
    } cache[TEXT_CACHES];
    struct room      room;
    struct images    images;
    struct scheduler sched;
    struct step      step;
    struct step      between;          /* of single tokens, while an image is encoded */
    struct pace      pace;
    double           last_step;        /* when it ended                               */
    double           last_part;        /* when `between` could have run last          */
    double           part_seconds;     /* between two such moments of this image: the longest of late */
    const char      *between_failed;   /* what the device said, or NULL               */
    struct sampled  *sampled;          /* owned, (max_out) */
    struct late     *late;             /* owned, (max_out) */
    int              n_late;
    struct buf       delta;
};

void *engine_main(void *engine);       /* what its thread does until `stopping` */

#endif
