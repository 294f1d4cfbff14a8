/* tests/cusim/fiber.c - a block's CUDA threads are fibers on one OS thread, run
 * until they wait. With a seed, warps and lanes run in random order and may be
 * switched away after any memory access; without one, in order.
 *
 * x86-64 only: a switch saves six registers (about 5 ns). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/cusim/internal.h"

struct emulator E = { .random = 0x9E3779B97F4A7C15u };

uint32_t cusim_random(void)
{
    E.random ^= E.random << 13;
    E.random ^= E.random >> 7;
    E.random ^= E.random << 17;
    return (uint32_t)(E.random >> 16);
}

void cusim_switch(void **save, void *to);
__asm__(".text\n"
        ".globl cusim_switch\n.hidden cusim_switch\n.type cusim_switch,@function\n"
        "cusim_switch:\n"
        " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        " ret\n");

/* A lane of f's warp that may go on; NULL. */
static struct fiber *neighbour(const struct fiber *f)
{
    for (int i = 1; i < 32; i++) {
        int k = (f->index & ~31) | ((f->index + i) & 31);
        if (k < E.n_threads && E.fiber[k].state == READY)
            return &E.fiber[k];
    }
    return NULL;
}

/* Where the order is nobody's wish, straight to the next lane: half the switches. */
void cusim_to_scheduler(void)
{
    struct fiber *f = E.now, *next = E.seed || f->state == DONE ? NULL : neighbour(f);
    if (next)
        E.now = next;
    cusim_switch(&f->sp, next ? next->sp : E.main_sp);
}

enum { MMA = 6, MMA_S8 = 7 };            /* kinds of warp operations, see cusim.h */
static _Alignas(16) char params[4096];  /* of the kernel that runs: inside the module, where its threads may read */

static void fiber_main(void)
{
    E.launch->thunk(params);
    E.now->state = DONE;
    cusim_to_scheduler();
    abort();
}

