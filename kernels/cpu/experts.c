/* kernels/cpu/experts.c - products in which each row is multiplied with its own
 * expert's weight. The rows of an expert are a product of their own (linear.h),
 * and the products of up to JOBS experts go to the threads together: first the
 * rows of all are prepared, then all are cut into tasks. An answer's next token
 * has one row for each of a few experts, and would otherwise wake the threads for
 * each of them. A task computes what it would in a product alone, to the bit. */
#include "kernels/cpu/cpu.h"

enum { JOBS = 64 };

struct round {                        /* the products that go together */
    struct device *dev;
    const struct linear_kernel *kernel;
    int    n, rows;
    size_t used;                      /* bytes of prepared rows        */
    struct linear_job job[JOBS];
    int    block[JOBS + 1], task[JOBS + 1];      /* of job j: the first, numbered through all */
};

/* Which job has the number i, if first[j] is the first one of job j. */
static int job_of(const int *first, int i)
{
    int j = 0;
    while (i >= first[j + 1])
        j++;
    return j;
}

static void prepare_body(void *arg, int block, int worker)
{
    struct round *r = arg;
    int j = job_of(r->block, block);
    (void)worker;
    r->kernel->prepare(&r->job[j], block - r->block[j]);
}

static void task_body(void *arg, int task, int worker)
{
    struct round *r = arg;
    int j = job_of(r->task, task);
    r->kernel->task(&r->job[j], task - r->task[j], cpu_scratch(r->dev, worker));
}

/* Computes what has been collected. */
static void finish_round(struct round *r)
{
    int threads = cpu_threads(r->dev);
    if (r->n == 0)
        return;
    double work = (double)r->job->w->out * r->job->w->in;
    for (int j = 0; j < r->n; j++)
        r->block[j + 1] = r->block[j] + (r->kernel->prepare ? r->kernel->blocks(r->job[j].n) : 0);
    if (r->kernel->prepare)
        cpu_run_work(r->dev, r->block[r->n], 4.0 * r->rows * r->job->w->in, prepare_body, r);
    for (int j = 0; j < r->n; j++)
        r->task[j + 1] = r->task[j] + r->kernel->cut(&r->job[j], 1 + threads / r->n);
    cpu_run_work(r->dev, r->task[r->n], r->rows * work, task_body, r);
    r->n = r->rows = 0;
    r->used = 0;
}

/* How many of `rows` rows can be prepared beside those that are there; all of them where nothing is prepared. */
static int rows_with_room(const struct round *r, const struct weight *w, int rows)
{
    size_t room, row = r->kernel->row_bytes ? r->kernel->row_bytes(w) : 0;
    cpu_prepared(r->dev, &room);
    if (row == 0)
        return rows;
    int block = r->kernel->block_rows, whole = (int)((room - r->used) / row) / block * block;
    return rows < whole ? rows : whole;
}

/* Rows first .. first + n - 1 of x and out are expert w's. */
static void add_rows(struct round *r, const struct linear_job *like, const struct weight *w, int first, int n)
{
    struct linear_job *job = &r->job[r->n++];
    size_t room, row = r->kernel->row_bytes ? r->kernel->row_bytes(w) : 0;
    int block = row ? r->kernel->block_rows : 1;
    *job = *like;
    job->w = w;
    job->n = job->out.rows = job->x.rows = n;
    job->out.data = (float *)like->out.data + (size_t)first * (size_t)like->out.stride;
    job->x.data = (float *)like->x.data + (size_t)first * (size_t)like->x.stride;
    job->prepared = row ? cpu_prepared(r->dev, &room) + r->used : NULL;
    r->used += (size_t)((n + block - 1) / block * block) * row;
    r->rows += n;
}

/* An expert whose rows have no room beside the others begins a new round; one that has too many goes in several. */
void cpu_linear_grouped(struct device *dev, struct tensor out, struct tensor x, const struct experts *experts,
                        const int *first, enum act act, bool glu)
{
    struct epilogue ep = { .act = act, .glu = glu };
    struct linear_job like = { .out = out, .x = x, .ep = &ep };
    struct round r = { .dev = dev };
    for (int e = 0; e < experts->n; e++)
        for (int at = first[e], n; at < first[e + 1]; at += n) {
            if (r.n == 0)
                r.kernel = weight_kernel(&experts->w[e]);
            n = r.n < JOBS ? rows_with_room(&r, &experts->w[e], first[e + 1] - at) : 0;
            if (n > 0)
                add_rows(&r, &like, &experts->w[e], at, n);
            else
                finish_round(&r);
        }
    finish_round(&r);
}
