/* openautoglm.h - vision-language models within your own process: libopenautoglm.so.
 *
 *     struct openautoglm_error e;
 *     struct openautoglm *m = openautoglm_open("open-autoglm-v1", NULL, &e);
 *     struct openautoglm_prompt *p = openautoglm_prompt_chat(m, request, images, n_images, &e);
 *     struct openautoglm_answer *a = openautoglm_generate(m, p, request, &e);     // p is the answer's from here on
 *     struct openautoglm_event ev;
 *     do {
 *         openautoglm_next(a, &ev, -1);
 *         fwrite(ev.text, 1, ev.n_text, stdout);
 *     } while (ev.kind == OPENAUTOGLM_TEXT);
 *     openautoglm_answer_free(a);
 *     openautoglm_close(m);
 *
 * A request is JSON: the body of POST /v1/chat/completions, whose fields openapi.yaml describes. What is wrong with it
 * is said in the server's words. Answers to several requests at the same time are computed together, as the server
 * computes them; an answer does not depend on what else is being computed.
 *
 * Every function may be called from any thread. A prompt and an answer belong to one thread at a time; only
 * openautoglm_cancel() may be called while another thread waits in openautoglm_next(). The library writes nothing to
 * standard output, installs no handlers of signals, takes none in its threads, and does not end the process.
 * Functions that give a pointer give NULL when they fail, others -1; `e` may be NULL. A process that forks must not use
 * in the child what was opened before. */
#ifndef OPENAUTOGLM_H
#define OPENAUTOGLM_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifndef OPENAUTOGLM_API
#define OPENAUTOGLM_API __attribute__((visibility("default")))
#endif

struct openautoglm;            /* an opened model                         */
struct openautoglm_prompt;     /* its tokens, with images as the model sees them */
struct openautoglm_answer;     /* what is being generated                 */

struct openautoglm_error {
    int  status;               /* of HTTP, as the server would answer: 400 what was asked for is wrong, 429 too much
                                  runs already, 503 memory is out or the model was closed, 500 the device failed */
    char code[48];             /* "context_length_exceeded", "out_of_memory", ... or "" */
    char field[128];           /* of the request, the option or the file at fault, or "" */
    char message[512];         /* one line for a person                   */
};

/* The version of the library, as "0.1.0". */
OPENAUTOGLM_API const char *openautoglm_version(void);

/* ---- a model ---- */

/* Opens a model: the folder of a checkpoint, ORG/NAME[@REVISION] on a hub, or "open-autoglm-v1", the shipped one.
 * `options` is a JSON object with the engine's settings under their names in config/default.json, such as
 * {"threads": 2, "weights": "int8"}, and "log_level" ("warn" unless given) for the lines on standard error; NULL: none.
 * What it does not name is the environment's (OPENAUTOGLM_THREADS=2), or the default. */
OPENAUTOGLM_API struct openautoglm *openautoglm_open(const char *model, const char *options,
                                                     struct openautoglm_error *e);

/* The same without weights, in a moment, for prompts and tokens alone. */
OPENAUTOGLM_API struct openautoglm *openautoglm_open_tokenizer(const char *model, const char *options,
                                                               struct openautoglm_error *e);

/* Ends what is being generated with an error, and frees everything, as soon as all prompts and answers are freed. NULL
 * is fine. */
OPENAUTOGLM_API void openautoglm_close(struct openautoglm *m);

struct openautoglm_info {      /* the strings are the model's             */
    const char *folder;        /* that it was read from                   */
    const char *type;          /* model_type of its config.json           */
    const char *device;        /* "cpu", "cuda"                           */
    int32_t context;           /* most tokens of a prompt and its answer  */
    int32_t max_requests;      /* computed at the same time               */
    int32_t vocabulary;        /* token ids are below it                  */
    int32_t image_token;       /* stands in every place of an image; -1: the model takes no images */
    int32_t width;             /* numbers of an image token's features    */
};
OPENAUTOGLM_API void openautoglm_about(struct openautoglm *m, struct openautoglm_info *out);

/* ---- prompts ----
 *
 * The memory for the images of all prompts together is limited: who makes a prompt waits until there is some. So begin
 * a prompt's answer, or free it, before making the next ones. */

struct openautoglm_image {
    const void *data;          /* a JPEG, PNG, WebP or GIF file of `size` bytes ... */
    size_t  size;
    int32_t width, height;     /* ... or, where these are not 0, pixels: (height, width, 3) bytes of RGB */
};

/* From the fields of a request that make a prompt: messages, tools, documents, chat_template_kwargs,
 * mm_processor_kwargs, add_generation_prompt, continue_final_message, add_special_tokens, truncate_prompt_tokens. An
 * image is a part of a message's content, {"type": "image"}, in the place of which the next of `images` stands; parts
 * {"type": "image_url"} with data: URLs are taken, too, but not both in one request. */
OPENAUTOGLM_API struct openautoglm_prompt *openautoglm_prompt_chat(struct openautoglm *m, const char *request,
                                                                   const struct openautoglm_image *images,
                                                                   int32_t n_images, struct openautoglm_error *e);

/* From tokens as they are. Every image has its places among them, as in the tokens of a prompt that
 * openautoglm_prompt_chat() has made. */
OPENAUTOGLM_API struct openautoglm_prompt *openautoglm_prompt_tokens(struct openautoglm *m, const int32_t *ids,
                                                                     size_t n,
                                                                     const struct openautoglm_image *images,
                                                                     int32_t n_images, struct openautoglm_error *e);