static void fiber_start(struct fiber *f, int i)
{
    const unsigned *b = E.launch->block;
    if (!f->stack)
        f->stack = mmap(NULL, FIBER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    f->index = i;
    f->tid[0] = (unsigned)i % b[0];
    f->tid[1] = (unsigned)i / b[0] % b[1];
    f->tid[2] = (unsigned)i / (b[0] * b[1]);
    f->state = READY;
    f->n_copies = f->committed = 0;
    f->wrote = f->unfenced = f->acquired = false;
    void **sp = (void **)(void *)(f->stack + FIBER_STACK) - 2;
    *--sp = NULL;
    *--sp = (void *)fiber_main;
    for (int k = 0; k < 6; k++)
        *--sp = NULL;
    f->sp = sp;
}

/* ---- barriers of the block ---- */

static int arrived;                    /* fibers at the barrier: nobody looks at them all before the last has come */

static void barrier_try(void)
{
    void *pc = NULL;
    bool divergent = false;
    if (arrived == 0 || arrived < E.n_alive)
        return;
    arrived = 0;
    for (int i = 0; i < E.n_threads; i++)
        if (E.fiber[i].state == AT_BARRIER) {
            divergent |= pc && pc != E.fiber[i].pc;
            pc = E.fiber[i].pc;
        }
    if (divergent && E.checked)            /* optimised for speed, one barrier of the source may be several calls */
        cusim_error("divergent-barrier", pc, "threads of one block met at different barriers");
    if (E.n_alive < E.n_threads)
        cusim_error("barrier-after-exit", pc, "a barrier while %d of %d threads had already returned",
                    E.n_threads - E.n_alive, E.n_threads);
    E.barrier_epoch++;
    for (int i = 0; i < E.n_threads; i++)
        if (E.fiber[i].state == AT_BARRIER) {
            E.fiber[i].state = READY;
            E.fiber[i].vote = E.votes[E.fiber[i].vote_op];
        }
    E.votes[0] = 0, E.votes[1] = 1, E.votes[2] = 0;
}

int cusim_barrier(int op, int value, void *pc)
{
    struct fiber *f = E.now;
    if (op == 0) E.votes[0] += value != 0;
    if (op == 1) E.votes[1] &= value != 0;
    if (op == 2) E.votes[2] |= value != 0;
    f->state = AT_BARRIER;
    f->pc = pc;
    f->vote_op = op;
    arrived++;
    barrier_try();
    cusim_to_scheduler();
    return f->vote;
}

/* ---- operations of a warp ---- */

static unsigned existing_lanes(int warp)
{
    int n = E.n_threads - warp * 32;
    return n >= 32 ? ~0u : (1u << n) - 1;
}

static struct meeting *meeting_find(struct warp *w, int kind, unsigned mask, void *pc)
{
    struct meeting *unused = NULL;
    for (int i = 0; i < 8; i++) {
        struct meeting *m = &w->meet[i];
        if (m->mask == mask && m->kind == kind)
            return m;
        if (!m->mask && !unused)
            unused = m;
        if (m->mask & mask)
            cusim_error("warp-op-mismatch", pc, "lanes of one mask meet at different operations (kinds %d and %d, "
                                                "masks %08x "
                        "and %08x)", m->kind, kind, m->mask, mask);
    }
    if (!unused)
        abort();
    *unused = (struct meeting){ .kind = kind, .mask = mask, .pc = pc };
    return unused;
}

/* The last of the lanes in `mask` to arrive runs fn for all of them. Kind 0 is __syncwarp(). */
void cusim_warp(int kind, unsigned mask, const void *in, void *out, warp_fn fn, void *pc)
{
    struct fiber *f = E.now;
    int lane = f->index & 31, wi = f->index >> 5;
    struct warp *w = &E.warp[wi];
    if (!(mask >> lane & 1)) {
        cusim_error("mask-without-caller", pc, "lane %d calls with mask %08x, which leaves it out", lane, mask);
        mask |= 1u << lane;
    }
    if (mask & ~existing_lanes(wi)) {
        cusim_error("mask-has-missing-lanes", pc, "mask %08x names lanes that this warp does not have", mask);
        mask &= existing_lanes(wi);
    }
    if (mask & w->exited)
        cusim_error("mask-has-exited-lanes", pc, "mask %08x names lanes that have returned (%08x)", mask,
                    w->exited & mask);
    struct meeting *m = meeting_find(w, kind, mask, pc);
    m->in[lane] = (void *)(uintptr_t)in;
    m->out[lane] = out;
    m->arrived |= 1u << lane;
    if (m->arrived != mask) {
        f->state = AT_WARP;
        f->pc = pc;
        cusim_to_scheduler();
        return;
    }
    if (fn)
        fn(mask, m->in, m->out);
    if (cusim_counting.blocks && (kind == MMA || kind == MMA_S8))
        cusim_count_tensor(kind == MMA ? 2. * 16 * 8 * 16 : 2. * 16 * 8 * 32);
    if (kind == 0)
        w->epoch++;
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1 && i != lane)
            E.fiber[wi * 32 + i].state = READY;
    m->mask = 0;
}

unsigned cusim_activemask(void) { return existing_lanes(E.now->index >> 5) & ~E.warp[E.now->index >> 5].exited; }

/* ---- cp.async: filled when it is waited for, not before ---- */

void cusim_cp_async(void *dst, const void *src, int n, int n_src, void *pc)
{
    struct fiber *f = E.now;
    struct copy c = { dst, src, n, n_src, f->committed };
    if (!E.checked) {
        memset(dst, 0, (size_t)n);
        memcpy(dst, src, (size_t)n_src);
        return;
    }
    shadow_copy_issued(&c, pc);
    if (f->n_copies == f->max_copies)
        f->copies = realloc(f->copies, sizeof c * (size_t)(f->max_copies = 2 * f->max_copies + 16));
    f->copies[f->n_copies++] = c;
}

void cusim_cp_async_commit(void) { E.now->committed++; }

void cusim_cp_async_wait(int keep)
{
    struct fiber *f = E.now;
    int n = 0;
    for (int i = 0; i < f->n_copies; i++)
        if (f->copies[i].group < f->committed - keep)
            shadow_copy_done(&f->copies[i]);
        else
            f->copies[n++] = f->copies[i];
    f->n_copies = n;
}

/* ---- the scheduler: one block after the other ---- */

static void shuffle(int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int k = (int)(cusim_random() % (unsigned)(i + 1)), t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
}

