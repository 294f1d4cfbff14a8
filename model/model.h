/* model/model.h - a checkpoint made ready to run: hyperparameters, weights, and
 * the family's functions that turn images and tokens into logits.
 *
 *     struct model *m = model_open(dir, &opt, &e);      // config, tensors checked, weights packed
 *     m->family->plan_image(m, w, h, &image_opt, &plan, &e);   // any thread: sizes alone
 *     m->family->encode_image(m, run, &encode);                // engine thread
 *     struct tensor logits = m->family->forward(m, run, &step);
 *     model_close(m);
 *
 * A model is read-only after opening. With no device ("dry") everything is
 * checked and counted but nothing is loaded: that is how `plan` works. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "image/image.h"
#include "kernels/ops.h"

struct run;    /* model/nn.h          */
struct loader; /* model/load.h        */
struct loaded; /* model/loaded.h      */
struct watch;  /* model/nn.h          */
struct weights_file; /* checkpoint/safetensors.h */
struct model;
struct stored; /* checkpoint/safetensors.h */
struct decoder; /* model/decoder.h     */
struct square; /* model/square.h      */

enum { MODEL_MAX_EOS = 16 };

struct model_store {           /* is shown all that is loaded, for model/store.c; -1 ends the loading */
    /* A matrix of the checkpoint when it is packed, by its first part's name; it is released afterwards, unless the
     * model is to run. Dry: its shape and type alone. */
    int  (*weight)(void *arg, const char *name, const struct weight *w, struct err *e);
    /* Asked, with a device, before a matrix is packed. true: it is not; whoever stores makes it of the slabs later, as
     * w->dtype, and the model can only run with a `watch` that does. It may write to w->data. The slabs' data stays
     * while the model is open, bias (w->out, or NULL) until loading ends. NULL: all are packed at once. */
    bool (*later)(void *arg, const char *name, struct weight *w, const struct slab *slabs, int n, const float *bias);
    bool   runs;               /* what was shown is kept                                     */
    int  (*tensor)(void *arg, const struct stored *t, struct err *e);     /* a tensor that is read as numbers */
    void  *arg;
};

struct model_options {
    const struct backend *backend;
    struct device *device;     /* NULL: dry                                        */
    bool       convert;        /* false: linear weights stay as they are in the file */
    enum dtype weights;        /* with convert: what they are packed as              */
    /* Told how many bytes of the files are packed; at the end, also after an error, all of them. NULL: nobody waits. */
    void (*progress)(void *arg, size_t done, size_t all);
    void      *progress_arg;
    const struct model_store *store;       /* NULL: the model is to be used */
    int        context;        /* tokens that are wanted, for a rope that can be made for them; 0: the checkpoint's */
};

struct kv_shape {              /* of a cache; layers 0: none */
    int layers, n_kv, dim;
    int window;                /* a token sees so many, itself the last; 0: all before it */
};

struct image_options {         /* of a request or the server; 0 = the checkpoint's */
    int64_t min_pixels, max_pixels;        /* of one frame, height x width          */
    int     max_tokens;                    /* detail: low                           */
    int64_t size_shortest, size_longest;   /* mm_processor_kwargs.size, the reference's meaning */
    int     n_images;                      /* of the prompt that it is for                      */
};

struct image_plan {            /* what an image of a given size becomes */
    int width, height;         /* after the resize; of several views, the first one that is not hidden */
    int grid_h, grid_w;        /* of the image tokens: n_tokens = grid_h * grid_w; of several views, what the family
                                  makes of it */
    int n_tokens;              /* places in the prompt: rows of the pool            */
    int runs;                  /* the places stand in so many runs of one length, other tokens of the image between
                                  them (family.image_text); 0: one run */
    int n_cells;               /* entries in the image's own KV pages; 0: none      */
    int n_blank;               /* of these, the last ones: padding, which only blind tokens see. In a plan of
                                  largest_image: more than 0 if any image may have some */
    int n_together;            /* patches that are encoded at one time, where requests can have more of them than the
                                  largest image has although it has no more places; 0: they cannot */
    enum filter  filter;
    enum resizer resizer;
    /* What is made of the picture where that is more than one resize of the whole: a crop, padding, tiles beside a
     * small picture of all; with plan_view(). n_views 0: the whole picture, resized to width x height. */
    struct image_view view[IMAGE_MAX_VIEWS];
    int n_views;
};

/* The views of a plan, for image_decode(). */
struct image_recipe plan_recipe(const struct image_plan *p);
/* Bytes of RGB that an image of this plan has. */
size_t plan_bytes(const struct image_plan *p);
/* One more view, which becomes the plan's width and height if it is the first that is not hidden. */
void plan_view(struct image_plan *p, struct image_view v);

static inline int image_runs(const struct image_plan *p) { return p->runs > 1 ? p->runs : 1; }

struct image_range {           /* what a token sees in cross-attention                      */
    int  first, end;           /* the prompt's images first .. end - 1; first == end: none  */
    bool blind;                /* The family's mask leaves this token nothing, and as the softmax of the reference then
                                  weighs all scores alike, it sees every cell of every image, blank ones too */
};

