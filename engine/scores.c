/* engine/scores.c - what vectors say about each other, and logits about classes. */
#include <math.h>

#include "engine/engine.h"

void engine_unit(float *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    for (int i = 0; i < n && sum > 0; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
}

/* Softmax without overflow: the largest logit becomes 0 before the exponentials are taken. */
static void softmax(float *v, int n)
{
    double sum = 0;
    float  most = v[0];
    for (int i = 1; i < n; i++)
        most = v[i] > most ? v[i] : most;
    for (int i = 0; i < n; i++)
        sum += exp((double)v[i] - (double)most);
    for (int i = 0; i < n; i++)
        v[i] = (float)(exp((double)v[i] - (double)most) / sum);
}

void engine_probabilities(float *logits, int n, bool sigmoid)
{
    if (!sigmoid) {
        softmax(logits, n);
        return;
    }
    for (int i = 0; i < n; i++)
        logits[i] = (float)(1 / (1 + exp(-(double)logits[i])));
}

void engine_match_logits(const struct engine_match *m, const float *vector, const float *labels, int n, int width,
                         float *out)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < width; k++)
            sum += (double)vector[k] * (double)labels[(size_t)i * (size_t)width + (size_t)k];
        out[i] = (float)((double)m->scale * sum + (double)m->bias);
    }
}