static void fiber_run(struct fiber *f)
{
    E.now = f;
    cusim_switch(&E.main_sp, f->sp);
    f = E.now;
    if (f->state != DONE)
        return;
    E.n_alive--;
    E.warp[f->index >> 5].exited |= 1u << (f->index & 31);
    if (f->n_copies)
        cusim_error("cp.async-not-waited", NULL, "a thread returned with cp.async in flight");
    barrier_try();
}

static bool warp_run(int w, int *lanes)
{
    bool progress = false;
    if (E.seed)
        shuffle(lanes, 32);
    for (int l = 0; l < 32; l++) {
        int i = w * 32 + lanes[l];
        if (i < E.n_threads && E.fiber[i].state == READY) {
            fiber_run(&E.fiber[i]);
            progress = true;
        }
    }
    return progress;
}

static void deadlock(void)
{
    int at_barrier = 0, at_warp = 0;
    for (int i = 0; i < E.n_threads; i++) {
        at_barrier += E.fiber[i].state == AT_BARRIER;
        at_warp += E.fiber[i].state == AT_WARP;
        if (E.fiber[i].state == AT_BARRIER || E.fiber[i].state == AT_WARP)
            E.now = &E.fiber[i];
    }
    cusim_error("deadlock", E.now->pc, "%d threads wait at a barrier, %d at a warp operation, %d have returned",
                at_barrier, at_warp, E.n_threads - E.n_alive);
}

static void block_run(void)
{
    int n_warps = (E.n_threads + 31) / 32, warps[MAX_WARPS], lanes[32];
    E.block_number++;
    E.barrier_epoch = 1;
    E.n_alive = E.n_threads;
    arrived = 0;
    E.votes[0] = 0, E.votes[1] = 1, E.votes[2] = 0;
    for (int w = 0; w < n_warps; w++) {
        memset(&E.warp[w], 0, sizeof E.warp[w]);
        E.warp[w].epoch = 1;
        warps[w] = w;
    }
    for (int i = 0; i < 32; i++)
        lanes[i] = i;
    for (int i = 0; i < E.n_threads; i++)
        fiber_start(&E.fiber[i], i);
    if (E.checked)
        shadow_block_start();
    while (E.n_alive > 0) {
        bool progress = false;
        if (E.seed)
            shuffle(warps, n_warps);
        for (int w = 0; w < n_warps; w++)
            progress |= warp_run(warps[w], lanes);
        if (!progress) {
            deadlock();
            break;
        }
    }
    E.now = NULL;
    for (int i = 0; i < E.n_threads; i++)
        if (E.fiber[i].n_copies)
            shadow_copies_drop(&E.fiber[i]);
}

void cusim_run(const struct launch *l)
{
    E.launch = l;
    memcpy(params, l->params, l->params_size);
    E.launch_number++;
    E.n_threads = (int)(l->block[0] * l->block[1] * l->block[2]);
    shadow_start();
    shadow_launch_start();
    unsigned n = l->grid[0] * l->grid[1] * l->grid[2], first = E.seed ? cusim_random() % n : 0,
        most = (unsigned)cusim_counting.blocks;
    unsigned ran = most && most < n ? most : n;
    for (unsigned i = 0; i < ran; i++) {
        unsigned b = ran < n ? (unsigned)((uint64_t)i * n / ran) : (i + first) % n;
        E.block_id[0] = b % l->grid[0];
        E.block_id[1] = b / l->grid[0] % l->grid[1];
        E.block_id[2] = b / (l->grid[0] * l->grid[1]);
        cusim_counting.last = i + 1 == ran;
        block_run();
        if (most)
            cusim_count_block_end((int)i);
    }
    if (most)
        cusim_count_launch_end(l, ran, n);
    E.launch = NULL;
}

/* ---- where a CUDA thread is ---- */

static struct place place(const unsigned v[3]) { return (struct place){ v[0], v[1], v[2] }; }

struct place cusim_thread_idx(void) { return place(E.now->tid); }
struct place cusim_block_idx(void) { return place(E.block_id); }
struct place cusim_block_dim(void) { return place(E.launch->block); }
struct place cusim_grid_dim(void) { return place(E.launch->grid); }
