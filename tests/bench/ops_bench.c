/* tests/bench/ops_bench.c - how fast the cpu backend's operations are, as shares
 * of what this machine reaches in the plainest loops (probes.h), measured in the
 * same call.
 *
 *   ops_bench [--json] [--threads N] [--only PART-OF-A-NAME] [--cold MIB]
 *
 * OPENAUTOGLM_ISA chooses the inner loops. An operation takes at least as long
 * as its arithmetic takes at the peak of the instruction that its kernel is
 * made of, and as reading what it must read takes at the memory's peak; the
 * larger of the two, divided by the time that it took, is its share. Weights of
 * up to 16 rows come from memory: there are so many copies of a matrix that they
 * do not fit into any cache (--cold says how much that is), and a figure is the
 * mean over all of them. Every figure is the best of several rounds: other
 * programs only make it worse. The probes take turns with the operation, and its
 * share is that of the peaks in these rounds: machines change their clock, and
 * virtual ones are disturbed by others. More than 100 % of the memory's peak
 * means that data came from a cache. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu.h"
#include "kernels/kv.h"
#include "tests/bench/probes.h"

static struct device *dev;
static const char *only = "";
static size_t cold_bytes = (size_t)512 << 20;
static json_t *json;                   /* what --json prints; NULL: a table */

static struct { double operations[N_PROBES], bytes, bytes_of_one; } peak; /* each per second; 0: there is none */

