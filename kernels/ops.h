/* kernels/ops.h - the only door between a model and the hardware.
 *
 * A model is a C function that calls these operations in order. Every call is
 * enqueued on the device's one stream; nothing here allocates, blocks or
 * returns an error. Errors stick to the device and surface in sync().
 *
 * Numbers: activations are F32 matrices. Each row's result depends on that row
 * alone and is computed in one fixed order whatever the number of rows (batch
 * invariance): fixed K order in linear, fixed blocks of KV in attention.
 * Shapes are checked by the caller (model/nn.c); index arrays are trusted.
 * act and add may write over their first input, and norm over its input;
 * epilogue.add and norms.add may be the output; nothing else may overlap.
 *
 * All pointers below are device addresses unless said otherwise; on the CPU
 * backends they are plain memory. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/dtype.h"

enum act   { ACT_NONE, ACT_RELU, ACT_RELU6, ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_QUICK_GELU,
                ACT_TANH };

struct device; /* one backend instance; opaque */

struct tensor {        /* a row-major matrix: a view, owns nothing */
    void      *data;
    enum dtype dtype;
    int        rows, cols;
    int        stride; /* elements from one row to the next */
};

enum layout {
    LAYOUT_LINEAR,     /* (out, in): linear, conv2d (in = ky, kx, channel) and embed */
    LAYOUT_DEPTHWISE,  /* (channels, ky * kx)                                        */
};

struct weight {        /* y = x W' + b, laid out by pack() */
    int         out, in;
    enum dtype  dtype;
    enum layout layout;
    void       *data;  /* owned by the backend: release() */
    float      *bias;  /* (out) or NULL; owned likewise   */
};

enum form {
    FORM_ROWS,         /* one row after the other; quantised ones as kernels/quant.h has them      */
    FORM_PANELS        /* kernels/panels.h                                                         */
};

struct slab {          /* host memory that becomes rows of a weight: HF's matrix as it lies in the file, or a part of a
                          prepared checkpoint */
    const void *data;  /* borrowed; a backend may keep reading it until release() */
    enum dtype  dtype; /* F32, F16 or BF16; of a prepared checkpoint any that a weight may have   */
    int         rows;
    const char *name;  /* borrowed; for messages, may be NULL                      */
    bool        mapped; /* data lies in a mapped file: its pages can be given back */
    enum form   form;
    const float *scale; /* panels of Q8: of the channels, filled up to whole panels; else NULL */
};

struct norm {          /* w (1, n), b (1, n) or empty */
    struct tensor w, b;
    float eps;
    bool  center;      /* true: LayerNorm, false: RMSNorm */
};

struct norms {         /* what may follow a matrix y: out = norm(y) + add, then then_out = then(out) */
    const struct norm *norm;
    struct tensor add;       /* residual, may be `out`; or empty */
    struct tensor out;
    const struct norm *then; /* NULL: the first norm alone       */
    struct tensor then_out;
};

struct epilogue {      /* done to y = x W' + b, in this order; {0} = nothing */
    enum act      act;
    bool          glu; /* W stacks gate and up: y = act(gate) * up, out / 2 columns    */
    struct tensor mul; /* (1, out) per-column scale: LayerScale                         */
    struct tensor add; /* residual; may be the output itself                            */
    const struct norms *after; /* norms of y once it is stored, with the bits of norm(); not in place. NULL: none */
};

struct rope {          /* angle[i] = pos[axis[i]][row] * freq[i] */
    int   rot_dim;     /* rotated leading part of a head          */
    bool  interleaved; /* pairs (2i, 2i+1), else (i, i + rot/2)   */
    const float   *freq; /* (rot_dim / 2), scaling baked in       */
    const float   *stretched; /* the same for rows of sequences that are long (longrope), which are those whose pos[1]
                          is negative; NULL: all rows have freq   */
    const uint8_t *axis; /* (rot_dim / 2): 0 text; t, h, w for mrope */
    float mscale;      /* of cos and sin (yarn); 1 otherwise      */
};

/* The frequencies of row r; on the host. */
static inline const float *rope_frequencies(const struct rope *rope, const int *pos, int rows, int r)
{
    return rope->stretched && pos[rows + r] < 0 ? rope->stretched : rope->freq;
}

