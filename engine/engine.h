/* engine/engine.h - all that the server knows of models: give it a chat, get
 * events back.
 *
 *     struct engine *g = engine_open(&opt, &e);
 *     struct prompt *p = engine_prompt(g, &chat, &e);        // caller's thread: template, tokens, images
 *     struct request *r = engine_submit(g, p, &params, &e);  // the prompt becomes the engine's, also on failure
 *     for (;;) {
 *         poll(request_fd(r));                                // readable while events wait
 *         while (request_next(r, &ev)) { ...; if (ev.kind != EVENT_DELTA) done; event_free(&ev); }
 *     }
 *     request_free(r);                                        // cancels what still runs
 *     engine_close(g);
 *
 * Every function may be called from any thread; a request and a prompt belong
 * to one thread at a time. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/options.h"

struct engine;
struct grammar;
struct prompt;
struct request;

enum { ENGINE_MAX_STOP = 16, ENGINE_MAX_STOP_BYTES = 4096, ENGINE_MAX_STOP_IDS = 64, ENGINE_MAX_TOP_LOGPROBS = 20,
       ENGINE_MAX_BIAS = 1024, ENGINE_MAX_BAD_WORDS = 64, ENGINE_MAX_SHOWN = 16, ENGINE_LATENCY_BUCKETS = 20 };

struct engine_options {
    struct engine_config config;  /* the user's; its strings are borrowed until engine_open() returns        */
    /* What the program around the engine adds; {0}: nothing */
    size_t request_bytes;      /* that the caller takes beside the engine, for requests and answers              */
    struct tally *answers;     /* borrowed: counts what waits to be taken with request_next(), which is part of
                                  request_bytes; NULL: nobody counts                                            */
    size_t (*free_memory)(void *arg);   /* says what is free, from any thread; NULL: the machine is asked       */
    void  *free_memory_arg;
    void (*progress)(void *arg, size_t done, size_t all);   /* is told the bytes of the weights while they load;
                                                               NULL: nobody waits                               */
    void  *progress_arg;
};

struct engine_plan {           /* bytes; what `openautoglm plan` prints */
    char   model_type[48], device[16], weights_dtype[16], kv_dtype[16];
    size_t n_params;
    size_t weights, kv, image_cache, scratch, logits, image_peak, pixels, requests, program;
    size_t kv_floor;           /* of kv: one whole context; on the host kv grows from nothing, as it is used */
    size_t total;              /* the sum                                */
    size_t floor;              /* the sum with kv_floor in the place of kv */
    size_t available;          /* what may be used                       */
    bool   discrete;           /* the sum is a GPU's memory, without image_peak, pixels, requests and program ...  */
    size_t host, host_available;   /* ... which make this sum in the host's; else 0              */
    int    kv_tokens, kv_floor_tokens, max_num_seqs, max_model_len, max_batched_tokens;
    int    max_image_tokens;   /* of the largest image                   */
    size_t max_plan_bytes;     /* of RGB that it becomes                 */
    int    max_together;       /* patches of it that are encoded at one time; 0: its places say enough */
    int64_t max_image_pixels;  /* width x height of the largest upload   */
    bool   fits;
};

/* Reads configuration and tensor headers only. -1: the directory is unusable. A plan that does not fit is 0 all the
 * same; `e` then has the message, with the numbers, with which engine_open() will refuse it. */
int engine_plan(const struct engine_options *opt, struct engine_plan *out, struct err *e);

struct engine *engine_open(const struct engine_options *opt, struct err *e);
/* The part of an engine that needs neither the weights nor a device: it makes prompts, with the images as the model
 * would see them, and turns text into tokens and back. It has no thread, and refuses requests. */
struct engine *engine_open_text(const struct engine_options *opt, struct err *e);
void           engine_close(struct engine *g);   /* ends all requests with an error first */

struct chat_image {
    const void *data;          /* borrowed: a JPEG, PNG, WebP or GIF file ... */
    size_t      n;
    int         width, height; /* ... or, if these are not 0, so many pixels of RGB, rows from the top */
    const char *field;         /* borrowed: "messages[0].content[1].image_url", for errors */
    const char *detail;        /* "low", "high", "auto"; NULL: auto      */
    int64_t     max_pixels, min_pixels;   /* after the resize; 0: the chat's */
};

struct image_sizes {           /* which sizes images may get; each 0: not said */
    int64_t min_pixels, max_pixels;
    int64_t shortest_edge, longest_edge;  /* in the meaning of the checkpoint's processor */
};