static float *numbers(size_t n)
{
    float *x = backend_cpu.alloc(dev, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return x;
}

static struct tensor matrix(int rows, int cols)
{
    return (struct tensor){ numbers((size_t)rows * (size_t)cols), F32, rows, cols, cols };
}

/* One thread is measured in processor time, so that a busy machine can be used. */
static double now(void)
{
    struct timespec ts;
    if (cpu_threads(dev) > 1)
        return clock_seconds();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- peaks and times ---- */

enum { WINDOWS = 16 };                 /* a round reads this part of the block that the memory's peak is read from */

static struct {
    struct probe_run { const struct probe *probe; char sink[64 * 64] __attribute__((aligned(64))); } run;
    struct reading block;
    float sink[64];
    int next;
} probing;

static void probe_all(void *arg)
{
    struct probe_run *p = arg;
    cpu_run(dev, cpu_threads(dev), p->probe->body, p->sink);
}

static void read_by_one(void *arg)
{
    for (int i = 0; i < READ_PARTS; i++)
        read_part(arg, i, 0);
}

/* How much of `work`, which one call of the body does, is done each second; over `seconds` and at least one call. */
static double rate(void (*body)(void *), void *arg, double work, double seconds)
{
    double start = now(), took;
    int calls = 0;
    do {
        body(arg);
        calls++;
        took = now() - start;
    } while (took < seconds);
    return calls * work / took;
}

static void read_window(void *arg)
{
    size_t part = cold_bytes / WINDOWS;
    struct reading r = { probing.block.from + (size_t)probing.next * part, part, probing.sink };
    (void)arg;
    probing.next = (probing.next + 1) % WINDOWS;
    cpu_run(dev, READ_PARTS, read_part, &r);
}

/* One round of both probes: bytes per second of memory, operations per second of `kind`, as far as they are better. It
 * takes about as long as a round of the operation, since the best of short rounds is better than that of long ones. */
static void probe_round(double *bytes, double *operations, enum probe_kind kind, double seconds)
{
    seconds = fmin(seconds, 0.05);
    *bytes = fmax(*bytes, rate(read_window, NULL, (double)(cold_bytes / WINDOWS), seconds));
    probing.run.probe = &probes[kind];
    if (probes[kind].body && probes[kind].works())
        *operations = fmax(*operations, rate(probe_all, &probing.run, cpu_threads(dev) * probes[kind].operations,
                                             seconds));
}

struct timing { double seconds, bytes, operations; };      /* the best of several rounds; peaks per second */

/* Rounds of an operation and of the probes of its limits, in turn, for at least half a second, so that what disturbs
 * the machine meets all of them. */
static struct timing measure(void (*body)(void *), void *arg, enum probe_kind kind)
{
    struct timing t = { 1e9, 0, 0 };
    body(arg);
    double end = now() + 0.5;
    for (int i = 0; i < 4 || now() < end; i++) {
        double took = now();
        body(arg);
        took = now() - took;
        t.seconds = fmin(t.seconds, took);
        probe_round(&t.bytes, &t.operations, kind, took);
    }
    return t;
}

static void measure_peaks(void)
{
    probing.block = (struct reading){ (const char *)numbers(cold_bytes / sizeof(float)), cold_bytes, probing.sink };
    for (int round = 0; round < 4; round++)
        peak.bytes_of_one = fmax(peak.bytes_of_one, rate(read_by_one, &probing.block, (double)cold_bytes, 0));
    for (int i = 0; i < N_PROBES; i++)
        for (int round = 0; round < 20; round++)
            probe_round(&peak.bytes, &peak.operations[i], (enum probe_kind)i, 0.005);
}

static void print_peaks(void)
{
    if (json) {
        json_t *to = json_object();
        json_object_set_new(json, "isa", json_string(cpu_kernels(dev)->name));
        json_object_set_new(json, "threads", json_integer(cpu_threads(dev)));
        json_object_set_new(to, "bytes_per_second", json_real(peak.bytes));
        json_object_set_new(to, "bytes_per_second_of_one_thread", json_real(peak.bytes_of_one));
        for (int i = 0; i < N_PROBES; i++)
            if (peak.operations[i] > 0)
                json_object_set_new(to, probes[i].name, json_real(peak.operations[i]));
        json_object_set_new(json, "peaks", to);
        json_object_set_new(json, "operations", json_array());
        return;
    }
    printf("Kernels of %s, %d threads. Peaks:\n", cpu_kernels(dev)->name, cpu_threads(dev));
    printf("%10.1f GB/s    reading memory, all threads\n%10.1f GB/s    reading memory, one thread\n", peak.bytes * 1e-9,
           peak.bytes_of_one * 1e-9);
    for (int i = 0; i < N_PROBES; i++)
        if (peak.operations[i] > 0)
            printf("%10.1f GOP/s   %s\n", peak.operations[i] * 1e-9, probes[i].what);
    printf("\n%-52s %10s %9s %8s %7s  of\n", "operation", "ms", "GOP/s", "GB/s", "share");
}

/* ---- the table ---- */

/* The instruction that loops over floats are made of, where the kernels are those of `isa`. */
static enum probe_kind floats(const char *isa)
{
    return strcmp(isa, "avx2") == 0 || strcmp(isa, "avxvnni") == 0 ? FMA_256 : FMA_512;
}

/* The same for a kernel of products. */
static enum probe_kind products(const char *isa, const char *kernel)
{
    if (strcmp(kernel, "amx bf16") == 0)
        return BF16_TILES;
    if (strncmp(kernel, "amx", 3) == 0)
        return INT8_TILES;
    if (strcmp(kernel, "int8") != 0 && strcmp(kernel, "int4") != 0)
        return floats(isa);
    if (strcmp(isa, "avx512vnni") == 0 || strcmp(isa, "amx") == 0)
        return INT8_512;
    return strcmp(isa, "avxvnni") == 0 ? INT8_256 : INT8_AVX2;
}

/* t: of `calls` calls, each of so many operations and bytes. */
static void report(const char *name, struct timing t, int calls, double operations, double bytes, enum probe_kind kind)
{
    double seconds = t.seconds / calls, reading = bytes / t.bytes;
    double arithmetic = t.operations > 0 ? operations / t.operations : 0;
    double share = (arithmetic > reading ? arithmetic : reading) / seconds;
    const char *of = arithmetic > reading ? probes[kind].name : "memory";
    if (!json) {
        printf("%-52s %10.3f %9.1f %8.2f %6.1f%%  %s\n", name, seconds * 1e3, operations / seconds * 1e-9,
               bytes / seconds * 1e-9, 100 * share, of);
        fflush(stdout);
        return;
    }
    json_array_append_new(json_object_get(json, "operations"),
                          json_pack("{ss, sf, sf, sf, sf, ss}", "name", name, "seconds", seconds, "operations",
                                    operations, "bytes", bytes, "share", share, "of", of));
}

static void row(const char *name, void (*body)(void *), void *arg, double operations, double bytes)
{
    enum probe_kind kind = floats(cpu_kernels(dev)->name);
    if (strstr(name, only))
        report(name, measure(body, arg, kind), 1, operations, bytes, kind);
}

/* ---- products with matrices ---- */

struct product {                       /* copies of one matrix, which are multiplied with in turn */
    struct weight *w;
    int            n, next, calls;     /* copies; the next one; how many a round takes */
    struct tensor  out, x;
};

static void do_linear(void *arg)
{
    struct product *p = arg;
    for (int i = 0; i < p->calls; i++, p->next = (p->next + 1) % p->n)
        backend_cpu.ops.linear(dev, p->out, p->x, &p->w[p->next], &(struct epilogue){ 0 });
}

/* Another weight with the same numbers, in memory of its own. */
static struct weight replica(const struct weight *w)
{
    const struct packed *p = w->data;
    const char *data = p->range[0].data;
    size_t bytes = backend_cpu.packed_bytes(w, w->dtype);
    struct packed *q = xcalloc(1, sizeof *q + sizeof *q->range);
    struct weight copy = *w;
    *q = (struct packed){ .kernel = p->kernel, .owned = blocks_alloc(cpu_blocks(dev), bytes), .n = 1 };
    memcpy(q->owned, data, bytes);
    q->range[0] = (struct range){ q->owned, 0 };
    if (p->scale)
        q->scale = (const float *)((char *)q->owned + ((const char *)p->scale - data));
    copy.data = q;
    return copy;
}

static struct product product_of(int in, int out, enum dtype type)
{
    struct product p = { .n = 1 };
    struct weight w = { .out = out, .in = in };
    size_t n = (size_t)in * (size_t)out;
    uint16_t *file = backend_cpu.alloc(dev, n * sizeof *file);
    for (size_t i = 0; i < n; i++)
        file[i] = (uint16_t)(0x3c00 + i * 2654435761u % 512);
    backend_cpu.pack(dev, &w, &(struct slab){ .data = file, .dtype = BF16, .rows = out }, 1, NULL, type, NULL);
    p.n = 1 + (int)(cold_bytes / backend_cpu.packed_bytes(&w, type));
    p.w = xcalloc((size_t)p.n, sizeof *p.w);
    for (int i = 0; i < p.n; i++)
        p.w[i] = replica(&w);
    backend_cpu.release(dev, &w);
    backend_cpu.free(dev, file);
    return p;
}

static void product_free(struct product *p)
{
    for (int i = 0; i < p->n; i++)
        backend_cpu.release(dev, &p->w[i]);
    free(p->w);
}

static void linear(int in, int out, enum dtype type)
{
    static const int rows[] = { 1, 4, 16, 64, 512 };
    enum { COLD_ROWS = 16 };
    struct product p = { 0 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[80];
        int m = rows[i];
        snprintf(name, sizeof name, "linear %s %d -> %d, %d rows", dtype_name(type), in, out, m);
        if (!strstr(name, only))
            continue;
        if (!p.w)
            p = product_of(in, out, type);
        p.x = matrix(m, in);
        p.out = matrix(m, out);
        p.calls = m <= COLD_ROWS ? p.n : 1;
        enum probe_kind kind = products(cpu_kernels(dev)->name, weight_kernel(p.w)->name);
        report(name, measure(do_linear, &p, kind), p.calls, 2.0 * m * in * out,
               (double)backend_cpu.packed_bytes(p.w, type), kind);
        backend_cpu.free(dev, p.x.data);
        backend_cpu.free(dev, p.out.data);
    }
    product_free(&p);
}

/* ---- other operations ---- */

struct bench {
    struct tensor out, x, k, v;
    struct weight w;
    struct conv conv;
    struct heads heads;
    struct kv kv;
    struct batch batch;
    struct view view;
    struct norm norm;
    const int *segments, *pos, *slot;
    int n;
};

static void do_ragged(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.attend_ragged(dev, b->out, b->x, b->k, b->v, &b->heads, b->n, b->segments, b->segments);
}

/* An image's attention: n patches, in windows of `window`. */
static void ragged(int n, int window, int heads, int dim)
{
    enum { MOST = 256 };
    char name[80];
    int first[MOST + 1];
    struct bench b = { .out = matrix(n, heads * dim), .x = matrix(n, heads * dim), .k = matrix(n, heads * dim),
                       .v = matrix(n, heads * dim), .heads = { .n = heads, .n_kv = heads, .dim = dim, .scale = 0.1f },
                       .segments = first, .n = n / window };
    for (int i = 0; i <= b.n; i++)
        first[i] = i * window;
    snprintf(name, sizeof name, "attend_ragged %d in windows of %d, %d heads of %d", n, window, heads, dim);
    row(name, do_ragged, &b, 4.0 * n * window * heads * dim, 0);
}

static void do_attend(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.attend(dev, b->out, b->x, &b->kv, 0, &b->heads, &b->batch, &b->view);
}

/* `rows` new rows of one sequence that sees `seen` entries in all. */
static void attend(int rows, int seen, int heads, int n_kv, int dim, enum dtype type)
{
    char name[80];
    int page = 16, n_pages = seen / page + 1, first[] = { 0, rows };
    int *limit = xcalloc((size_t)rows, sizeof *limit), *pages = xcalloc((size_t)n_pages, sizeof *pages);
    struct bench b = { .out = matrix(rows, heads * dim), .x = matrix(rows, heads * dim),
                       .kv = { type, page, n_pages, 1, n_kv, dim, NULL, NULL },
                       .heads = { .n = heads, .n_kv = n_kv, .dim = dim, .scale = 0.1f },
                       .view = { .limit = limit, .pages = pages, .max_pages = n_pages, .max_kv = seen },
                       .batch = { .n_rows = rows, .n_seqs = 1, .max_rows = rows, .first = first } };
    b.kv.k = memset(backend_cpu.alloc(dev, kv_layer_bytes(&b.kv)), 0x11, kv_layer_bytes(&b.kv));
    b.kv.v = memset(backend_cpu.alloc(dev, kv_layer_bytes(&b.kv)), 0x11, kv_layer_bytes(&b.kv));
    double pairs = 0;
    for (int i = 0; i < rows; i++)
        pairs += limit[i] = seen - rows + 1 + i;
    for (int i = 0; i < n_pages; i++)
        pages[i] = i;
    snprintf(name, sizeof name, "attend %d rows of %d, %d/%d heads of %d %s", rows, seen, heads, n_kv, dim,
             dtype_name(type));
    row(name, do_attend, &b, 4.0 * pairs * heads * dim, 2.0 * seen * n_kv * (double)kv_head_bytes(&b.kv));
    free(limit), free(pages);
}

static void do_prep(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.prep(dev, b->x, b->k, b->v, &b->heads, b->pos, &b->kv, 0, b->slot);
}

/* Rotates queries and keys, and puts keys and values into the cache. */
static void prep(int rows, int heads, int n_kv, int dim)
{
    char name[80];
    int *pos = xcalloc(3 * (size_t)rows, sizeof *pos), *slot = xcalloc((size_t)rows, sizeof *slot);
    uint8_t axis[MAX_DIM / 2] = { 0 };
    struct rope rope = { dim, false, numbers((size_t)dim / 2), NULL, axis, 1 };
    struct bench b = { .x = matrix(rows, heads * dim), .k = matrix(rows, n_kv * dim), .v = matrix(rows, n_kv * dim),
                       .heads = { .n = heads, .n_kv = n_kv, .dim = dim, .scale = 0.1f, .rope = &rope },
                       .pos = pos, .slot = slot,
                       .kv = { BF16, 16, rows / 16 + 1, 1, n_kv, dim, NULL, NULL } };
    b.kv.k = backend_cpu.alloc(dev, kv_layer_bytes(&b.kv));
    b.kv.v = backend_cpu.alloc(dev, kv_layer_bytes(&b.kv));
    for (int i = 0; i < rows; i++)
        slot[i] = pos[i] = pos[rows + i] = pos[2 * rows + i] = i;
    snprintf(name, sizeof name, "prep (rope) %d rows, %d/%d heads of %d", rows, heads, n_kv, dim);
    row(name, do_prep, &b, 3.0 * rows * (heads + n_kv) * dim, 8.0 * rows * (heads + 2 * n_kv) * dim);
    free(pos), free(slot);
}

static void do_dwconv(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.dwconv2d(dev, b->out, b->x, &b->w, &b->conv);
}

static void do_conv(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.conv2d(dev, b->out, b->x, &b->w, &b->conv);
}

static void conv(int h, int w, int c, int out, int stride)
{
    char name[80];
    int oh = (h - 1) / stride + 1, ow = (w - 1) / stride + 1;
    struct bench b = { .x = matrix(h * w, c), .out = matrix(oh * ow, out ? out : c),
                       .conv = { h, w, 3, stride, 1, ACT_RELU6 } };
    b.w = (struct weight){ .out = out ? out : c, .in = out ? 9 * c : 9,
                           .layout = out ? LAYOUT_LINEAR : LAYOUT_DEPTHWISE };
    struct slab slab = { .data = numbers((size_t)b.w.out * (size_t)b.w.in), .dtype = F32, .rows = b.w.out };
    backend_cpu.pack(dev, &b.w, &slab, 1, NULL, F32, NULL);
    snprintf(name, sizeof name, "%s 3x3/%d %dx%d, %d channels", out ? "conv2d" : "dwconv2d", stride, h, w, c);
    row(name, out ? do_conv : do_dwconv, &b, 2.0 * b.out.rows * b.w.out * b.w.in,
        4.0 * (h * w * c + b.out.rows * b.w.out));
    backend_cpu.release(dev, &b.w);
}

static void do_norm(void *arg)
{
    struct bench *b = arg;
    backend_cpu.ops.norm(dev, b->x, &(struct norms){ .norm = &b->norm, .out = b->out });
}

static void norm(int rows, int cols)
{
    char name[80];
    struct bench b = { .x = matrix(rows, cols), .out = matrix(rows, cols), .norm = { matrix(1, cols), { 0 }, 1e-6f,
                                                                                     false } };
    snprintf(name, sizeof name, "norm %d x %d", rows, cols);
    row(name, do_norm, &b, 4.0 * rows * cols, 8.0 * rows * cols);
}

enum { VOCABULARY = 151936, DRAWS = 16 };

static void do_sample(void *arg)
{
    struct bench *b = arg;
    struct sampling how[DRAWS];
    int id[DRAWS];
    for (int i = 0; i < DRAWS; i++)
        how[i] = (struct sampling){ 0.8f, 0.9f, 0, b->n, 1, (uint64_t)i };
    backend_cpu.ops.sample(dev, id, b->x, how);
}

static void do_greedy(void *arg)
{
    struct bench *b = arg;
    struct sampling how[DRAWS] = { { .top_p = 1 } };
    int id[DRAWS];
    for (int i = 1; i < DRAWS; i++)
        how[i] = how[0];
    backend_cpu.ops.sample(dev, id, b->x, how);
}

static void do_logprobs(void *arg)
{
    struct bench *b = arg;
    enum { TOP = 5 };
    int top[DRAWS * TOP], chosen[DRAWS] = { 0 };
    float lp[DRAWS * (TOP + 1)];
    backend_cpu.ops.logprobs(dev, top, lp, b->x, chosen, TOP);
}

/* Drawing a token for each of DRAWS requests. */
static void tokens(void)
{
    struct bench b = { .x = matrix(DRAWS, VOCABULARY), .n = 50 };
    double bytes = 4.0 * DRAWS * VOCABULARY;
    row("sample greedily, 16 rows of 151936", do_greedy, &b, 0, bytes);
    row("sample top_k 50 top_p 0.9, 16 rows of 151936", do_sample, &b, 0, bytes);
    b.n = 0;
    row("sample top_p 0.9, 16 rows of 151936", do_sample, &b, 0, bytes);
    row("logprobs of the 5 largest, 16 rows of 151936", do_logprobs, &b, 0, bytes);
}

static void operations(void)
{
    static const enum dtype types[] = { BF16, Q8, Q4 };
    static const int shapes[][2] = { { 1024, 1024 }, { 1024, 4096 }, { 4096, 1024 }, { 4096, 4096 } };
    for (int s = 0; s < 4; s++)
        for (int t = 0; t < 3; t++)
            linear(shapes[s][0], shapes[s][1], types[t]);
    linear(4096, 4096, F8);
    linear(4096, 4096, F32);
    attend(1, 1024, 8, 2, 128, BF16);
    attend(1, 4096, 8, 2, 128, BF16);
    attend(1, 4096, 32, 4, 128, BF16);
    attend(1, 4096, 32, 4, 128, Q8);
    attend(512, 512, 8, 2, 128, BF16);
    ragged(1024, 1024, 16, 80);
    ragged(1024, 64, 16, 80);
    prep(1, 8, 2, 128);
    prep(512, 8, 2, 128);
    norm(1, 4096);
    norm(512, 4096);
    conv(256, 256, 3, 32, 2);
    conv(128, 128, 96, 0, 1);
    conv(128, 128, 96, 0, 2);
    tokens();
}

int main(int argc, char **argv)
{
    struct err e;
    int threads = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            json = json_object();
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--cold") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            cold_bytes = (size_t)atoi(argv[++i]) << 20;
        else
            return fprintf(stderr, "usage: ops_bench [--json] [--threads N] [--only TEXT] [--cold MIB]\n"), 2;
    if (backend_cpu.open(&dev, &(struct device_options){ .threads = threads }, &e))
        return fprintf(stderr, "%s\n", e.text), 1;
    measure_peaks();
    print_peaks();
    operations();
    if (json && (json_dumpf(json, stdout, JSON_INDENT(2)) || putchar('\n') < 0))
        return 1;
    backend_cpu.close(dev);
    return 0;
}