struct heads {         /* the shape of an attention: query head h reads kv head h / (n / n_kv) */
    int   n, n_kv, dim;
    float scale;                        /* of q k'           */
    float cap;                          /* scaled scores x become cap * tanh(x / cap); 0: they stay */
    const struct norm *q_norm, *k_norm; /* per head, or NULL */
    const struct rope *rope;            /* or NULL           */
};

struct kv {            /* the paged cache of one group of layers */
    enum dtype dtype;  /* F32, F16, BF16, Q8 or F8  */
    int   page;        /* entries in one page       */
    int   n_pages;
    int   layers;
    int   n_kv, dim;
    void *k, *v;       /* (n_pages, layers, page, n_kv, dim), see kernels/kv.h */
};

struct view {          /* what the rows see of a cache, and where they write */
    const int *slot;   /* (rows) page * kv.page + entry where this row's k, v go; < 0: nowhere. NULL: no row writes */
    const int *from;   /* (rows) this row sees entries from <= e < limit of its sequence; NULL: from 0. Sliding
                          windows need it, and tokens that see only the last of a prompt's images               */
    const int *limit;  /* (rows) 0: this row sees nothing, and its output is zero                                */
    const int *pages;  /* (seqs, max_pages) page i holds entries i * kv.page and up                              */
    const int *fill;   /* (kv.n_pages) entries in use of a page: an image may not fill its last one. NULL: all   */
    int max_pages, max_kv;  /* of any sequence of this batch */
};

struct batch {         /* one step: the rows of all sequences, end to end */
    int n_rows, n_seqs, max_rows;     /* max_rows: of one sequence                    */
    const int *token;                 /* (rows)      id; any valid id for image rows  */
    const int *pos;                   /* (3, rows)   t, h, w; equal for text          */
    const int *first;                 /* (seqs + 1)  first row of each sequence       */
    const struct view *views;         /* host array: 0 the text; 1 images, where the family has cross attention */
};

struct conv { int h, w, kernel, stride, pad; enum act act; };  /* h, w of the input; square kernel */

struct router {        /* which of n experts a row goes to: the k of the best scores */
    int   n, k;        /* at most MAX_EXPERTS, MAX_CHOSEN                               */
    bool  sigmoid;     /* a score is the logistic function of its logit; else the softmax over all of them */
    bool  normalise;   /* the weights of a row are its scores divided by their sum, ... */
    float scale;       /* ... times this                                                */
    int   groups, best;   /* the experts are so many groups one after the other, of which the best may be chosen
                          from: those with the largest sum of their two best scores. 1, 1: all                 */
    const float *bias; /* (n) is added to the scores for choosing alone; NULL: nothing  */
};
enum { MAX_EXPERTS = 1024, MAX_CHOSEN = 64 };

struct routes {        /* the rows in the order of their experts, what route() fills in */
    int   *first;      /* (n + 1) expert e has the places first[e] .. first[e + 1] - 1  */
    int   *row;        /* (rows * k) of each place; they rise within an expert          */
    int   *place;      /* (rows, k) of each row with its experts, the best first        */
    float *weight;     /* (rows, k) of these                                            */
};

struct experts {       /* as many weights of one shape and type, without biases */
    int n;
    const struct weight *w;          /* (n) on the host                                                    */
    const void *const   *data;       /* (n) w[e].data, for kernels; also on the host where that is the device */
};

struct resampling {    /* line i becomes the sum of weight[i, j] * line start[i] + j, as fixed-point numbers */
    int n, stride, bits;             /* lines; weights of each; of the fraction */
    const int *start, *count;        /* (n)         */
    const int32_t *weight;           /* (n, stride) */
};

struct sampling {      /* of one row */
    float    temperature;             /* 0: the largest logit, ties to the lowest id  */
    float    top_p, min_p;            /* 1, 0: off                                    */
    int      top_k;                   /* 0: off                                       */
    uint64_t seed;
    uint64_t step;                    /* counts the request's tokens: (seed, step) gives the random number */
};

struct penalty { float repetition, frequency, presence; };     /* 1, 0, 0: off */
struct seen {
    int   token, count;       /* count: times generated */
    bool  in_prompt;
    float bias;               /* is added to the logit, after the penalties */
};

