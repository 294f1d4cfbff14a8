/* model/experts.h - layers whose MLP is many small ones, of which each token has
 * a few (mixture of experts, Shazeer et al. 2017): Qwen3-MoE, GLM-4.5 and their
 * kin.
 *
 *     logits = gate(h)                   each row has its k best experts, with weights
 *     y = sum of weight * down(act(gate) * up)      over its experts
 *     y += the same of an expert that all rows share, where there is one
 *
 * The rows are gathered in the order of their experts, so that one product runs
 * for all experts at once, and none for those that nobody has. */
#ifndef MODEL_EXPERTS_H
#define MODEL_EXPERTS_H
#include "model/blocks.h"
#include "model/load.h"

struct moe_kind {                    /* what a family's code fixes                          */
    int    experts;                  /* default of num_experts; 0: the family has none      */
    int    per_token, inner;         /* of num_experts_per_tok and moe_intermediate_size    */
    bool   sigmoid;                  /* scores are logistic, with a correction for choosing */
    bool   normalise;                /* default of norm_topk_prob, ...                      */
    bool   always;                   /* ... which the class does not read                   */
    int    shared;                   /* of n_shared_experts                                 */
    int    dense;                    /* of first_k_dense_replace                            */
};

struct moe {                         /* one layer */
    struct weight  gate;             /* (experts, hidden)                                   */
    struct router  router;
    struct experts up, down;         /* up: gate stacked on up                              */
    struct weight  shared_up, shared_down;       /* out 0: no expert is shared              */
};

enum { MOE_MAX_LAYERS = 1024 };

struct moe_plan {                    /* what the configuration says */
    struct router router;
    int  inner, shared;              /* of an expert's MLP; of the shared one: 0: there is none    */
    bool layer[MOE_MAX_LAYERS];      /* does layer i have experts                                  */
};

/* Reads the fields of a text configuration of n_layers; errors stay there. */
void moe_read(struct moe_plan *out, struct hparams *text, const struct moe_kind *kind, int n_layers);

/* Below the prefix of load_at(): mlp.gate, mlp.experts and mlp.shared_experts. The model's memory. */
const struct moe *moe_load(struct loader *l, const struct moe_plan *plan, const struct moe_kind *kind, int hidden);

/* x += what its experts make of h, of all rows; h is norm(x) and lies in the stream. */
void moe_forward(struct run *r, struct stream *s, const struct moe *m, struct tensor h);

#endif
