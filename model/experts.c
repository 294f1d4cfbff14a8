/* model/experts.c - see experts.h. Checkpoints have the experts one by one, or all of a layer in one tensor: as
 * (experts, out, in), or turned, as Qwen3-VL-MoE is published. */
#include "model/experts.h"

#include <stdio.h>

/* Which layers have experts: every decoder_sparse_step-th, none of mlp_only_layers, and not the first few. */
static void read_layers(struct moe_plan *out, struct hparams *t, const struct moe_kind *kind, int n_layers)
{
    int plain[MOE_MAX_LAYERS], dense = (int)hparams_int(t, "first_k_dense_replace", kind->dense, 0, MOE_MAX_LAYERS);
    int step = (int)hparams_int(t, "decoder_sparse_step", 1, 1, MOE_MAX_LAYERS);
    int n = hparams_ints(t, "mlp_only_layers", plain, MOE_MAX_LAYERS, 0, MOE_MAX_LAYERS - 1);
    for (int i = 0; i < n_layers; i++)
        out->layer[i] = i >= dense && (i + 1) % step == 0;
    for (int i = 0; i < n; i++)
        out->layer[plain[i]] = false;
}

void moe_read(struct moe_plan *out, struct hparams *t, const struct moe_kind *kind, int n_layers)
{
    struct router *r = &out->router;
    *out = (struct moe_plan){ 0 };
    if (!kind->experts)
        return;
    r->n = (int)hparams_int(t, "num_experts|n_routed_experts|num_local_experts", kind->experts, 1, MAX_EXPERTS);
    r->k = (int)hparams_int(t, "num_experts_per_tok", kind->per_token, 1, MAX_CHOSEN);
    r->sigmoid = kind->sigmoid;
    r->normalise = kind->always || hparams_bool(t, "norm_topk_prob", kind->normalise);
    r->scale = (float)hparams_number(t, "routed_scaling_factor", 1, 1e-6, 1e6);
    r->groups = (int)hparams_int(t, "n_group", 1, 1, MAX_EXPERTS);
    r->best = (int)hparams_int(t, "topk_group", 1, 1, MAX_EXPERTS);
    out->inner = (int)hparams_int(t, "moe_intermediate_size", kind->inner, 1, 1 << 18);
    out->shared = out->inner * (int)hparams_int(t, "n_shared_experts", kind->shared, 0, 64);
    if (r->k > r->n)
        hparams_fail(t, "num_experts_per_tok", "%d is more than there are experts, %d", r->k, r->n);
    if (r->n % r->groups)
        hparams_fail(t, "n_group", "%d groups do not divide %d experts", r->groups, r->n);
    else if (r->best > r->groups || r->best * (r->n / r->groups) < r->k)
        hparams_fail(t, "topk_group", "%d of %d groups do not have %d experts", r->best, r->groups, r->k);
    read_layers(out, t, kind, n_layers);
}

/* For kernels: where the numbers of each weight lie. */
static void finish_experts(struct loader *l, struct experts *e, const struct weight *w, int n)
{
    const void **data = load_keep(l, (size_t)n * sizeof *data);
    for (int i = 0; i < n; i++)
        data[i] = w[i].data;
    *e = (struct experts){ .n = n, .w = w, .data = load_bytes(l, data, (size_t)n * sizeof *data) };
}

/* Gate and up of expert i, stacked, and its down, from tensors of its own. */
static void load_one(struct loader *l, struct weight *up, struct weight *down, int i, int hidden, int inner)
{
    char gate[64], second[64], last[64];
    snprintf(gate, sizeof gate, "mlp.experts.%d.gate_proj", i);
    snprintf(second, sizeof second, "mlp.experts.%d.up_proj", i);
    snprintf(last, sizeof last, "mlp.experts.%d.down_proj", i);
    load_stack(l, up, hidden, PARTS({ gate, inner }, { second, inner }), NO_BIAS);
    load_linear(l, down, hidden, inner, NO_BIAS, last);
}