/* How many places an image of that size takes among the tokens. Some models write other tokens between them. */
OPENAUTOGLM_API int openautoglm_image_tokens(struct openautoglm *m, int32_t width, int32_t height, int32_t *n,
                                             struct openautoglm_error *e);

/* Its tokens; they are the prompt's. */
OPENAUTOGLM_API const int32_t *openautoglm_prompt_ids(const struct openautoglm_prompt *p, size_t *n);

/* Its images, and the i-th one's pixels, which are the prompt's: as the model sees it; or as it was sent, upright,
 * where the model sees several pictures of it (tiles, a crop). Both give the same image when they come back with the
 * prompt's tokens. With the option device_resize on a GPU there are none, and data is NULL. */
OPENAUTOGLM_API int32_t openautoglm_prompt_images(const struct openautoglm_prompt *p);
OPENAUTOGLM_API void openautoglm_prompt_image(const struct openautoglm_prompt *p, int32_t i,
                                              struct openautoglm_image *out);

OPENAUTOGLM_API void openautoglm_prompt_free(struct openautoglm_prompt *p);

/* ---- answers ---- */

/* Begins an answer. Of the request the fields count that say how: temperature, top_p, top_k, min_p, seed, stop,
 * max_tokens, frequency_penalty, presence_penalty, repetition_penalty, logit_bias, logprobs, response_format and
 * others; NULL: the model's defaults. The prompt becomes the answer's, also on failure, and must not be used again. */
OPENAUTOGLM_API struct openautoglm_answer *openautoglm_generate(struct openautoglm *m, struct openautoglm_prompt *p,
                                                                const char *request, struct openautoglm_error *e);

enum openautoglm_event_kind { OPENAUTOGLM_NOTHING, OPENAUTOGLM_TEXT, OPENAUTOGLM_END, OPENAUTOGLM_FAILED };

struct openautoglm_event {     /* valid until the next call for the same answer */
    int32_t kind;              /* OPENAUTOGLM_TEXT: there will be more; _END and _FAILED: that was all */
    const char *text;          /* new text, whole characters of UTF-8; "" if there is none */
    size_t  n_text;
    const int32_t *tokens;     /* (n_tokens) the tokens since the last event */
    const float *logprobs;     /* (n_tokens) of these, if the request has "logprobs": true, else NULL */
    size_t  n_tokens;
    const char *finish_reason; /* OPENAUTOGLM_END: "stop", "length", "cancelled" */
    int32_t prompt_tokens;     /* OPENAUTOGLM_END: of the prompt, ...     */
    int32_t cached_tokens;     /* ... of these, known from an earlier one */
    int32_t completion_tokens;
    double  seconds;           /* OPENAUTOGLM_END: since openautoglm_generate() */
    const float *numbers;      /* (n_numbers) OPENAUTOGLM_END of openautoglm_compute(), else NULL */
    size_t  n_numbers;
    struct openautoglm_error error;        /* OPENAUTOGLM_FAILED          */
};

/* Waits at most so many milliseconds (-1: without an end) for something new. Returns 1 with an event, or 0 with
 * OPENAUTOGLM_NOTHING after that time, or when a signal came. After the last event it comes again. */
OPENAUTOGLM_API int openautoglm_next(struct openautoglm_answer *a, struct openautoglm_event *out, int milliseconds);

/* A descriptor that can be read while events wait, for poll(), select() and event loops. It is the answer's. */
OPENAUTOGLM_API int openautoglm_descriptor(const struct openautoglm_answer *a);

/* Ends the answer soon, as "cancelled". */
OPENAUTOGLM_API void openautoglm_cancel(struct openautoglm_answer *a);
OPENAUTOGLM_API void openautoglm_answer_free(struct openautoglm_answer *a);     /* also cancels what still runs */

/* ---- what the model computes, for those who look at models ---- */

enum openautoglm_what {
    OPENAUTOGLM_LOGITS = 1,    /* behind each token of the prompt: (tokens, vocabulary) */
    OPENAUTOGLM_IMAGE_FEATURES /* of its images, one after the other, as they take the places of tokens:
                                  (image tokens, width) */
};

/* Begins a computation in the place of an answer. It has no text; its last event, OPENAUTOGLM_END, has the numbers. All
 * else is as with openautoglm_generate(). */
OPENAUTOGLM_API struct openautoglm_answer *openautoglm_compute(struct openautoglm *m, struct openautoglm_prompt *p,
                                                               int32_t what, struct openautoglm_error *e);

/* ---- tokens ---- */

/* The tokens of n bytes of UTF-8, without a template. special: 1 adds what the tokenizer puts around a text, such as
 * "begin of text". *ids is to be freed with openautoglm_free(). */
OPENAUTOGLM_API int openautoglm_tokenize(struct openautoglm *m, const char *text, size_t n, int special, int32_t **ids,
                                         size_t *n_ids, struct openautoglm_error *e);

/* And back, n_text bytes and a zero. skip_special: 1 leaves out special tokens. *text is to be freed with
 * openautoglm_free(). */
OPENAUTOGLM_API int openautoglm_detokenize(struct openautoglm *m, const int32_t *ids, size_t n, int skip_special,
                                           char **text, size_t *n_text, struct openautoglm_error *e);
OPENAUTOGLM_API void openautoglm_free(void *p);

#ifdef __cplusplus
}
#endif
#endif