struct chat {                  /* a validated request body; everything borrowed */
    json_t *messages;          /* image parts are {"type": "image"}, in the order of images[]; text parts
                                  {"type": "text", "text": ...}; keys with null are dropped */
    json_t *tools, *documents; /* or NULL                                */
    json_t *template_kwargs;   /* chat_template_kwargs or NULL           */
    struct image_sizes sizes;  /* mm_processor_kwargs                    */
    const struct chat_image *images;
    int     n_images;
    bool    no_generation_prompt, continue_final_message;
    bool    special_tokens;    /* what the tokenizer adds to a text comes to what the template has written */
    int     keep_tokens;       /* only the last so many tokens of the prompt count; 0: all; -1: those that fit */
    bool    keep_pictures;     /* prompt_picture() will be asked for */
};

struct token_bias { int32_t id; float bias; };

/* Which of the prompt's last hidden states, behind the final norm, make one vector of it: that of the last token, their
 * mean, that of the first token. */
enum pooling { POOLING_NOT, POOLING_LAST, POOLING_MEAN, POOLING_CLS };

struct pooling_choice {        /* how prompts are pooled where a request does not say it */
    enum pooling how;          /* POOLING_NOT: they are not                              */
    bool normalised;           /* the vector is to get the length 1                      */
    char why[256];             /* POOLING_NOT: the reason, for clients                   */
};

/* What may be wanted of a prompt's computation in the place of an answer: the logits behind each of its tokens
 * (tokens, vocab), or the features of its images, of one after the other (image tokens, hidden). */
enum probe { PROBE_NOT, PROBE_LOGITS, PROBE_IMAGES };

struct params {                /* how to generate; params_default() first */
    /* Called once, and soon back: the engine is done with the request, and its place is free, whatever its client has
     * taken. From the engine's thread, before the client can hear of the end; not if the submission fails. NULL:
     * nobody. */
    void   (*ended)(void *arg);
    void    *ended_arg;
    float    temperature, top_p, min_p, frequency_penalty, presence_penalty, repetition_penalty;
    int      top_k;            /* 0: off                                 */
    bool     has_seed;         /* else drawn at random                   */
    uint64_t seed;
    int      max_tokens;       /* 0: what is left of the context         */
    const char *stop[ENGINE_MAX_STOP];   /* copied by engine_submit      */
    int      n_stop;
    int32_t  stop_ids[ENGINE_MAX_STOP_IDS];   /* tokens that end the answer, beside the model's own; those outside the
                                                  vocabulary have no effect */
    int      n_stop_ids;
    int      priority;         /* lower ones go first; among equals, those that came first                          */
    bool     return_ids;       /* events have the token ids                                                         */
    const char *cache_salt;    /* (n_cache_salt) likewise: computed beginnings of prompts and encoded images are shared
                                  only with requests of the same salt; NULL: with all that have none                */
    size_t   n_cache_salt;
    const char *shown[ENGINE_MAX_SHOWN];   /* likewise: special tokens that the text has all the same; NULL: no more */
    const struct token_bias *bias;   /* (n_bias) borrowed until engine_submit() returns: is added to these tokens'
                                        logits before the temperature; ids of the vocabulary, none twice            */
    int      n_bias;
    const int32_t *allowed;    /* (n_allowed) likewise: the only tokens that may come; none: all may */
    int      n_allowed;
    const char *bad_word[ENGINE_MAX_BAD_WORDS];   /* likewise: texts that the answer never gets to hold, none empty */
    int      n_bad_words;
    int      min_tokens;       /* none of all these ends it before so many */
    bool     include_stop;     /* the text has what ended it, too        */
    bool     ignore_eos, logprobs, keep_special_tokens;
    int      top_logprobs;
    bool     prompt_logprobs;  /* those of the prompt's tokens from the second on are told, too ... */
    int      top_prompt_logprobs;      /* ... with so many of the likeliest in the place of each    */
    struct grammar *grammar;   /* borrowed: what the answer has to be; NULL: anything. Logprobs are those that the model
                                  gives without it                                                               */
    enum pooling pooling;      /* other than POOLING_NOT: there is no answer; the end has the prompt's vector       */
    bool     share_image;      /* with pooling, where images share a space with texts: the vector is that of the
                                  prompt's first image                                                            */
    bool       classes;        /* with pooling, in a model with a head for classes: the vector is their logits      */
    enum probe probe;          /* likewise, with these numbers as the vector; without pooling                       */
};
void params_default(const struct engine *g, struct params *p);   /* the checkpoint's generation_config.json */

