/* tests/cusim/internal.h - what the parts of the emulator share.
 *
 *   fiber.c   CUDA threads as fibers: scheduler, barriers, warp operations
 *   shadow.c  device and shared memory, and what every byte of it went through
 *   report.c  what was found
 *   count.c   or, instead: how much the kernels do
 *   cudart.c  the CUDA runtime's functions on top of these
 *   cublaslt.c  cuBLASLt's
 *   graph.c   CUDA graphs: streams that are recorded and played again
 *
 * One lock (cusim_lock) around all of it: a kernel runs on the OS thread that
 * synchronizes. Shared memory is this module's thread-local block, so nothing
 * here may be thread_local itself. */
#ifndef TESTS_CUSIM_INTERNAL_H
#define TESTS_CUSIM_INTERNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / 32, MAX_SHARED = 227 * 1024, FIBER_STACK = 64 * 1024 };

enum fiber_state { READY, AT_BARRIER, AT_WARP, DONE };

struct copy { void *dst; const void *src; int n, n_src, group; };    /* a cp.async in flight */

struct fiber {
    void    *sp;
    char    *stack;             /* owned */
    unsigned tid[3];
    int      index;
    enum fiber_state state;
    void    *pc;                /* of the barrier or warp operation it waits at */
    int      vote_op, vote;     /* __syncthreads_or() and its like              */
    struct copy *copies;        /* owned; those not complete                    */
    int      n_copies, max_copies, committed;
    bool     wrote, unfenced;   /* device memory, in this block; since its last fence */
    uint32_t fence_epoch;       /* of that                                            */
    bool     acquired;          /* sees what the blocks in E.seen had published       */
};

typedef void (*warp_fn)(unsigned mask, void *const in[32], void *const out[32]);

struct meeting {                /* lanes that wait for each other at one warp operation */
    int      kind;
    unsigned mask, arrived;     /* mask 0: unused */
    void    *in[32], *out[32];
    void    *pc;
};

struct warp {
    struct meeting meet[8];
    unsigned epoch, exited;     /* epoch: grows at __syncwarp() */
};

struct launch {                 /* one kernel launch, ready to run */
    const char *name;
    unsigned grid[3], block[3];
    size_t   shared;
    const void *fn;             /* the kernel */
    void   (*thunk)(const void *params);
    void    *params;            /* owned by the stream until it has run */
    size_t   params_size;
};

struct emulator {
    struct fiber  fiber[MAX_THREADS];
    struct warp   warp[MAX_WARPS];
    struct fiber *now;                    /* NULL: no kernel is running */
    const struct launch *launch;
    unsigned block_id[3];
    int      n_threads, n_alive;
    void    *main_sp;
    uint32_t launch_number, block_number; /* generations of the shadow cells */
    uint32_t barrier_epoch;
    int      votes[3];
    int      seed, preempt;               /* seed 0: threads in order; preempt n: switch after 1 in n accesses */
    bool     checked;                     /* the kernels are instrumented */
    bool     guard;                       /* the host may not touch device memory: an mprotect() per synchronize */
    uint64_t random;
};

extern struct emulator E;

uint32_t cusim_random(void);
void cusim_run(const struct launch *l);          /* fiber.c */
void cusim_to_scheduler(void);
struct place { unsigned x, y, z; };              /* CUDA's uint3 */
struct place cusim_thread_idx(void), cusim_block_idx(void), cusim_block_dim(void), cusim_grid_dim(void);
int  cusim_barrier(int op, int value, void *pc); /* op 0 count, 1 and, 2 or */
void cusim_warp(int kind, unsigned mask, const void *in, void *out, warp_fn fn, void *pc);
unsigned cusim_activemask(void);
void cusim_cp_async(void *dst, const void *src, int n, int n_src, void *pc);
void cusim_cp_async_commit(void);
void cusim_cp_async_wait(int keep);

/* cudart.c, for tests */
void cusim_set(int seed, int preempt);           /* the order of threads from now on      */
void cusim_forgive(void);                        /* a clean context after a wanted error  */
int  cusim_allocations(void);                    /* of device memory, so far              */
int  cusim_blas_calls(void);                     /* so far (cublaslt.c)                   */
int  cusim_graph_launches(void);                 /* so far (graph.c)                      */

/* count.c: a census instead of a check */
struct counting {
    int  blocks;                                 /* of a launch that are run; 0: all, with every check */
    bool last, once;                             /* the last of them runs; what is done now no other block does */
};
extern struct counting cusim_counting;
void cusim_count_access(int n, int how, int fresh);       /* fresh: bytes that this launch had not touched before */
void cusim_count_tensor(double operations);
/* what atomicInc() tells: the last block that is run is the last */
unsigned cusim_arrival(unsigned old, unsigned most);
void cusim_count_block_end(int nth);
void cusim_count_launch_end(const struct launch *l, unsigned ran, unsigned all);
void cusim_count(int blocks);
void cusim_count_write(FILE *out);

/* report.c */
void cusim_error(const char *kind, void *pc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int  cusim_reports(void);                        /* how many since the last clear */
bool cusim_saw(const char *kind);
void cusim_clear(void);
void cusim_quiet(bool quiet);                    /* count, do not print */
bool cusim_is_quiet(void);

/* shadow.c */
enum { ACCESS_WRITE = 1, ACCESS_ATOMIC = 2 };
void  shadow_start(void);
void  shadow_launch_start(void);
void  shadow_block_start(void);                  /* shared memory is poison again */
void *shadow_alloc(size_t n);
bool  shadow_free(void *p);                      /* false: not the start of a live allocation */
size_t shadow_live_bytes(void);
bool  shadow_is_device(const void *p);
bool  shadow_range(const char *what, const void *p, size_t n, bool write);  /* a copy or memset touches this */
void  shadow_copy_init(void *dst, const void *src, size_t n);
void  shadow_guard(bool on);                     /* on: the host cannot touch device memory */
void  shadow_access(uintptr_t a, int n, int how, void *pc);
void  shadow_fence(void);                        /* __threadfence() */
void  shadow_shared_range(uintptr_t *from, uintptr_t *to);
void  shadow_copy_issued(const struct copy *c, void *pc);
void  shadow_copy_done(const struct copy *c);
void  shadow_copies_drop(struct fiber *f);

#endif
