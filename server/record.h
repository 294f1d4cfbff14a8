/* server/record.h - the line of the log that every request leaves behind: who asked for what, what it cost, and how it
 * ended. Never what was said. */
#ifndef SERVER_RECORD_H
#define SERVER_RECORD_H
#include <stdbool.h>

#include "engine/engine.h"

struct exchange;

struct record {                /* of an exchange, filled as it goes */
    bool generated;            /* there was a generation: what follows counts                */
    char answer[64];           /* the id of its answer: "chatcmpl-..."                       */
    int  prompt, cached, image, completion;        /* tokens of all prompts and answers      */
    struct timings time;
    const char *finish;        /* static: why the (first) answer ended; NULL: it has not     */
    char error[48];            /* the code of the error that was answered; ""                */
};

/* Probes, scrapes and the page's own files are told at LOG_DEBUG alone: they come every second and say nothing. */
void record_log(const struct exchange *x, bool probe);

#endif