/* Renders, tokenises, decodes and resizes. Errors carry field, code and status (400). */
struct prompt *engine_prompt(struct engine *g, const struct chat *chat, struct err *e);
/* The text of the chat as the template writes it, each image being one place. */
int            engine_render(const struct engine *g, const struct chat *chat, struct buf *out, struct err *e);
/* From text without a template and without images (POST /v1/completions); special: bos and the like are added. */
struct prompt *engine_prompt_text(struct engine *g, const char *text, size_t n, bool special, int keep_tokens,
                                  struct err *e);      /* keep_tokens: as in struct chat */
/* From two texts, one behind the other, each with what the tokenizer adds: what cross-encoders read. */
struct prompt *engine_prompt_pair(struct engine *g, const char *a, size_t n_a, const char *b, size_t n_b, bool special,
                                  int keep_tokens, struct err *e);
/* From tokens as they are. */
struct prompt *engine_prompt_ids(struct engine *g, const int32_t *ids, size_t n, int keep_tokens, struct err *e);
/* The same with images: of `chat` these alone count. Image i has as many places in the ids as its size gives it, in
 * the same runs as in prompt_ids() of a chat. */
struct prompt *engine_prompt_places(struct engine *g, const int32_t *ids, size_t n, const struct chat *chat,
                                    struct err *e);
/* How many places an image of that size, upright, takes in a prompt. -1: the model takes no images, or none of it. */
int            engine_image_tokens(const struct engine *g, int width, int height, int *n, struct err *e);
int            prompt_tokens(const struct prompt *p);
int            prompt_image_tokens(const struct prompt *p);    /* of these, places of images, without what is between */
const int32_t *prompt_ids(const struct prompt *p);             /* borrowed, (prompt_tokens()) */
/* The i-th image: the first of its places, how many tokens there are to the last one (also others that the model's
 * format writes between them), and its size in pixels as the model sees it. */
struct prompt_place { int start, n_tokens, width, height; };
int            prompt_images(const struct prompt *p);
struct prompt_place prompt_place(const struct prompt *p, int i);
/* Pixels that give the same image when they come with the prompt's tokens, engine_prompt_places(): borrowed, (height,
 * width, 3). They are what the model sees, or, where that is not one resized picture, what was sent, upright.
 * Data NULL: the device is to resize it. */
struct prompt_picture { const uint8_t *data; int width, height; };
struct prompt_picture prompt_picture(const struct prompt *p, int i);
bool           prompt_ends_with(const struct prompt *p, const char *text);     /* but for white space; up to 32 bytes */

void           prompt_free(struct prompt *p);

/* NULL: all places are taken (status 429), context too short (400, code context_length_exceeded), engine down (503). */
struct request *engine_submit(struct engine *g, struct prompt *p, const struct params *params, struct err *e);
/* n answers to one prompt, which is computed once: all of them are submitted or none (-1). The seed of answer i is that
 * of `params` plus i, and it is the answer that a request of its own with that seed would get. params->ended is called
 * for each. */
int engine_submit_many(struct engine *g, struct prompt *p, const struct params *params, int n, struct request **out,
                       struct err *e);

enum event_kind { EVENT_DELTA, EVENT_END, EVENT_ERROR };
enum finish     { FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED };

struct token_logprob {
    int32_t id;
    float   logprob;
    int     n_top;
    int32_t top_id[ENGINE_MAX_TOP_LOGPROBS];
    float   top[ENGINE_MAX_TOP_LOGPROBS];
};

struct timings {               /* seconds that a request has taken so far, by what they went to */
    double queue;              /* from its submission until its first step, without image_encode */
    double image_decode, image_resize;     /* before the submission; resize: on the host */
    double image_encode;       /* images that were not in the cache            */
    double prefill;            /* from its first step to its first token, without image_encode */
    double decode;             /* from its first token to its last             */
};

struct event {
    enum event_kind kind;
    char  *text;                       /* owned: new text, whole UTF-8 sequences; NULL: none        */
    size_t n_text;
    struct token_logprob *logprobs;    /* owned: of the tokens since the last event, when asked for */
    int    n_logprobs;
    struct token_logprob *prompt_logprobs;     /* owned: of the prompt, once, before its answer, when asked for */
    int    n_prompt_logprobs;
    int    n_tokens;                   /* tokens since the last event                               */
    int32_t *ids;                      /* owned: these tokens, when asked for                       */
    int    n_ids;
    struct timings time;               /* so far                                                    */
    enum finish finish;                /* EVENT_END                                                 */
    const char *stop;                  /* EVENT_END: the stop string that ended it, or NULL         */
    bool   by_stop_id;                 /* EVENT_END: one of stop_ids ended it, ...                  */
    int32_t stop_id;                   /* ... this one                                              */
    int    prompt_tokens, cached_tokens, completion_tokens;    /* EVENT_END                        */
    double ttft, total;                /* EVENT_END: seconds since the submission                   */
    float *vector;                     /* EVENT_END: owned, (n_vector): of the prompt, if it was pooled or probed */
    int    n_vector;
    struct err err;                    /* EVENT_ERROR                                               */
};
int  request_next(struct request *r, struct event *out);   /* 1: filled; 0: nothing waits now */
int  request_fd(const struct request *r);
void request_cancel(struct request *r);                    /* EVENT_END with FINISH_CANCELLED follows */
void request_free(struct request *r);
void event_free(struct event *ev);

