/* server/choice.h - one of the answers to a request, as it comes from the engine:
 * its text taken apart, its log probabilities and token ids, as far as they were
 * not sent, and how it ended. */
#ifndef SERVER_CHOICE_H
#define SERVER_CHOICE_H
#include "engine/engine.h"
#include "output/output.h"
#include "server/logprobs.h"
#include "server/thoughts.h"

struct choice {
    int    index;
    int32_t first_id;              /* the prompt's first token                        */
    struct request *request;       /* owned; NULL before the submission              */
    struct output output;          /* what its text becomes, as far as it was not sent */
    struct answer_logprobs probs;  /* likewise                                        */
    struct buf prompt_probs;       /* those of the prompt, if asked for: JSON, without brackets */
    struct buf ids;                /* likewise: token ids, with commas between them   */
    struct timings time;           /* so far                                          */
    int    tokens;                 /* of the answer so far                            */
    struct thought_tokens thoughts;    /* how many of them are thoughts, where these are told apart */
    struct answer_logprobs *echoed;    /* borrowed, shared by several answers to one prompt: the log probabilities of
                                          the prompt, with which each of them begins; NULL: there is one answer */
    bool   leads;                  /* the engine tells them with this one of the answers */
    bool   echo_awaited;           /* they are to be echoed and have not come yet: nothing is told before */
    struct event end;              /* the last event, once `ended`                    */
    bool   ended;                  /* the engine has nothing more to say              */
    bool   role_sent, end_sent;    /* of a stream: the chunks with the role, with the reason why it ended */
};

/* What of an answer was asked for, beside its text. */
struct choice_wants {
    bool logprobs, ids, prompt_logprobs, chat;
    bool prompt_only;          /* the answer itself is not told                       */
};

/* Without a request as yet. -1: memory is out. choice_free() in any case: it cancels what still runs. */
int  choice_init(struct choice *c, int index, const struct output_options *options, struct err *e);
void choice_free(struct choice *c);

/* Takes all events that wait. Returns how many there were. */
int  choice_take(struct choice *c, const struct engine *g, const struct choice_wants *wants);

bool   choice_has_news(const struct choice *c);        /* is there anything to be sent */
size_t choice_bytes(const struct choice *c);           /* that it holds                */
void   choice_sent(struct choice *c);                  /* forgets what was to be sent  */
void   choice_fail(struct choice *c, const struct err *why);   /* ends with this error, and forgets all the rest */

/* The error that ended it, or NULL if it is still going or ended well. Cancelled counts as "shutting down": this is
 * never asked after the client has gone. An answer that did not fit or had no memory is a failure, too, even if the
 * engine was content. */
const struct err *choice_failure(const struct choice *c, struct err *room);

#endif
