/* model/calibrate.c - see calibrate.h. */
#include "model/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/quant.h"
#include "kernels/slab.h"

enum { G = QUANT_GROUP, SAMPLE_ROWS = 1024, COLUMNS = 256, WEIGHT_ROWS = 512 };

/* How much is added to H's diagonal, as a share of its mean: enough for matrices of a few thousand columns in float32.
 * Where rounding makes H indefinite all the same, ten times as much is tried, up to MOST_DAMPING. */
static const float DAMPING = 0.01f, MOST_DAMPING = 10;

struct calibration {
    struct device *dev;
    enum dtype type;           /* Q4 or Q8: what the weight becomes                                        */
    int    in, n;              /* columns; filled up to whole groups                                       */
    float *h;                  /* owned, (n, n): H, then U; what is below the diagonal is not read         */
    float *d;                  /* owned, (n): D                                                            */
    float *part;               /* owned, (n, SAMPLE_ROWS): columns of the sample, or of U, as rows         */
    float *w, *error;          /* owned, (WEIGHT_ROWS, n): rows of the weight, what they have lost         */
    float *wanted;             /* owned, (WEIGHT_ROWS, G), also (n, G)                                     */
    const volatile sig_atomic_t *stop;
};

static struct tensor matrix(float *data, int rows, int cols, int stride)
{
    return (struct tensor){ data, F32, rows, cols, stride };
}

/* out = add + x w', of which w (out.cols, x.cols) lies row after row. */
static int multiply(const struct calibration *c, struct tensor out, struct tensor x, const float *w, struct tensor add,
                    struct err *e)
{
    struct weight weight = { .out = out.cols, .in = x.cols, .layout = LAYOUT_LINEAR };
    const struct slab slab = { .data = w, .dtype = F32, .rows = out.cols };
    if (c->stop && *c->stop)
        return err_set(e, "interrupted");
    if (backend_cpu.pack(c->dev, &weight, &slab, 1, NULL, F32, e) != 0)
        return -1;
    backend_cpu.ops.linear(c->dev, out, x, &weight, &(struct epilogue){ .add = add });
    backend_cpu.release(c->dev, &weight);
    return 0;
}

/* A row of n numbers, in whole groups, times `factor`, as the records of this type have it. */
static void turn(const struct calibration *c, float *x, float factor)
{
    for (int i = 0; i < c->n && quant_rotates(c->type); i += G) {
        for (int k = i; k < i + G; k++)
            x[k] *= factor;
        quant_rotate(x + i);
    }
}

/* ---- H ---- */

/* Adds what `rows` rows of the sample, whose columns are in `part`, give to H. Only what is on and above the diagonal
 * is needed; of squares of COLUMNS all is computed. */
static int gather_part(struct calibration *c, int rows, struct err *e)
{
    for (int at = 0, n; at < c->n; at += n) {
        n = c->n - at < COLUMNS ? c->n - at : COLUMNS;
        struct tensor h = matrix(c->h + at, at + n, n, c->n);
        if (multiply(c, h, matrix(c->part, at + n, rows, rows), c->part + (size_t)at * (size_t)rows, h, e) != 0)
            return -1;
    }
    return 0;
}

/* H = X' X, a part of the sample's rows after the other. Columns that only fill a group stay zero where nothing is
 * rotated. The first row of `w` is free meanwhile. */
static int gather(struct calibration *c, struct tensor x, struct err *e)
{
    float *row = c->w;
    memset(c->h, 0, sizeof(float) * (size_t)c->n * (size_t)c->n);
    for (int at = 0, rows; at < x.rows; at += rows) {
        rows = x.rows - at < SAMPLE_ROWS ? x.rows - at : SAMPLE_ROWS;
        const float *from = (const float *)x.data + (size_t)at * (size_t)x.stride;
        for (int r = 0; r < rows; r++) {
            memcpy(row, from + (size_t)r * (size_t)x.stride, sizeof(float) * (size_t)c->in);
            memset(row + c->in, 0, sizeof(float) * (size_t)(c->n - c->in));
            turn(c, row, 1);
            for (int i = 0; i < c->n; i++)
                c->part[(size_t)i * (size_t)rows + (size_t)r] = row[i];
        }
        if (gather_part(c, rows, e) != 0)
            return -1;
    }
    return 0;
}

