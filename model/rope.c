/* model/rope.c - see rope.h. Frequencies are made in doubles and rounded where the reference rounds. */
#include "model/rope.h"

#include <math.h>
#include <string.h>

/* What a scheme reads, and the table that it changes. */
struct making {
    struct rope_table *out;
    struct hparams *s, *text;        /* rope_parameters (or rope_scaling); the text's configuration */
    double theta;
    int    max_positions;            /* max_position_embeddings                                     */
    int    old;                      /* original_max_position_embeddings                            */
    int    wanted;                   /* tokens of context that are asked for; 0: as many as there are */
};

/* theta^(-2i/d) of Su et al. 2021, with the quotient rounded to float first, as the reference has it. */
static void base_frequencies(float *freq, int rot_dim, double theta)
{
    for (int i = 0; i < rot_dim / 2; i++)
        freq[i] = 1.0f / (float)pow(theta, (double)((float)(2 * i) / (float)rot_dim));
}

/* The scheme's own field, which must be there. */
static double factor_of(const struct making *m)
{
    return hparams_number(m->s, "factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
}

static void plain(struct making *m) { (void)m; }

/* Positions are squeezed into the old context, by which all frequencies are slowed alike. */
static void linear(struct making *m)
{
    double factor = factor_of(m);
    for (int i = 0; i < m->out->rot_dim / 2; i++)
        m->out->freq[i] = (float)(m->out->freq[i] / factor);
}

/* "NTK-aware" scaling by a larger theta, which grows with the length of the text. The reference computes it anew for
 * every length beyond the trained context, so that a key's rotation depends on when it was computed; here one length
 * holds for all: the context that is asked for. Within the trained context nothing changes. */
static void dynamic(struct making *m)
{
    int dim = m->out->rot_dim, context = m->wanted > m->max_positions ? m->wanted : m->max_positions;
    double factor = factor_of(m), longer = factor * context / m->max_positions - (factor - 1);
    if (dim > 2 && longer > 0)
        base_frequencies(m->out->freq, dim, m->theta * pow(longer, dim / (dim - 2.0)));
    m->out->context = context;
}

/* Llama 3.1's scaling: waves longer than the old context are slowed by `factor`, short ones stay, and those between
 * go over smoothly. */
static void llama3(struct making *m)
{
    float *freq = m->out->freq;
    double factor = factor_of(m);
    double low = hparams_number(m->s, "low_freq_factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
    double high = hparams_number(m->s, "high_freq_factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
    for (int i = 0; i < m->out->rot_dim / 2; i++) {
        double wave = 2 * M_PI / freq[i];
        double smooth = (m->old / wave - low) / (high - low);
        if (wave > m->old / low)
            freq[i] = (float)(freq[i] / factor);
        else if (wave >= m->old / high)
            freq[i] = (float)((1 - smooth) * freq[i] / factor + smooth * freq[i]);
    }
}

/* By how much the cosines and sines grow with a context that is `factor` times as long. */
static double mscale_of(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

/* A field that counts as absent where it is 0. */
static double or_usual(struct hparams *s, const char *name, double usual)
{
    double x = hparams_number(s, name, 0, 0, 1e6);
    return x > 0 ? x : usual;
}

/* The dimension that turns `rotations` times within the original context. */
static double yarn_dim(const struct making *m, double rotations)
{
    return m->out->rot_dim * log(m->old / (rotations * 2 * M_PI)) / (2 * log(m->theta));
}

/* YaRN (Peng et al. 2023): dimensions that turn often within the old context keep their frequency, slow ones are
 * slowed by `factor`, with a ramp between. Cosines and sines are scaled, which keeps attention as sharp as it was. The
 * context grows to what the frequencies were stretched for. */
static void yarn(struct making *m)
{
    int dim = m->out->rot_dim;
    double factor = hparams_number(m->s, "factor", (double)m->max_positions / m->old, 1e-3, 1e6);
    double scale = hparams_number(m->s, "mscale", 0, 0, 1e3), all = hparams_number(m->s, "mscale_all_dim", 0, 0, 1e3);
    double low = yarn_dim(m, or_usual(m->s, "beta_fast", 32)), high = yarn_dim(m, or_usual(m->s, "beta_slow", 1));
    if (hparams_bool(m->s, "truncate", true)) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < dim / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1), keep = m->out->freq[i];
        m->out->freq[i] = (float)(keep / factor * ramp + keep * (1 - ramp));
    }
    double usual = scale && all ? mscale_of(factor, scale) / mscale_of(factor, all) : mscale_of(factor, 1);
    m->out->mscale = hparams_number(m->s, "attention_factor", usual, 1e-3, 1e3);
    double longer = m->old * hparams_number(m->s, "factor", 1, 1e-3, 1e6);
    if (longer > m->out->context && longer < 1 << 28)
        m->out->context = (int)longer;
}

/* One of LongRoPE's lists: each frequency is divided by a number of its own. */
static void divide_each(struct making *m, float *freq, const char *name)
{
    double by[ROPE_MAX_DIM / 2];
    int n = m->out->rot_dim / 2;
    if (hparams_numbers(m->s, name, by, ROPE_MAX_DIM / 2) != n) {
        hparams_fail(m->s, name, "must be %d numbers, one for each rotated pair", n);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (!(by[i] >= 1e-6 && by[i] <= 1e9))
            hparams_fail(m->s, name, "%g is not in 1e-6..1e9", by[i]);
        freq[i] = 1.0f / ((float)by[i] * (float)pow(m->theta, (double)((float)(2 * i) / (float)(2 * n))));
    }
}

/* LongRoPE (Ding et al. 2024): one list of factors for sequences within the original context, another for longer ones.
 * Which one holds follows from the length of the whole sequence, so that all keys are computed anew when it passes the
 * original length. */
static void longrope(struct making *m)
{
    double factor = hparams_number(m->s, "factor", (double)m->max_positions / m->old, 1e-3, 1e6);
    double usual = factor > 1 && m->old > 1 ? sqrt(1 + log(factor) / log(m->old)) : 1;
    divide_each(m, m->out->freq, "short_factor");
    divide_each(m, m->out->stretched, "long_factor");
    m->out->stretch_after = m->old;
    m->out->mscale = hparams_number(m->s, "attention_factor", usual, 1e-3, 1e3);
}

static const struct scheme {
    const char *name;
    void (*apply)(struct making *m);
} schemes[] = {
    { "default", plain }, { "mrope", plain },          /* the latter is what old files of Qwen2-VL say */
    { "linear", linear }, { "dynamic", dynamic }, { "llama3", llama3 }, { "yarn", yarn }, { "longrope", longrope },
};

/* Changes the plain frequencies as the configuration says. */
static void apply_scheme(struct making *m, const struct rope_kind *kind)
{
    const char *type = hparams_string(m->s, "rope_type|type", "default");
    if (kind->old_longrope && (!strcmp(type, "su") || !strcmp(type, "yarn")))
        type = "longrope";
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (!strcmp(type, schemes[i].name)) {
            schemes[i].apply(m);
            return;
        }
    hparams_fail(m->s, "rope_type", "\"%.40s\" is not supported (default, linear, dynamic, llama3, yarn, longrope)",
                 type);
}

/* Which of the three positions, t, h or w, angle i counts: in blocks one after the other, or in turn until an axis has
 * all that its section gives it, and t for the rest. */
static void axes(uint8_t *axis, int n, enum mrope mrope, const int section[3])
{
    memset(axis, 0, (size_t)n);
    if (mrope == MROPE_SECTIONS)
        for (int i = 0; i < n; i++)
            axis[i] = (uint8_t)((i >= section[0]) + (i >= section[0] + section[1]));
    if (mrope == MROPE_INTERLEAVED)
        for (int i = 0; i < n; i++)
            axis[i] = (uint8_t)(i % 3 && i < 3 * section[i % 3] ? i % 3 : 0);
}

/* Reads mrope_section and gives every angle its axis. */
static void make_axes(struct making *m, const struct rope_kind *kind)
{
    int section[3] = { kind->section[0], kind->section[1], kind->section[2] }, half = m->out->rot_dim / 2;
    if (kind->mrope != MROPE_NONE) {
        int n = hparams_ints(m->s, "mrope_section", section, 3, 0, ROPE_MAX_DIM);
        if ((n && n != 3) || (kind->mrope == MROPE_SECTIONS && section[0] + section[1] + section[2] != half))
            hparams_fail(m->s, "mrope_section", "must be three numbers with the sum %d", half);
    }
    axes(m->out->axis, half, kind->mrope, section);
}

/* Fields stand in rope_scaling or rope_parameters, or directly in the configuration, depending on the age of the
 * checkpoint. The original context, where it stands directly, goes before that of the scheme, as in the reference. */
int rope_make(struct rope_table *out, struct hparams *text, const struct rope_kind *kind, int max_positions,
              int wanted)
{
    struct hparams s = hparams_object(text, hparams_has(text, "rope_scaling") ? "rope_scaling" : "rope_parameters");
    if (kind->layers && (kind->local_theta || hparams_has(&s, kind->layers)))
        s = hparams_object(&s, kind->layers);
    double theta = hparams_number(text, kind->local_theta ? kind->local_theta : "rope_theta", kind->theta, 1.001, 1e12);
    double partial = hparams_number(text, "partial_rotary_factor", kind->partial, 0.01, 1);
    partial = hparams_number(&s, "partial_rotary_factor", partial, 0.01, 1);
    int64_t old = kind->original ? kind->original : max_positions;
    old = hparams_int(&s, "original_max_position_embeddings", old, 1, 1 << 28);
    struct making m = { .out = out, .s = &s, .text = text, .max_positions = max_positions, .wanted = wanted,
                        .theta = hparams_number(&s, "rope_theta", theta, 1.001, 1e12),
                        .old = (int)hparams_int(text, "original_max_position_embeddings", old, 1, 1 << 28) };
    *out = (struct rope_table){ .rot_dim = (int)(kind->head_dim * partial) / 2 * 2, .mscale = 1,
                                .context = max_positions };
    if (out->rot_dim < 2 || out->rot_dim > ROPE_MAX_DIM)
        return hparams_fail(text, "partial_rotary_factor", "%d rotated dimensions of a head are not in 2..%d",
                            out->rot_dim, ROPE_MAX_DIM);
    base_frequencies(out->freq, out->rot_dim, m.theta);
    apply_scheme(&m, kind);
    make_axes(&m, kind);
    return hparams_end(text);
}

/* The tables go to the device once: every layer and every step reads the same. */
static void to_device(struct loader *l, struct rope *out, const float *freq, const uint8_t *axis)
{
    size_t n = (size_t)out->rot_dim / 2;
    out->freq = load_bytes(l, freq, n * sizeof *freq);
    out->axis = load_bytes(l, axis, n);
}

void rope_load(struct loader *l, struct rope *out, struct hparams *text, const struct rope_kind *kind, int *context)
{
    struct rope_table t;
    *out = (struct rope){ 0 };
    if (rope_make(&t, text, kind, context ? *context : 1 << 20, l->opt->context) != 0)
        return;
    *out = (struct rope){ .rot_dim = t.rot_dim, .interleaved = kind->interleaved, .mscale = (float)t.mscale };
    to_device(l, out, t.freq, t.axis);
    if (t.stretch_after)
        out->stretched = load_bytes(l, t.stretched, (size_t)t.rot_dim / 2 * sizeof *t.stretched);
    l->m->stretch_after = t.stretch_after;
    if (context)
        *context = t.context;
}

/* Half of a vision head turns with the row of a patch, half with its column, both with the same frequencies. */
void rope_load_2d(struct loader *l, struct rope *out, int head_dim, double theta)
{
    float freq[ROPE_MAX_DIM / 2];
    uint8_t axis[ROPE_MAX_DIM / 2];
    int n = head_dim / 4;
    *out = (struct rope){ .rot_dim = head_dim, .mscale = 1 };
    if (head_dim % 4 || head_dim > ROPE_MAX_DIM) {
        load_fail(l, "%s: config.json: vision heads of %d dimensions cannot be rotated in two directions", l->dir,
                  head_dim);
        return;
    }
    base_frequencies(freq, head_dim / 2, theta);
    for (int i = 0; i < n; i++) {
        freq[n + i] = freq[i];
        axis[i] = 0;
        axis[n + i] = 1;
    }
    to_device(l, out, freq, axis);
}
