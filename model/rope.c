/* model/rope.c - see rope.h. Frequencies are made in doubles and rounded where the reference rounds. */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROT = 1024 };

/* theta^(-2i/d) of Su et al. 2021, with the quotient rounded to float first, as the reference has it. */
static void base_frequencies(float *freq, int rot_dim, double theta)
{
    for (int i = 0; i < rot_dim / 2; i++)
        freq[i] = 1.0f / (float)pow(theta, (double)((float)(2 * i) / (float)rot_dim));
}

/* Llama 3.1's scaling: waves longer than the old context are slowed by `factor`, short ones stay, and those between
 * go over smoothly. */
static void llama3(float *freq, int n, struct hparams *s, int max_positions)
{
    double factor = hparams_number(s, "factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
    double low = hparams_number(s, "low_freq_factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
    double high = hparams_number(s, "high_freq_factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
    double old = (double)hparams_int(s, "original_max_position_embeddings", max_positions, 1, 1 << 28);
    for (int i = 0; i < n; i++) {
        double wave = 2 * M_PI / freq[i];
        double smooth = (old / wave - low) / (high - low);
        if (wave > old / low)
            freq[i] = (float)(freq[i] / factor);
        else if (wave >= old / high)
            freq[i] = (float)((1 - smooth) * freq[i] / factor + smooth * freq[i]);
    }
}

/* By how much the cosines and sines grow with a context that is `factor` times as long. */
static double mscale_of(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

/* The dimension that turns `rotations` times within the original context. */
static double yarn_dim(double rotations, int dim, double theta, double old)
{
    return dim * log(old / (rotations * 2 * M_PI)) / (2 * log(theta));
}

/* YaRN (Peng et al. 2023): dimensions that turn often within the old context keep their frequency, slow ones are
 * slowed by `factor`, with a ramp between. Returns the factor of cosines and sines, which keeps attention as sharp as
 * it was. */
static double yarn(float *freq, int rot_dim, double theta, struct hparams *s, int max_positions)
{
    double old = (double)hparams_int(s, "original_max_position_embeddings", max_positions, 1, 1 << 28);
    double factor = hparams_number(s, "factor", max_positions / old, 1e-3, 1e6);
    double fast = hparams_number(s, "beta_fast", 32, 1e-3, 1e6), slow = hparams_number(s, "beta_slow", 1, 1e-3, 1e6);
    double m = hparams_number(s, "mscale", 0, 0, 1e3), all = hparams_number(s, "mscale_all_dim", 0, 0, 1e3);
    double low = yarn_dim(fast, rot_dim, theta, old), high = yarn_dim(slow, rot_dim, theta, old);
    if (hparams_bool(s, "truncate", true)) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rot_dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < rot_dim / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1), plain = freq[i];
        freq[i] = (float)(plain / factor * ramp + plain * (1 - ramp));
    }
    double mscale = m && all ? mscale_of(factor, m) / mscale_of(factor, all) : mscale_of(factor, 1);
    return hparams_number(s, "attention_factor", mscale, 1e-3, 1e3);
}

/* freq (rot_dim / 2); returns mscale. */
static double frequencies(float *freq, int rot_dim, double theta, struct hparams *s, int max_positions)
{
    const char *type = hparams_string(s, "rope_type|type", "default");
    base_frequencies(freq, rot_dim, theta);
    if (!strcmp(type, "yarn"))
        return yarn(freq, rot_dim, theta, s, max_positions);
    if (!strcmp(type, "llama3")) {
        llama3(freq, rot_dim / 2, s, max_positions);
    } else if (!strcmp(type, "linear")) {
        double factor = hparams_number(s, "factor", HP_REQUIRED_NUMBER, 1e-3, 1e6);
        for (int i = 0; i < rot_dim / 2; i++)
            freq[i] = (float)(freq[i] / factor);
    } else if (strcmp(type, "default") && strcmp(type, "dynamic") && strcmp(type, "mrope")) {
        hparams_fail(s, "rope_type", "\"%.40s\" is not supported (default, linear, dynamic, llama3, yarn)", type);
    }
    return 1;
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

/* The tables go to the device once: every layer and every step reads the same. */
static void to_device(struct loader *l, struct rope *out, const float *freq, const uint8_t *axis)
{
    size_t n = (size_t)out->rot_dim / 2;
    out->freq = load_bytes(l, freq, n * sizeof *freq);
    out->axis = load_bytes(l, axis, n);
}

/* Fields stand in rope_scaling or rope_parameters, or directly in the configuration, depending on the age of the
 * checkpoint. With YaRN the context grows to what the frequencies were stretched for; with `dynamic` it ends where
 * the configuration says, since only beyond that would frequencies change. */
void rope_load(struct loader *l, struct rope *out, struct hparams *text, const struct rope_kind *kind, int *context)
{
    float freq[MAX_ROT / 2];
    uint8_t axis[MAX_ROT / 2];
    struct hparams s = hparams_object(text, hparams_has(text, "rope_scaling") ? "rope_scaling" : "rope_parameters");
    double theta = hparams_number(text, "rope_theta", kind->theta, 1.001, 1e12);
    theta = hparams_number(&s, "rope_theta", theta, 1.001, 1e12);
    double partial = hparams_number(text, "partial_rotary_factor", kind->partial, 0.01, 1);
    partial = hparams_number(&s, "partial_rotary_factor", partial, 0.01, 1);
    int section[3] = { kind->section[0], kind->section[1], kind->section[2] },
        max_positions = context ? *context : 1 << 20;
    *out = (struct rope){ .rot_dim = (int)(kind->head_dim * partial) / 2 * 2, .interleaved = kind->interleaved };
    if (out->rot_dim < 2 || out->rot_dim > MAX_ROT) {
        load_fail(l, "%s: config.json: %d rotated dimensions of a head are not in 2..%d", l->dir, out->rot_dim,
                  MAX_ROT);
        return;
    }
    out->mscale = (float)frequencies(freq, out->rot_dim, theta, &s, max_positions);
    if (kind->mrope != MROPE_NONE) {
        int n = hparams_ints(&s, "mrope_section", section, 3, 0, MAX_ROT);
        if ((n && n != 3) || (kind->mrope == MROPE_SECTIONS &&
                              section[0] + section[1] + section[2] != out->rot_dim / 2))
            hparams_fail(&s, "mrope_section", "must be three numbers with the sum %d", out->rot_dim / 2);
    }
    axes(axis, out->rot_dim / 2, kind->mrope, section);
    if (context && !strcmp(hparams_string(&s, "rope_type|type", "default"), "yarn")) {
        double old = (double)hparams_int(&s, "original_max_position_embeddings", max_positions, 1, 1 << 28);
        double longer = old * hparams_number(&s, "factor", 1, 1e-3, 1e6);
        if (longer > *context && longer < 1 << 28)
            *context = (int)longer;
    }
    to_device(l, out, freq, axis);
}

/* Half of a vision head turns with the row of a patch, half with its column, both with the same frequencies. */
void rope_load_2d(struct loader *l, struct rope *out, int head_dim, double theta)
{
    float freq[MAX_ROT / 2];
    uint8_t axis[MAX_ROT / 2];
    int n = head_dim / 4;
    *out = (struct rope){ .rot_dim = head_dim, .mscale = 1 };
    if (head_dim % 4 || head_dim > MAX_ROT) {
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
