/* kernels/cpu/cpu.h - between cpu.c, which cuts operations into tasks for the
 * threads, and the inner loops, which do one task each and are compiled once
 * for every instruction set (isa_*.c).
 *
 * A task's result never depends on how the operation was cut. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H
#include "kernels/cpu/linear.h"
#include "kernels/kv.h"

enum {
    MAX_LANES = 16,  /* floats in the widest vector                             */
    MAX_DIM   = 512, /* of an attention head                                    */
    MB        = 72,  /* float kernel, many rows: rows of x,                     */
    NB        = 48,  /*                          rows of w,                     */
    KC        = 256, /*                          columns of both, that are packed */
    DIRECT    = 16,  /* float kernel: up to this many rows read w where it lies */
    PANEL_ROWS = 12, /* kernels of panels: rows of a block, at most,            */
    PANEL_COLS = 48, /*                    and rows of w in one go              */
    PANELS_IN_L1 = 16384, /*               and bytes of w that blocks have in common  */
    TILED_ROWS = 256, /* many rows of panels: rows of x in one go,              */
    TILED_COLS = 400, /*              sums of each,                             */
    TILED_PART = 1024, /*             and columns that are widened at once      */
    ENTRIES   = 32,  /* attention: entries of one block                         */
    PAIRS     = 192, /* attention: (row, query head) pairs of a task, at most,  */
    PAIR_DIMS = 128 * PAIRS /*     and their dimensions in all                  */
};

struct attend_job {
    struct tensor out, q;
    const struct heads *heads;
    int         n_seqs;
    const int  *first;        /* (seqs + 1) rows of q                                      */
    enum dtype  dtype;        /* of k and v                                                */
    const void *k, *v;        /* of this layer                                             */
    size_t      k_stride, v_stride; /* bytes from one entry to the next ...                */
    size_t      head;         /* ... and from one head                                     */
    const int  *kv_first;     /* (seqs + 1) rows of k and v; NULL: paged, by view          */
    const struct view *view;
    int         page;         /* entries                                                   */
    int         page_step;    /* entries from one page to the next                         */
    int         pairs;        /* in one task                                               */
};

struct prep_job {
    struct tensor q, k, v;
    const struct heads *heads;
    const int  *pos;
    const struct kv *kv;      /* or NULL */
    int         layer;
    const int  *slot;
};

struct norm_job   { struct tensor x; const struct norms *norms; };
struct embed_job  { struct tensor out; const struct weight *w; const int *ids; };
struct dwconv_job { struct tensor out, x; const struct weight *w; const struct conv *conv; };

struct scratch {     /* of one worker; too large for a stack */
    union {
        struct {
            float acc[MB * NB * MAX_LANES]; /* partial sums between two chunks of columns */
            float x[MB * KC], w[(NB + 6) * KC];
            float y[MB * (NB + 2 * MAX_LANES)];
            float row[KC + MAX_LANES];
        } linear;
        struct {                                               /* see panels_task.inc */
            float   y[TILED_ROWS * TILED_COLS];
            uint8_t w[PANELS_IN_L1];
        } panels;
        struct {                                               /* see amx.inc */
            float   y[TILED_ROWS * TILED_COLS];
            int8_t  w[TILED_PART * MAX_LANES];
            float   scale[TILED_PART / 32 * MAX_LANES];
            int32_t products[2][4 * 16 * MAX_LANES];
        } tiled;
        struct {
            float v[ENTRIES * MAX_DIM], turned[ENTRIES * MAX_DIM];
            float q[PAIR_DIMS + MAX_LANES], acc[PAIR_DIMS];
            float p[PAIRS * ENTRIES];
        } attend;
        struct { float cos[MAX_DIM / 2], sin[MAX_DIM / 2]; } prep;
    };
} __attribute__((aligned(64)));

struct kernels {     /* the inner loops of one instruction set */
    const char *name;
    bool (*works)(void);                                           /* on this processor             */
    const struct linear_kernel *linear[12];                        /* tried in order; the last one fits all */
    void (*attend)(const struct attend_job *, int seq, int kv_head, int first_pair, int n_pairs, struct scratch *);
    void (*prep)(const struct prep_job *, int row, struct scratch *);
    void (*norm)(const struct norm_job *, int row);
    void (*embed)(const struct embed_job *, int row);
    void (*dwconv)(const struct dwconv_job *, int out_y);          /* one row of output pixels      */
};

extern const struct kernels kernels_generic, kernels_avx2, kernels_avxvnni, kernels_avx512, kernels_avx512vnni,
    kernels_amx, kernels_neon, kernels_neondot;

/* The inner loops for this kind of processor, best first, whether they work here or not; NULL: there is no i-th one. */
const struct kernels *cpu_variant(int i);

/* body(arg, i, worker) for every i < count, on the device's threads. */
void cpu_run(struct device *, int count, void (*body)(void *arg, int index, int worker), void *arg);

/* The same where the whole is worth waking the threads for `work` multiplications; else on this thread. */
void cpu_run_work(struct device *, int count, double work, void (*body)(void *arg, int index, int worker), void *arg);

int              cpu_threads(struct device *);               /* workers, with the engine's thread */
struct scratch  *cpu_scratch(struct device *, int worker);
char            *cpu_prepared(struct device *, size_t *room);   /* where linear prepares rows of x */
enum activations cpu_activations(struct device *);

/* cpu.c */
void cpu_norm(struct device *, struct tensor x, const struct norms *);

/* linear.c */
const struct linear_kernel *cpu_linear_kernel(struct device *, const struct weight *shape, enum dtype want);
void cpu_linear(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct epilogue *);
void cpu_conv2d(struct device *, struct tensor out, struct tensor x, const struct weight *, const struct conv *);

/* experts.c */
void cpu_linear_grouped(struct device *, struct tensor out, struct tensor x, const struct experts *, const int *first,
                        enum act, bool glu);

/* weights.c */
int cpu_pack(struct device *, struct weight *out, const struct slab *, int n, const float *bias, enum dtype want,
             struct err *);
void   cpu_release(struct device *, struct weight *);
int    cpu_slabs(const struct weight *, struct slab *out, int most);
size_t cpu_packed_bytes(const struct weight *shape, enum dtype want);

/* slices.c */
void cpu_act(struct device *, struct tensor out, struct tensor x, enum act, bool glu);
void cpu_add(struct device *, struct tensor out, struct tensor a, struct tensor b);
void cpu_copy(struct device *, struct tensor out, struct tensor x);
void cpu_fuse(struct device *, struct tensor out, struct tensor a, struct tensor b, struct tensor logits);
void cpu_route(struct device *, const struct routes *out, struct tensor logits, const struct router *);
void cpu_pixels(struct device *, struct tensor out, const uint8_t *rgb, const float *scale, const float *shift);
void cpu_gather(struct device *, struct tensor out, struct tensor x, int taps, const int *idx, const float *w);
void cpu_scatter(struct device *, struct tensor out, struct tensor x, const int *idx, bool add);
void cpu_mask(struct device *, struct tensor logits, const uint32_t *allowed);
void cpu_sample(struct device *, int *ids, struct tensor logits, const struct sampling *);
void cpu_logprobs(struct device *, int *top, float *lp, struct tensor logits, const int *chosen, int top_n);

struct blocks *cpu_blocks(struct device *);                /* where its weights lie         */
const struct kernels *cpu_kernels(struct device *);         /* this device's inner loops */
/* For tests: others. */
void                  cpu_use_kernels(struct device *, const struct kernels *);

static inline float *row_of(struct tensor t, int r) { return (float *)t.data + (size_t)r * (size_t)t.stride; }

#endif