/* The experts of a layer. Of tensors that hold all of them the shape tells which way round they are. */
static void load_experts(struct loader *l, struct moe *m, int hidden, int inner)
{
    int n = m->router.n;
    struct weight *up = load_keep(l, (size_t)n * sizeof *up), *down = load_keep(l, (size_t)n * sizeof *down);
    if (load_has(l, "mlp.experts.gate_up_proj")) {
        bool turned = load_has_shape(l, "mlp.experts.gate_up_proj", SHAPE(n, hidden, 2 * inner)) &&
                      load_has_shape(l, "mlp.experts.down_proj", SHAPE(n, inner, hidden));
        load_slices(l, up, n, 2 * inner, hidden, turned, "mlp.experts.gate_up_proj", "mlp.experts.%d.gate_proj");
        load_slices(l, down, n, hidden, inner, turned, "mlp.experts.down_proj", "mlp.experts.%d.down_proj");
    } else
        for (int i = 0; i < n && !l->failed; i++)
            load_one(l, &up[i], &down[i], i, hidden, inner);
    finish_experts(l, &m->up, up, n);
    finish_experts(l, &m->down, down, n);
}

/* The gate's numbers are not rounded with those of the other weights: a score that is a little off sends a token to
 * another expert. */
const struct moe *moe_load(struct loader *l, const struct moe_plan *plan, const struct moe_kind *kind, int hidden)
{
    struct moe *m = load_keep(l, sizeof *m);
    int n = plan->router.n, shared = plan->shared;
    m->router = plan->router;
    load_exact(l, &m->gate, n, hidden, "mlp.gate");
    if (kind->sigmoid) {
        const float *bias = load_floats(l, SHAPE(n), "mlp.gate.e_score_correction_bias");
        m->router.bias = load_table(l, bias, 1, n).data;
    }
    load_experts(l, m, hidden, plan->inner);
    if (shared) {
        load_stack(l, &m->shared_up, hidden,
                   PARTS({ "mlp.shared_experts.gate_proj", shared }, { "mlp.shared_experts.up_proj", shared }),
                   NO_BIAS);
        load_linear(l, &m->shared_down, hidden, shared, NO_BIAS, "mlp.shared_experts.down_proj");
    }
    return m;
}

/* act(gate) * up of every place: h is gathered in the order of the experts, (places, hidden). */
static void widen(struct run *r, struct tensor out, const struct moe *m, struct tensor h, const struct routes *to)
{
    NN_SCRATCH(r)
        nn_linear_grouped_to(r, out, nn_gather(r, h, out.rows, 1, to->row, NULL), &m->up, to->first, ACT_SILU, true);
}

/* y (rows, hidden): what the chosen experts make of each row of h, added up with their weights. */
static void routed(struct run *r, struct tensor y, const struct moe *m, struct tensor h)
{
    int places = h.rows * m->router.k;
    NN_SCRATCH(r) {
        struct routes to = nn_route(r, nn_linear(r, h, &m->gate, (struct epilogue){ 0 }), &m->router);
        struct tensor up = nn_new(r, places, m->down.w->in);
        widen(r, up, m, h, &to);
        struct tensor down = nn_new(r, places, h.cols);
        nn_linear_grouped_to(r, down, up, &m->down, to.first, ACT_NONE, false);
        nn_gather_to(r, y, down, m->router.k, to.place, to.weight);
    }
}

/* Nobody can guess the norm that follows, because adding is an operation of its own here. */
void moe_forward(struct run *r, struct stream *s, const struct moe *m, struct tensor h)
{
    NN_SCRATCH(r) {
        struct tensor y = nn_new(r, h.rows, h.cols);
        routed(r, y, m, h);
        if (m->shared_down.out) {
            struct tensor up = nn_linear(r, h, &m->shared_up, (struct epilogue){ .act = ACT_SILU, .glu = true });
            nn_linear_to(r, y, up, &m->shared_down, (struct epilogue){ .add = y });
        }
        nn_add(r, s->x, s->x, y);
    }
    s->normed = NULL;
}