struct ops {
    /* dense layers; out (rows, w->out), x (rows, w->in) */
    void (*embed)(struct device *, struct tensor out, const struct weight *, const int *ids);
    void (*linear)(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct epilogue *);
    void (*norm)(struct device *, struct tensor x, const struct norms *);                /* of the rows of x */
    /* Experts: who goes where by logits (rows, n); then a product whose rows first[e] .. first[e + 1] - 1 are
     * multiplied with expert e, (places, w->out), with glu half as wide: no row is there that no expert has. */
    void (*route)(struct device *, const struct routes *out, struct tensor logits, const struct router *);
    void (*linear_grouped)(struct device *, struct tensor out, struct tensor x, const struct experts *,
                           const int *first, enum act, bool glu);
    void (*act)(struct device *, struct tensor out, struct tensor x, enum act, bool glu);
    void (*add)(struct device *, struct tensor out, struct tensor a, struct tensor b);  /* b of one row: to each of a */
    void (*copy)(struct device *, struct tensor out, struct tensor x);       /* F32, F16, BF16 to any of these */

    /* out = g0 a + g1 b with g = softmax(logits); logits (rows, 2): dynamic routing */
    void (*fuse)(struct device *, struct tensor out, struct tensor a, struct tensor b, struct tensor logits);

    /* q-norm, k-norm and rope in place, then k and v into the cache at slot. kv NULL: in place only. k or v may be
     * empty (data NULL). pos (3, rows) with row stride q.rows or k.rows. */
    void (*prep)(struct device *, struct tensor q, struct tensor k, struct tensor v, const struct heads *,
                 const int *pos, const struct kv *, int layer, const int *slot);
    /* Paged attention: self attention, sliding windows and cross attention differ only in the view. */
    void (*attend)(struct device *, struct tensor out, struct tensor q, const struct kv *, int layer,
                   const struct heads *, const struct batch *, const struct view *);
    /* prep(), then attend(), in one, for rows whose slot is that of entry limit - 1 of their sequence. Afterwards q and
     * k hold anything. NULL: this backend gains nothing from it; call the two. */
    void (*prep_attend)(struct device *, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                        const struct kv *, int layer, const struct heads *, const struct batch *, const struct view *);
    /* No cache: rows q_first[s] .. q_first[s+1] attend to all of kv_first[s] .. kv_first[s+1]. */
    void (*attend_ragged)(struct device *, struct tensor out, struct tensor q, struct tensor k, struct tensor v,
                          const struct heads *, int n_seg, const int *q_first, const int *kv_first);