/* How the vectors of a text and an image become the logit of their fitting together: scale * cosine + bias. */
struct match {
    bool  there;               /* false: the model was not trained for that                                 */
    bool  sigmoid;             /* each label has a probability of its own; else all of them share one, softmax */
    float scale, bias;
};

struct encode {                /* one image to encode */
    struct image_plan plan;
    const uint8_t *rgb;        /* device: (plan.height, plan.width, 3); of several views, those that are not hidden, one
                                  behind the other */
    struct tensor pool;        /* rows of all cached images, (n, image_row_width)   */
    const int *rows;           /* device: (n_tokens) where this image's rows go     */
    const int *slots;          /* device: (n_cells) slots in the image KV, or NULL  */
    struct tensor *shared;     /* becomes the image's vector in the space that texts share, (1, model.shared), in the
                                  pass' scratch; NULL: it is not wanted             */
};

struct forward {               /* one step */
    struct batch batch;        /* views[CACHE_TEXT], and views[CACHE_WINDOW] where there is such a cache */
    struct tensor pool;        /* as in struct encode                               */
    const int *image_src;      /* (n_image) rows of the pool ...                    */
    const int *image_dst;      /* (n_image) ... that replace these rows of the batch */
    int n_image;
    const int *out_rows;       /* (n_out) rows whose logits are wanted              */
    int n_out;
    struct tensor *states;     /* becomes the last hidden states of all rows, behind the final norm, in the step's
                                  scratch (n_rows, hidden), F32; NULL: nobody wants them */
    struct batch cross;        /* the rows that see an image, as a batch of its own; views[CACHE_IMAGES].
                                  n_rows 0: none (also where the family has no cross attention) */
    const int *cross_rows;     /* (cross.n_rows) their rows in `batch`; -1: of none, limit 0 */
    const int *cross_seeing;   /* (cross.n_rows) likewise; -1 for those of blind tokens, too */
};

struct family {
    const char *types[4];      /* config.json's model_type, NULL-terminated         */
    int  (*load)(struct model *m, struct loader *l);    /* -1: an error is noted in l */
    void (*unload)(struct model *m);     /* NULL: nothing beyond `impl` (free()) and what the loader owns */
    /* Images: NULL for text-only families. Thread-safe. A size that cannot be used gives an error. */
    int  (*plan_image)(const struct model *m, int width, int height, const struct image_options *opt,
                       struct image_plan *out, struct err *e);
    /* The plan of an image that takes as many tokens, cells and plan_bytes() as any whose width x height is at most
     * `pixels`, and as much memory while it is encoded: no image of whatever shape takes more with these options, or
     * with fewer pixels or tokens allowed. There need not be an image of just this plan. */
    void (*largest_image)(const struct model *m, const struct image_options *opt, int64_t pixels,
                          struct image_plan *out);
    /* Appends the text that stands in a prompt for an image of this plan. It takes the place of `mark`, the text of
     * model.image_mark, before the chat is tokenised, so it may join its neighbours as any text does. `place`, the text
     * of model.image_token, is in it once for each of the plan's runs, and nowhere else; other tokens are written as
     * their text. `joined`: the mark of another image stands directly before, and its text came before this one.
     * NULL: the mark is the image's only run. Thread-safe. */
    void (*image_text)(const struct model *m, const struct image_plan *p, const char *mark, const char *place,
                       bool joined, struct buf *out);
    /* A space is put between the image_text of an image and a word that follows it directly. */
    bool word_spaced;
    /* The template writes bos, if it does, within the prompt: none is put in front of it. */
    bool bos_within;
    /* Fills pos (3, n), row stride n, for ids in which every image has n_tokens placeholders in order, in as many runs
     * as its plan says with other tokens between them; returns the position of the token after the last. NULL:
     * 0, 1, 2, ... */
    int  (*positions)(const struct model *m, const int32_t *ids, int n, const struct image_plan *images, int n_images,
                      int32_t *pos);
    /* Which images each token of the same prompt sees in cross-attention: fills sees (n) and returns what every token
     * of the answer sees. NULL: the family has no cross-attention. */
    struct image_range (*sees)(const struct model *m, const int32_t *ids, int n, const struct image_plan *images,
                               int n_images, struct image_range *sees);
    /* The ids of a text as its vector is made of them: cut, or padded with the token `pad`. There is room for as many
     * as the context has; returns how many there are. NULL: they stay as they are. */
    int  (*text_ids)(const struct model *m, int32_t *ids, int n, int pad);
    void (*encode_image)(const struct model *m, struct run *r, const struct encode *in);
    /* On the host, for a look from outside: the reference's pixel values of an image's views (rgb as in struct encode),
     * bit for bit. `shape` becomes theirs; out may be NULL. */
    void (*pixel_values)(const struct model *m, const struct image_plan *p, const uint8_t *rgb, float *out,
                         int shape[4]);
    struct tensor (*forward)(const struct model *m, struct run *r, const struct forward *in);  /* (n_out, vocab) */
};

