/* model/nn.h - the operations as a model writes them: outputs come from the
 * step's scratch, shapes are checked here once for all backends.
 *
 * Scratch is a stack: NN_SCRATCH remembers r->used and puts it back. Tables
 * that the host computes for a pass, such as positions, lie in an arena that is
 * empty again when the next pass begins, so that a pass allocates nothing. With
 * the measuring operations (model/measure.h) the same code runs without data,
 * and r->peak and r->host_used tell how much scratch and arena it needs.
 *
 * A pass that may take long (an image) can be told to let others in between:
 * operations on many rows then go in parts of about PART_SECONDS, and after
 * each part `between` is called. It may run a whole other pass, with its own
 * copy of this struct in which `base` is where the scratch is free. What a part
 * takes is learnt from the one before it. Where the cuts are cannot be seen in
 * any result. */
#ifndef MODEL_NN_H
#define MODEL_NN_H
#include "kernels/ops.h"

struct arena;

struct watch {             /* is asked before a matrix is used, for weights that are made while a model runs */
    /* The weight to use in place of w: either w, or one of the same shape. x: what it will be multiplied with; empty
     * where it is not multiplied with rows. NULL: the pass is given up, and what it computes is not read. */
    const struct weight *(*use)(void *arg, const struct weight *w, struct tensor x);
    void *arg;             /* borrowed */
};

/* The caches of a run, and the views of a batch. CACHE_WINDOW: of those layers of the text that see a window, where
 * others see all. */
enum { CACHE_TEXT, CACHE_IMAGES, CACHE_WINDOW, N_CACHES };

/* Kinds of operations, by what a unit of their work is: a multiplication of a matrix product, of a convolution or of
 * attention, or a number that is moved. */
enum part_kind { PART_PRODUCT, PART_CONV, PART_ATTEND, PART_MOVE, N_PART_KINDS };

struct run {               /* everything one pass needs; owned by the engine */
    const struct ops     *ops;
    const struct backend *backend;
    struct device        *dev;
    const struct kv      *kv;       /* (N_CACHES)                                */
    char  *scratch;                 /* device memory; borrowed               */
    size_t base, used, size, peak;  /* base: where this pass' scratch begins */
    char  *host;                    /* the arena on the host; borrowed       */
    size_t host_used, host_size;
    void (*between)(void *arg);     /* NULL: nobody waits                    */
    void  *between_arg;             /* borrowed                              */
    double part_unit[N_PART_KINDS]; /* seconds that a unit of each kind's work took in the latest part; 0: unknown */
    const struct watch *watch;      /* NULL: nobody watches; borrowed        */
    bool   both_ways;               /* rows may see entries of the batch that come behind their own */
    bool   measuring;               /* no data behind the tensors ...        */
    struct arena *measured;         /* ... and what nn_host() gives lies here; borrowed */
};

/* Every function that returns a tensor takes it from the scratch. One that ends in _to writes into `out`, which is
 * there already. Indices and positions are on the device (nn_ints()). */
struct tensor nn_new(struct run *r, int rows, int cols);            /* F32 */
int          *nn_host(struct run *r, int n);   /* n words of the host's, until the pass ends: ints, or as
                                                  nn_host_floats() */
float        *nn_host_floats(struct run *r, int n);
const int    *nn_ints(struct run *r, const int *host, int n);       /* uploads a copy */
const float  *nn_floats(struct run *r, const float *host, int n);
struct tensor nn_table(struct run *r, const float *host, int rows, int cols);   /* nn_floats() as a tensor */

/* Views of a tensor, for which nothing moves. */
struct tensor nn_cols(struct tensor t, int from, int n);
struct tensor nn_rows(struct tensor t, int from, int n);            /* of an empty one, an empty one */
struct tensor nn_reshape(struct tensor t, int rows, int cols);      /* t is dense */

/* Row i is row ids[i] of w. */
struct tensor nn_embed(struct run *r, const struct weight *w, const int *ids, int n);
/* x (rows, w->in) times w, with what follows it in the epilogue: (rows, w->out), half as wide with `glu`. */
struct tensor nn_linear(struct run *r, struct tensor x, const struct weight *w, struct epilogue e);
void          nn_linear_to(struct run *r, struct tensor out, struct tensor x, const struct weight *w,
                           struct epilogue e);
