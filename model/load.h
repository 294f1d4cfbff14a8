/* model/load.h - fetch by name, check, fold, pack: what a family's load() is
 * written with.
 *
 *     load_at(l, "model.layers.%d.", i);
 *     load_norm(l, &b->norm1, hidden, RMS_NORM, eps, "input_layernorm");
 *     load_qkv(l, &b->qkv, hidden, PARTS({ "self_attn.q_proj", q }, { "self_attn.k_proj", k }), WITH_BIAS);
 *     load_linear(l, &b->o, hidden, q, NO_BIAS, "self_attn.o_proj");
 *
 * Every function checks that the tensor is there, a float type and of exactly
 * this shape. The first error sticks; later calls do nothing, so a family asks
 * once at its end: load_end(). A name is relative to the prefix of load_at();
 * one that starts with '/' is absolute.
 *
 * What is packed, uploaded or kept for the backend belongs to the model
 * (m->loaded) and is freed by model_close(). Without a device ("dry") all
 * checks run and all bytes are counted, but nothing is packed or uploaded. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H
#include "checkpoint/hparams.h"
#include "model/model.h"

enum bias      { NO_BIAS, WITH_BIAS };
enum norm_kind { RMS_NORM, LAYER_NORM, RMS_NORM_OFFSET };    /* LAYER_NORM has a bias; OFFSET: the file has w - 1 */

struct loader {
    struct model  *m;
    const char    *dir;
    struct hparams config;           /* config.json                                             */
    struct hparams image;            /* preprocessor_config.json, or processor_config.json's
                                        image_processor; empty if neither is there               */
    char           prefix[192];
    uint8_t       *used;             /* owned (tensors): how often each was fetched              */
    size_t         done, all;        /* bytes of tensors: fetched so far, in the files           */
    const struct model_options *opt; /* borrowed                                                 */
    struct err    *e;
    bool           failed;
};

struct load_part { const char *name; int rows; };
#define PARTS(...) (const struct load_part[]){ __VA_ARGS__ }, \
                   (int)(sizeof((const struct load_part[]){ __VA_ARGS__ }) / sizeof(struct load_part))
#define SHAPE(...) (const int[]){ __VA_ARGS__ }, (int)(sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

void load_at(struct loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The first of the prefixes (NULL at the end) under which `name` is there; the first one if none. */
const char *load_root(const struct loader *l, const char *name, const char *const *prefixes);
/* Where writers have put the parts of models with images, as prefixes for load_root(). */
extern const char *const load_text_roots[], *const load_tower_roots[], *const load_projector_roots[];
/* Is there such a tensor? */
bool load_has(const struct loader *l, const char *name);
bool load_has_shape(const struct loader *l, const char *name, const int *shape, int n_dims);
/* A tensor that writers may add as a copy of another: is it absent, or the same to the byte? Then it counts as used. */
bool load_is_copy(struct loader *l, const char *name, const char *of);

/* All tensors whose names begin so are known, and not needed: the selftest must not warn of them. */
void load_skip(struct loader *l, const char *name);

/* NAME.weight (rows, in) and, with WITH_BIAS, NAME.bias (rows). */
void load_linear(struct loader *l, struct weight *out, int rows, int in, enum bias bias, const char *name);
/* The same of several matrices stacked by rows. */
void load_stack(struct loader *l, struct weight *out, int in, const struct load_part *parts, int n, enum bias bias);
/* n matrices (rows, in) that lie in one tensor NAME, (n, rows, in) or, turned, (n, in, rows); `apart`: a format with
 * %d, the name of each where it lies alone. */
void load_slices(struct loader *l, struct weight *out, int n, int rows, int in, bool turned, const char *name,
                 const char *apart);
/* The same of what makes queries, keys and values of self attention, whose numbers may be stored wider than others. */
void load_qkv(struct loader *l, struct weight *out, int in, const struct load_part *parts, int n, enum bias bias);
/* NAME.weight (rows, in) in the numbers that the checkpoint has, whatever becomes of the others. */
void load_exact(struct loader *l, struct weight *out, int rows, int in, const char *name);
/* NAME.weight (rows, in), a row per token: the embedding, the head, or both. */
void load_embedding(struct loader *l, struct weight *out, int rows, int in, const char *name);
/* The same of two matrices, of which the second may have no rows. */
void load_vocabulary(struct loader *l, struct weight *out, int in, struct load_part first, struct load_part more);
/* NAME.weight and, for LAYER_NORM, NAME.bias. */
void load_norm(struct loader *l, struct norm *out, int n, enum norm_kind kind, double eps, const char *name);

/* A copy as floats, valid until load() returns; NULL after an error. `name` is complete ("x.weight"). */
float *load_floats(struct loader *l, const int *shape, int n_dims, const char *name);
/* A table on the device in the type that the file has, seen as (rows, cols): for what is large and used in parts. */
struct tensor load_stored_table(struct loader *l, const int *shape, int n_dims, int rows, int cols, const char *name);
/* The same of some rows of a matrix (rows, in) that is loaded otherwise: (n, in). */
float *load_rows_of(struct loader *l, const char *name, int rows, int in, const int *row, int n);
/* Zeroed memory that lives as long as the model: arrays of a family's struct. Never NULL. */
void  *load_keep(struct loader *l, size_t n);
/* Zeroed floats until load() returns, for what load() computes. */
float *load_scratch(struct loader *l, size_t n);
/* Packs computed floats (rows, in); bias (rows) may be NULL. */
void load_packed(struct loader *l, struct weight *out, enum layout layout, int rows, int in, float *w,
                 const float *bias);
/* A device table of computed floats, or of bytes. */
struct tensor load_table(struct loader *l, const float *host, int rows, int cols);
const void   *load_bytes(struct loader *l, const void *host, size_t n);

/* How a weight lies in the file of a prepared checkpoint, see docs/quantisation.md. */
#define SCALE_SUFFIX ".scale"
struct stored_shape {
    const char *type;                /* safetensors' name                                    */
    int64_t     dims[3];
    int         n_dims, align;       /* align: bytes, of one element                         */
    int64_t     scales;              /* floats of the tensor NAME SCALE_SUFFIX; 0: there is none */
};
void load_stored_shape(struct stored_shape *out, int rows, int in, enum dtype type, enum form form);

/* The ids of tokens that tokenizer.json adds to the vocabulary, by their texts: ids (n). -1: one is missing. */
int load_tokens(struct loader *l, const char *const *texts, int n, int *ids);

/* An activation by transformers' name. */
enum act load_act(struct hparams *h, const char *names, const char *def);

/* Notes an error; returns -1. */
int load_fail(struct loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int load_end(struct loader *l);      /* 0, or -1 when anything was wrong (the configuration included) */

/* For model_open() and model_close(). */
int  loader_open(struct loader *l, struct model *m, const char *dir, const struct model_options *opt, struct err *e);
void loader_close(struct loader *l);
void loaded_free(struct model *m);

#endif
