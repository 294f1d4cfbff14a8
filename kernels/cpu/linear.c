/* kernels/cpu/linear.c - how linear and conv2d of backend `cpu` reach the
 * kernel that their weight is laid out for: in passes of as many rows of x as
 * there is room to prepare, each pass first prepared, then cut into tasks. */
#include "kernels/cpu/linear.h"

#include "kernels/cpu/cpu.h"

struct linear_run { struct device *dev; struct linear_job *job; };

const struct linear_kernel *cpu_linear_kernel(struct device *dev, const struct weight *shape, enum dtype want)
{
    const struct linear_kernel *const *k = cpu_kernels(dev)->linear;
    while (!(*k)->fits(shape, want, cpu_activations(dev)))
        k++;                           /* the last one fits everything */
    return *k;
}

static void prepare_body(void *arg, int block, int worker)
{
    const struct linear_job *job = arg;
    (void)worker;
    weight_kernel(job->w)->prepare(job, block);
}

static void task_body(void *arg, int task, int worker)
{
    const struct linear_job *job = ((struct linear_run *)arg)->job;
    weight_kernel(job->w)->task(job, task, cpu_scratch(((struct linear_run *)arg)->dev, worker));
}

/* Rows of one pass: all of them, or as many whole blocks as fit into the room for what is prepared. */
static int pass_rows(struct device *dev, const struct linear_kernel *k, const struct linear_job *job)
{
    size_t room, row = k->row_bytes ? k->row_bytes(job->w) : 0;
    cpu_prepared(dev, &room);
    if (row == 0)
        return job->out.rows;
    int whole = (int)(room / row) / k->block_rows * k->block_rows;      /* the last block may be filled up */
    return job->out.rows < whole ? job->out.rows : whole;
}

/* Runs a product in passes. Its tasks read nothing that another pass or task writes, so a number is the same however
 * many rows and tasks there are. */
static void run_linear(struct device *dev, struct linear_job *job)
{
    const struct linear_kernel *k = weight_kernel(job->w);
    double work = (double)job->w->out * job->w->in;
    int most = pass_rows(dev, k, job);
    size_t room;
    struct linear_run run = { dev, job };
    for (job->from = 0; job->from < job->out.rows; job->from += job->n) {
        job->n = job->out.rows - job->from < most ? job->out.rows - job->from : most;
        if (k->prepare) {
            job->prepared = cpu_prepared(dev, &room);
            cpu_run_work(dev, k->blocks(job->n), 4.0 * job->n * job->w->in, prepare_body, job);
        }
        int tasks = k->cut(job, cpu_threads(dev));
        cpu_run_work(dev, tasks, job->n * work, task_body, &run);
    }
}

/* The product, and then the norms that may follow it as an operation of their own: on the CPU there is nothing to win
 * by taking them along. */
void cpu_linear(struct device *dev, struct tensor out, struct tensor x, const struct weight *w,
                const struct epilogue *ep)
{
    struct linear_job job = { .out = out, .x = x, .w = w, .ep = ep };
    run_linear(dev, &job);
    if (ep->after)
        cpu_norm(dev, out, ep->after);
}

/* A convolution is a product whose rows of x are gathered from the picture as they are prepared. */
void cpu_conv2d(struct device *dev, struct tensor out, struct tensor x, const struct weight *w, const struct conv *v)
{
    struct epilogue ep = { .act = v->act };
    struct linear_job job = { .out = out, .x = x, .w = w, .ep = &ep, .conv = v };
    run_linear(dev, &job);
}