/* Adds to the diagonal. -1: some of the sample's numbers are not finite. */
static int damp(struct calibration *c, float share, struct err *e)
{
    double sum = 0;
    size_t n = (size_t)c->n;
    for (size_t i = 0; i < n; i++)
        sum += c->h[i * n + i];
    float more = sum > 0 ? share * (float)(sum / c->in) : 1;
    for (size_t i = 0; i < n; i++)
        c->h[i * n + i] += more;
    return isfinite(more) ? 0 : err_set(e, "the calibration text makes its inputs larger than any number");
}

/* ---- H = U D U', from the last group of columns to the first, in place ---- */

/* The group's own square. Below D's scale of rounding nothing is positive for sure, so it must be positive here.
 * Not 0: it is not. */
static int factor_square(struct calibration *c, int first)
{
    size_t n = (size_t)c->n;
    float *a = c->h + (size_t)first * n + (size_t)first;
    for (int k = G - 1; k >= 0; k--) {
        float d = a[(size_t)k * n + (size_t)k];
        c->d[first + k] = d;
        if (!(d > 0) || !isfinite(d))
            return 1;
        for (int i = 0; i < k; i++)
            for (int j = i; j < k; j++)
                a[(size_t)i * n + (size_t)j] -= a[(size_t)i * n + (size_t)k] * (a[(size_t)j * n + (size_t)k] / d);
        for (int i = 0; i < k; i++)
            a[(size_t)i * n + (size_t)k] /= d;
    }
    return 0;
}

/* Rows 0 .. first of U's columns first .. first + G, from those of H. They are also left in part (first, G), and with
 * -D in `wanted` (first, G). */
static void factor_above(struct calibration *c, int first)
{
    size_t n = (size_t)c->n;
    const float *square = c->h + (size_t)first * n + (size_t)first, *d = c->d + first;
    for (int i = 0; i < first; i++) {
        float *u = c->h + (size_t)i * n + (size_t)first, *copy = c->part + (size_t)i * G,
              *less = c->wanted + (size_t)i * G;
        for (int k = G - 1; k >= 0; k--) {
            float x = u[k];
            for (int j = k + 1; j < G; j++)
                x += less[j] * square[(size_t)k * n + (size_t)j];
            copy[k] = u[k] = x / d[k];
            less[k] = -x;
        }
    }
}

/* -1: an error; 1: H is not positive. */
static int factor(struct calibration *c, struct err *e)
{
    for (int first = c->n - G; first >= 0; first -= G) {
        struct tensor left = matrix(c->h, first, first, c->n);
        if (factor_square(c, first) != 0)
            return 1;
        if (first == 0)
            break;
        factor_above(c, first);
        if (multiply(c, left, matrix(c->wanted, first, G, G), c->part, left, e) != 0)
            return -1;
    }
    return 0;
}

/* Factors the square of the inputs. Where that is not positive definite, as with few rows, its diagonal is damped more
 * and more. */
static int learn(struct calibration *c, struct tensor x, struct err *e)
{
    for (float share = DAMPING; share <= MOST_DAMPING; share *= 10) {
        if (gather(c, x, e) != 0 || damp(c, share, e) != 0)
            return -1;
        int rc = factor(c, e);
        if (rc <= 0)
            return rc;
    }
    return err_set(e, "the calibration text makes its inputs larger than can be computed with");
}

/* ---- the weight ---- */

/* Rows of the slab as floats, and for int8 their scales in the records. -1: one of the numbers is not finite. */
static int read_rows(const struct calibration *c, const struct slab *s, int from, int rows, uint8_t *records,
                     struct err *e)
{
    for (int r = 0; r < rows; r++) {
        float *to = c->w + (size_t)r * (size_t)c->n;
        half_load_n(s->dtype, s->data, (size_t)(from + r) * (size_t)c->in, c->in, to);
        for (int i = 0; i < c->in; i++)
            if (!isfinite(to[i]))
                return slab_refuse(s, from + r, i, c->type, e);
        memset(to + c->in, 0, sizeof(float) * (size_t)(c->n - c->in));
        turn(c, to, 1.0f / G);
        if (c->type == Q8)
            quant_begin_fed(records + (size_t)r * quant_row_bytes(Q8, c->in), to, c->n);
    }
    return 0;
}

