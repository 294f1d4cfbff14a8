/* tests/cusim/client.h - what a client of the engine does in these tests: sends a picture, waits for the answer. */
#ifndef TESTS_CUSIM_CLIENT_H
#define TESTS_CUSIM_CLIENT_H
#include <check.h>
#include <poll.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "image/image.h"

enum { MOST_TOKENS = 64 };

struct answer { int32_t id[MOST_TOKENS]; float lp[MOST_TOKENS]; int n; };

/* A picture as a PNG file; its memory is given back. */
static inline struct buf png_of(struct pixels *px)
{
    struct err e = { 0 };
    struct buf png;
    buf_init(&png, 1 << 26);
    ck_assert_int_eq(png_write(px, &png, &e), 0);
    pixels_free(px);
    return png;
}

/* The ids and logprobs of a request that asks for them, until its end, or until it has `most` tokens. */
static inline struct answer collect(struct request *r, int most)
{
    struct answer a = { .n = 0 };
    for (bool done = false; !done && a.n < most;) {
        struct event ev;
        struct pollfd fd = { request_fd(r), POLLIN, 0 };
        ck_assert_msg(poll(&fd, 1, 300000) > 0, "no event in five minutes");
        while (!done && request_next(r, &ev)) {
            ck_assert_msg(ev.kind != EVENT_ERROR, "%s", ev.err.text);
            for (int i = 0; i < ev.n_logprobs && a.n < MOST_TOKENS; i++) {
                a.id[a.n] = ev.logprobs[i].id;
                a.lp[a.n++] = ev.logprobs[i].logprob;
            }
            done = ev.kind == EVENT_END;
            event_free(&ev);
        }
    }
    return a;
}

#endif