    /* images: a feature map is a matrix of (h * w) rows and c columns */
    void (*pixels)(struct device *, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift);
                   /* out (h * w, 3) = rgb * scale[c] + shift[c]; scale, shift (3) */
    /* One pass of a resize (image/resize.h): out (outer, t->n, inner) from in (outer, from, inner). Bytes, of which
     * whole words are written, so out ends with one. NULL: this backend cannot, and images come resized. */
    void (*resample)(struct device *, uint8_t *out, const uint8_t *in, int outer, int from, int inner,
                     const struct resampling *);
    void (*conv2d)(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
    void (*dwconv2d)(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);
    void (*gather)(struct device *, struct tensor out, struct tensor x, int taps, const int *idx, const float *w);
                   /* out[r] = sum over t of w[r, t] * x[idx[r, t]]; w NULL: taps = 1, a copy; idx < 0: zero */
    void (*scatter)(struct device *, struct tensor out, struct tensor x, const int *idx, bool add);
                   /* out[idx[r]] = (or +=) x[r]; idx < 0: skipped; idx has no repeats */

    /* tokens; logits (rows, vocab) */
    void (*mask)(struct device *, struct tensor logits, const uint32_t *allowed);
                   /* allowed (rows, ceil(vocab / 32)) bits: 0 makes a logit -infinity. For grammars of answers */
    void (*penalize)(struct device *, struct tensor logits, const struct seen *, const int *first,
                     const struct penalty *);
                   /* row r: seen[first[r]] .. seen[first[r+1]]; first (rows + 1), penalty (rows) */
    void (*sample)(struct device *, int *ids, struct tensor logits, const struct sampling *);  /* sampling (rows) */
                   /* p = softmax(logits / temperature), cut to the top_k largest; of these, renormalised, to the
                    * smallest set of the most likely that holds top_p; then to p >= min_p of the largest. Ties go to
                    * lower ids. Drawn in the order of ids by kernels/random.h. NaN is -infinity, +infinity the largest
                    * float; a row of nothing but -infinity gives 0. logits stay as they are. */
    void (*logprobs)(struct device *, int *top, float *lp, struct tensor logits, const int *chosen, int top_n);
                   /* log-softmax: lp (rows, 1 + top_n): chosen's, then the largest ones, whose ids are top (rows,
                    * top_n); -infinity where a logit is; top_n <= vocab */
};

/* The precision of what enters a product with a quantised matrix. AUTO is the backend's choice: what costs least among
 * what loses little beside the rounding of the weights themselves. */
enum activations { ACTIVATIONS_AUTO, ACTIVATIONS_FLOAT, ACTIVATIONS_INT8 };

struct device_options {    /* {0}: the default of each */
    int  threads;          /* of a backend that computes on the host; 0: one per core                       */
    bool varies;           /* faster kernels are allowed whose rounding depends on how many rows are
                              computed together: answers may then change slightly with the load            */
    enum activations activations;
};

struct backend {       /* memory and time; one const per backend */
    const char *name;  /* "ref", "cpu", "cuda" */
    bool        discrete;  /* has memory of its own: device addresses mean nothing to the host */
    bool        async;     /* operations return at once; what they compute is there after sync() */
    enum dtype  kv;    /* F32, F16 or BF16: of a cache, unless somebody chooses otherwise, ... */
    enum dtype  kv_rounded; /* ... and where products round their activations to int8          */
    struct ops  ops;
    /* -1: this machine has no such device, or not with these options. */
    int    (*open)(struct device **out, const struct device_options *, struct err *e);
    void   (*close)(struct device *);
    size_t (*memory)(struct device *);                   /* bytes that this device may use in all */
    void  *(*alloc)(struct device *, size_t);            /* 64-byte aligned; NULL: does not fit    */
    void   (*free)(struct device *, void *);
    void   (*upload)(struct device *, void *dst, const void *src, size_t);     /* src is copied before return */
    void   (*download)(struct device *, void *dst, const void *src, size_t);   /* valid after sync()           */
    /* Has the machine put memory behind a part of a block now, not when it is first used. NULL: alloc() has done it. */
    void   (*take)(struct device *, void *, size_t);
    /* What lies in a part of a block is needed no longer: the machine may have the memory until it is written to
     * again. NULL: it is kept. */
    void   (*give_back)(struct device *, void *, size_t);
    /* Fills out->data and out->bias from n slabs stacked by rows (out->out rows of out->in in all; out, in, layout are
     * set by the caller) in `want`; bias (host, out floats) may be NULL. CPU: a slab that is already `want` stays where
     * it lies, and so do panels. A quantised slab can only become what it is. A number that is not finite cannot be
     * quantised: an error that names the slab. */
    int    (*pack)(struct device *, struct weight *out, const struct slab *, int n, const float *bias, enum dtype want,
                   struct err *e);
    void   (*release)(struct device *, struct weight *);
    /* The slabs that pack() could make the same weight of without converting anything: returns how many. They lie in
     * the weight, until release(). NULL: the host cannot read this backend's weights. */
    int    (*slabs)(const struct weight *, struct slab *out, int most);
    /* Bytes that pack() will take, with the pages of the file where they stay in use. */
    size_t (*packed_bytes)(const struct weight *shape, enum dtype want);
    const char *(*sync)(struct device *);                /* wait; NULL or the first error (borrowed) */
    /* Operations between record(key) and the first replay(key) are not computed but kept, with their arguments; that
     * replay computes them, and every later one does again. They may not upload, download or sync. */
    void   (*record)(struct device *, int key);          /* NULL: backend cannot replay */
    bool   (*replay)(struct device *, int key);          /* false: nothing was recorded under this key */
};

extern const struct backend backend_ref, backend_cpu;

/* NULL and e: why it is not to be had. "auto": a GPU, if one can be used, else the CPU. */
const struct backend *backend_find(const char *name, struct err *e);

#endif