/* What the rounding of columns first .. first + G needs: their part of U and D, and in `wanted` the rows' numbers with
 * the errors of all columns before them. */
static int feed(struct calibration *c, int first, int rows, struct quant_feedback *out, struct err *e)
{
    size_t n = (size_t)c->n;
    struct tensor wanted = matrix(c->wanted, rows, G, G), w = matrix(c->w + first, rows, G, c->n);
    memcpy(out->cost, c->d + first, sizeof out->cost);
    for (size_t j = 0; j < G; j++)
        memcpy(out->share[j], c->h + ((size_t)first + j) * n + (size_t)first, sizeof out->share[j]);
    for (int r = 0; r < rows && first == 0; r++)
        memcpy(c->wanted + (size_t)r * G, c->w + (size_t)r * n, sizeof(float) * G);
    if (first == 0)
        return 0;
    for (int j = 0; j < first; j++)
        for (int k = 0; k < G; k++)
            c->part[(size_t)k * (size_t)first + (size_t)j] = c->h[(size_t)j * n + (size_t)(first + k)];
    return multiply(c, wanted, matrix(c->error, rows, first, c->n), c->part, w, e);
}

/* Rows from .. from + rows of a slab. */
static int round_rows(struct calibration *c, const struct slab *s, int from, int rows, uint8_t *records, struct err *e)
{
    struct quant_feedback b;
    size_t n = (size_t)c->n, bytes = quant_row_bytes(c->type, c->in);
    if (read_rows(c, s, from, rows, records, e) != 0)
        return -1;
    for (int first = 0; first < c->n; first += G) {
        if (feed(c, first, rows, &b, e) != 0)
            return -1;
        for (int r = 0; r < rows; r += QUANT_FED_ROWS)
            quant_pack_fed(c->type, records + (size_t)r * bytes, bytes, first, c->w + (size_t)r * n + (size_t)first,
                           c->wanted + (size_t)r * G, c->error + (size_t)r * n + (size_t)first, n,
                           rows - r < QUANT_FED_ROWS ? rows - r : QUANT_FED_ROWS, &b);
    }
    slab_forget(s, c->in, from, rows);
    return 0;
}

static float *floats(size_t rows, size_t cols) { return calloc(rows * cols, sizeof(float)); }

/* All memory that one matrix needs. -1: it is not there; what was taken is freed with the rest. */
static int make_room(struct calibration *c)
{
    size_t n = (size_t)c->n, rows = n > WEIGHT_ROWS ? n : WEIGHT_ROWS;
    c->h = floats(n, n);
    c->d = floats(n, 1);
    c->part = floats(n, SAMPLE_ROWS);
    c->w = floats(WEIGHT_ROWS, n);
    c->error = floats(WEIGHT_ROWS, n);
    c->wanted = floats(rows, G);
    return c->h && c->d && c->part && c->w && c->error && c->wanted ? 0 : -1;
}

int calibrate_rows(struct device *dev, const struct weight *shape, const struct slab *slabs, int n, struct tensor x,
                   void *records, const volatile sig_atomic_t *stop, struct err *e)
{
    struct calibration c = { .dev = dev, .type = shape->dtype, .in = shape->in, .n = (shape->in + G - 1) / G * G,
                             .stop = stop };
    size_t bytes = quant_row_bytes(c.type, shape->in);
    uint8_t *to = records;
    int rc = make_room(&c) == 0 ? learn(&c, x, e) : err_memory(e);
    for (int s = 0; s < n && rc == 0; s++)
        for (int from = 0, rows; from < slabs[s].rows && rc == 0; from += rows, to += (size_t)rows * bytes) {
            rows = slabs[s].rows - from < WEIGHT_ROWS ? slabs[s].rows - from : WEIGHT_ROWS;
            rc = round_rows(&c, &slabs[s], from, rows, to, e);
        }
    free(c.h);
    free(c.d);
    free(c.part);
    free(c.w);
    free(c.error);
    free(c.wanted);
    return rc;
}