void          nn_norm(struct run *r, struct tensor out, struct tensor x, const struct norm *n);    /* out may be x */
/* out = a + b, where b may be one row that is added to each of a. out may be a. */
void          nn_add(struct run *r, struct tensor out, struct tensor a, struct tensor b);
void          nn_copy(struct run *r, struct tensor out, struct tensor x);     /* between F32, F16 and BF16 */
void          nn_act(struct run *r, struct tensor x, enum act act);   /* in place */
/* g0 a + g1 b, with g the softmax of the row's two logits. */
struct tensor nn_fuse(struct run *r, struct tensor a, struct tensor b, struct tensor logits);

/* Which rows go to which expert, by logits (rows, experts): places for rows * k rows. */
struct routes nn_route(struct run *r, struct tensor logits, const struct router *router);
/* x (places, in): the rows first[e] .. first[e + 1] - 1 are multiplied with expert e. */
void          nn_linear_grouped_to(struct run *r, struct tensor out, struct tensor x, const struct experts *experts,
                                   const int *first, enum act act, bool glu);

/* Self attention of the text. qkv (rows, (n + 2 n_kv) * dim) has queries, keys and values side by side. Queries and
 * keys are normed and rotated as `h` says, keys and values are stored in the cache where its view says, and each row
 * attends to what the view shows it: (rows, n * dim). `layer` counts within the cache. nn_attend() takes CACHE_TEXT. */
struct tensor nn_attend_in(struct run *r, struct tensor qkv, int cache, int layer, const struct heads *h,
                           const struct batch *b);
struct tensor nn_attend(struct run *r, struct tensor qkv, int layer, const struct heads *h, const struct batch *b);
/* The same of rows whose attention nobody reads: their keys and values are stored, and nothing else. */
void          nn_store_in(struct run *r, struct tensor qkv, int cache, int layer, const struct heads *h,
                          const struct batch *b);
/* Cross-attention of the text: q (rows, n * dim) over keys and values of images, in CACHE_IMAGES. */
struct tensor nn_attend_images(struct run *r, struct tensor q, int layer, const struct heads *h, const struct batch *b);
/* Stores those of an image, k and v (cells, n_kv * dim), in its slots (cells) of that cache. */
void          nn_store_image(struct run *r, struct tensor k, struct tensor v, int layer, const struct heads *h,
                             const int *slots);
/* Self attention without a cache, as in a tower: the rows first[s] .. first[s + 1] - 1 of qkv see each other, for each
 * of n_seg segments. pos (3, rows): what queries and keys are rotated by; NULL: they are not. */
struct tensor nn_attend_ragged(struct run *r, struct tensor qkv, const struct heads *h, const int *pos, int n_seg,
                               const int *first);
/* The same with queries apart: the rows of q from q_first[s] on, up to the next segment's, see those of k and v from
 * kv_first[s] on. Nothing is rotated. */
struct tensor nn_attend_across(struct run *r, struct tensor q, struct tensor k, struct tensor v, const struct heads *h,
                               int n_seg, const int *q_first, const int *kv_first);

/* Row i becomes the sum of `taps` rows of x, idx (rows, taps), times w (rows, taps). With one tap w may be NULL, which
 * means 1. An index of -1 stands for a row of zeros. */
struct tensor nn_gather(struct run *r, struct tensor x, int rows, int taps, const int *idx, const float *w);
void          nn_gather_to(struct run *r, struct tensor out, struct tensor x, int taps, const int *idx, const float *w);
/* Row i of x goes to row idx[i] of out, or is added to it; those of -1 go nowhere, and no two to the same row. */
void          nn_scatter(struct run *r, struct tensor out, struct tensor x, const int *idx, bool add);
/* n pixels of three bytes as floats, byte * scale + shift for each channel: (n, 3). */
struct tensor nn_pixels(struct run *r, const uint8_t *rgb, int n, const float *scale, const float *shift);
/* Convolutions of x (c.h * c.w, channels), whose result has conv_out() of either side. nn_dwconv(): each channel with a
 * filter of its own. */
struct tensor nn_conv(struct run *r, struct tensor x, const struct weight *w, struct conv c);
struct tensor nn_dwconv(struct run *r, struct tensor x, const struct weight *w, struct conv c);

static inline int conv_out(int n, const struct conv *c) { return (n + 2 * c->pad - c->kernel) / c->stride + 1; }

/* NN_SCRATCH(r) statement: what the statement takes of the scratch is given back behind it. */
#define NN_SCRATCH(r) for (size_t mark_ = (r)->used, once_ = 1; once_; once_ = 0, (r)->used = mark_)

#endif
