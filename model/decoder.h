/* model/decoder.h - the text decoder of Llama and its kin (Qwen2, Qwen3 and
 * the Qwen-VL families), and GLM's, which norms its branches before the sums.
 *
 * What the classes differ in is given as values: which projections have a
 * bias, q/k norms, the rope table, defaults of missing fields. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H
#include "model/blocks.h"
#include "model/experts.h"
#include "model/load.h"
#include "model/rope.h"

struct decoder {
    struct weight embed, head;       /* head: the embedding itself where they are tied */
    struct weight scale;             /* (hidden, 1): what embeddings of tokens are multiplied by; out 0: nothing */
    struct norm   norm;
    struct cap    cap;               /* of the logits; none: there is none */
    struct rope   rope;
    struct block *layer;             /* (n_layers), the model's memory                 */
    int           n_layers;
    struct weight classes;           /* of a checkpoint ...ForSequenceClassification; model.classes points to it, or is
                                        NULL */
};

/* Which layers have the window of sliding_window, if the configuration says use_sliding_window. Classes that do not
 * know that field pay no attention to it. */
enum window_rule {
    WINDOW_NONE,
    WINDOW_LATER,                    /* from max_window_layers on, or as layer_types says */
    WINDOW_ALL,
};

struct decoder_kind {
    double eps;                      /* default of rms_norm_eps                        */
    int    vocab, hidden, layers, heads, n_kv, inner;  /* defaults of these; 0: they must be given, n_kv: as heads */
    const char *head;                /* where the head is; NULL: head_name() finds it  */
    int    head_dim;                 /* default of head_dim; 0: hidden / heads         */
    int    context;                  /* default of max_position_embeddings             */
    bool   tied;                     /* default of tie_word_embeddings                 */
    const char *act;                 /* default of hidden_activation; NULL: hidden_act must be silu */
    enum norm_kind norm;
    const char *const *norms;        /* (4) names of norms: before and after attention, before and after the MLP; NULL:
                                        Llama's or, with post_norms, GLM's */
    enum bias qkv_bias, o_bias, mlp_bias;
    bool   qk_norm;
    enum window_rule windows;
    bool   post_norms;               /* post_self_attn_layernorm and post_mlp_layernorm: branches are normed before the
                                        sums */
    bool   gate_up;                  /* gate and up lie in one tensor                  */
    bool   fused_qkv;                /* so do q, k and v, as qkv_proj                  */
    const int *apart;                /* (n_apart) layers of another kind, in rising order: their blocks stay empty for
                                        the family to fill, and they have no layer in the text's KV */
    int    n_apart;
    int    more_ids;                 /* rows that the embedding has beyond the head's  */
    struct load_part more_embed, more_head;    /* rows of the vocabulary in tensors of their own, behind those of
                                                  embedding and head; {0}: none */
    struct rope_kind rope;           /* head_dim is filled in                          */
    struct moe_kind moe;             /* layers with routed experts; none where its experts are 0 */
};

/* Below which name a text model's tensors lie: "model.", or nothing where the model was stored without its head, as
 * models that give embeddings are. */
const char *decoder_root(const struct loader *l);

/* Reads the text configuration and loads ROOT.embed_tokens, ROOT.layers.N, ROOT.norm and lm_head; fills in the model's
 * vocab, hidden, context and text_kv. `root` ends in '.'. */
void decoder_load(struct loader *l, struct decoder *d, struct hparams *text, const char *root,
                  const struct decoder_kind *kind);

/* Layers i with windowed[i] see `window` tokens, and have a cache of their own where others see all. After
 * decoder_load(). */
void decoder_windows(struct model *m, struct decoder *d, const bool *windowed, int window);
/* layer_types, where the configuration has it: windowed (n) becomes true for "sliding_attention" and false for
 * "full_attention". */
void decoder_layer_types(struct hparams *text, bool *windowed, int n);
/* How many tokens the window of use_sliding_window holds; 0: it is not in use. */
int decoder_window(struct hparams *text);
/* Embeddings of tokens are multiplied by a number. Likewise. */
void decoder_scale(struct loader *l, struct decoder *d, double scale);
/* Logits x become cap * tanh(x / cap). Likewise. */
void decoder_cap(struct loader *l, struct decoder *d, double cap);

struct tensor decoder_forward(struct run *r, const struct decoder *d, const struct forward *in);
/* The same of the decoder that was loaded: family.forward where the family adds nothing to it. */
struct tensor decoder_pass(const struct model *m, struct run *r, const struct forward *in);

#endif