struct model {
    const struct family  *family;
    const struct backend *backend;       /* borrowed */
    struct device        *device;        /* borrowed; NULL: dry */
    void                 *impl;          /* owned by the family: its struct */
    const struct decoder *decoder;       /* in impl, the text's: by decoder_load(); for decoder_pass() */
    const struct square  *square;        /* in impl: by square_load(), for square_plan_image() and the like; NULL:
                                            pictures do not all become one size */
    const struct watch   *watch;         /* borrowed: for all passes; NULL: they need none */
    struct weights_file  *file;          /* owned: the mapped safetensors files (slabs point into it) */
    struct loaded        *loaded;        /* owned: all memory of the packed weights and tables */
    char   type[48];                     /* model_type */
    bool       prepared;                 /* the weights lie in the file as they are used, ... */
    enum dtype prepared_as;              /* ... made with --weights of this type              */
    int    vocab, hidden, context;       /* context: max_position_embeddings after scaling */
    int    stretch_after;                /* the tokens of longer sequences have a negative second position, for the
                                            other table of their rope; 0: there is none */
    int    n_ids;                        /* rows of the embedding: a prompt's ids are below it. At least vocab, which is
                                            how many logits there are; load() may leave it 0 where it is just that */
    int    image_token;                  /* placeholder id; -1: takes no images */
    int    first_slot, n_slots;          /* n_slots > 0: image_token stays, and the places of its image, as many, are
                                            the ids from first_slot on; 0: all are image_token */
    bool   image_spans;                  /* the tokens of an image, run by run, see each other both ways, not only
                                            those before them: a run's are computed in one step */
    bool   prompts_whole;                /* the tokens of a prompt, its images among them, see each other both ways, so
                                            they are computed in one step; those of the answer see all before them */
    int    image_mark;                   /* the token that a chat template writes for an image; -1: image_token */
    int    eos[MODEL_MAX_EOS], n_eos;    /* generation_config.json's, else config.json's; before them what load() has
                                            put there */
    struct kv_shape text_kv, image_kv;   /* image_kv.layers 0: no cross attention */
    struct kv_shape window_kv;           /* of the layers with a window, where others see all: text_kv is theirs; its
                                            pages are others, and far fewer of them. layers 0: all layers are in
                                            text_kv, which may have a window, too */
    int    image_row_width;              /* floats of one image token in the pool: hidden, more with deepstack */
    bool   no_texts;                     /* the model reads no texts, and has no tokenizer */
    bool   no_head;                      /* the file has no weights for logits: texts cannot be made */
    int    shared;                       /* floats of a vector in the space that texts and images share; 0: none   */
    const struct weight *share_text;     /* borrowed from impl, with `shared`: (shared, hidden), of the mean of a text's
                                            last hidden states; NULL: the model reads no texts */
    bool   share_last;                   /* of the last one in the place of the mean */
    bool   image_alone;                  /* an image is no part of a text: all that it becomes is its one vector in that
                                            space, which is also its only row of the pool */
    bool   texts_whole;                  /* the tokens of a text see each other both ways: they are computed in one
                                            step, and nothing of it is kept for another text */
    struct match match;
    const struct weight *classes;        /* borrowed from impl: (n_classes, width of a vector), of an image's vector or
                                            of a text's last hidden state -> logits; NULL: there is no such head      */
    char **class_name;                   /* (n_classes), the model's memory: id2label                                 */
    int    n_classes;
    bool   classes_sigmoid;              /* they do not exclude each other */
    bool   shared_normalised;            /* such vectors have the length 1 */
    int    image_align;                  /* sides of a resized image are multiples of this */
    size_t weight_bytes;                 /* device memory of the packed weights (borrowed file pages included) */
    size_t n_params;
    int    n_tensors, n_unused;          /* of the files; unused: the family did not ask for them */
    int    n_repeated;                   /* those that it asked for more than once */
    const char *first_unused;            /* borrowed from the file; NULL: none */
    float  temperature, top_p;           /* generation_config.json's sampling defaults; -1: not given */
    int    top_k;                        /* likewise */
    float  repetition_penalty;           /* likewise */
};

/* The id of an image's k-th place, and whether ids[i] of a prompt is one. */
int32_t model_place(const struct model *m, int k);
bool    model_is_place(const struct model *m, const int32_t *ids, int i);

/* Floats of an image token's features: the first ones of its row in the pool. */
static inline int model_features(const struct model *m) { return m->image_alone ? m->shared : m->hidden; }

struct model *model_open(const char *dir, const struct model_options *opt, struct err *e);
void          model_close(struct model *m);

/* The caches of a model's texts: text_kv and window_kv. */
enum { TEXT_CACHES = 2 };
static inline const struct kv_shape *model_text_cache(const struct model *m, int i)
{
    return i == 0 ? &m->text_kv : &m->window_kv;
}

extern const struct family *const families[];    /* model/families/families.c, NULL-terminated */

#endif