/* Does the chat template write these words anywhere, by itself? Says in which form the model has learnt to answer. */
bool engine_template_writes(const struct engine *g, const char *words);

/* The text of one token as bytes (may be part of a UTF-8 sequence). */
void engine_piece(const struct engine *g, int32_t id, struct buf *out);
int  engine_tokenize(const struct engine *g, const char *text, size_t n, bool special, int32_t **ids, size_t *n_ids,
                     struct err *e);                       /* free(*ids) */
int  engine_detokenize(const struct engine *g, const int32_t *ids, size_t n, bool skip_special, struct buf *out,
                       struct err *e);                     /* skip_special: special tokens have no text */

struct engine_match {          /* how the cosine of two vectors becomes the logit of their fitting together */
    bool  there;               /* false: the model was not trained for that                              */
    bool  sigmoid;             /* each label has a probability of its own; else all of them share one    */
    float scale, bias;         /* scale * cosine + bias                                                  */
};

/* Brings a vector to the length 1; one of zeros stays. */
void engine_unit(float *v, int n);
/* Probabilities (n) of the logits (n), in their place: each for itself, or all together. */
void engine_probabilities(float *logits, int n, bool sigmoid);
/* Logits (n) of a vector with each of n labels (n, width), all of the length 1. */
void engine_match_logits(const struct engine_match *m, const float *vector, const float *labels, int n, int width,
                         float *out);

struct engine_info {           /* borrowed strings */
    const char *model_dir, *model_type, *device;
    int max_model_len, max_num_seqs, vocab;
    bool takes_images;
    bool makes_texts;          /* false: it has no head for tokens, and gives vectors alone */
    int  vector;               /* floats of a pooled prompt   */
    bool shares;               /* its vector is in a space that texts and images share: a prompt is one or the other */
    struct pooling_choice pooling;
    struct engine_match match; /* where texts and images share a space */
    int  n_classes;            /* of the model's head; 0: it has none  */
    char *const *class_name;   /* (n_classes) */
    bool classes_sigmoid;      /* they do not exclude each other       */
    int  hidden;               /* floats of an image token's features */
    int  image_token;          /* stands in each place of an image; -1: it takes none */
    bool has_weights;          /* false: engine_open_text() has opened it */
};
void engine_info(const struct engine *g, struct engine_info *out);

struct histogram {             /* bucket i counts seconds <= engine_latency_bounds[i], or what is counted by whole
                                  numbers <= engine_count_bounds[i] */
    uint64_t bucket[ENGINE_LATENCY_BUCKETS], count;
    double   sum;
};
extern const double engine_latency_bounds[ENGINE_LATENCY_BUCKETS], engine_count_bounds[ENGINE_LATENCY_BUCKETS];

struct engine_stats {          /* a consistent copy */
    int      running, waiting;
    int      kv_pages, kv_pages_used;      /* of all caches of texts: layers with a window may have one of their own  */
    int      full_pages, full_pages_used;  /* of these: of the first cache, whose pages hold page_tokens tokens each  */
    int      page_tokens;
    double   kv_used;                      /* share of the pages in use, of the fullest cache                         */
    uint64_t prompt_tokens, cached_tokens, completion_tokens, preemptions, steps;
    uint64_t steps_between;    /* of these: while an image was being encoded */
    uint64_t finished_stop, finished_length, finished_cancelled, finished_error, rejected;
    uint64_t image_queries, image_hits, images_decoded, prefix_queries, prefix_hits;   /* prefix: in tokens */
    struct histogram ttft, inter_token, e2e, queue, image_decode, image_encode, step;
    /* of requests that have ended; seconds, but for the last ones, which are numbers */
    struct histogram prefill, decode, inference;   /* inference: from the first step to the last token              */
    struct histogram per_token;    /* decode by the tokens that it has brought                                       */
    struct histogram prompt_size, answer_size, answer_room;   /* tokens; room: those that the answer might have had */
    struct histogram answers;      /* that a submitted prompt is to get                                              */
    struct histogram longest_answer;   /* tokens of the longest answer to a prompt                                   */
    struct histogram step_tokens;
};
void engine_stats(struct engine *g, struct engine_stats *out);

#endif
