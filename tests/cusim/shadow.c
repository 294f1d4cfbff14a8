/* tests/cusim/shadow.c - device and shared memory, and what happened to it.
 *
 * Device memory is one reserved range, handed out once and never again, with
 * an unused gap after every allocation. For every byte: was it written? For
 * every two bytes (no kernel stores single ones): who read and wrote them last,
 * and when. Shared memory is the module's thread-local block, likewise.
 *
 * Blocks see each other's stores by one protocol: every thread that stored ends
 * with __threadfence(), a barrier, then an atomic operation; a block whose own
 * atomic operation on that word comes later, and whose thread has a fence after
 * that (and, if another thread did it, after a barrier), sees them.
 *
 * The kernels are compiled with -fsanitize=thread,alignment,bounds,shift; the
 * entry points that this calls are defined at the end, in place of the
 * sanitizers' own. */
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/cusim/internal.h"

#define ARENA ((size_t)64 << 30)
enum { CHUNK = 256, GRANULE = 2 };
enum { NOBODY = 0xfffd, ATOMIC = 0xfffe, SEVERAL = 0xffff, ONE_WARP = 0x8000 };

struct cell {                    /* the last accesses of two bytes, in one launch (device) or block (shared) */
    uint32_t generation;
    uint32_t write_epoch, read_epoch;    /* barrier epoch << 16 | the warp's epoch          */
    uint32_t write_block, read_block;
    uint16_t writer;                     /* thread, ATOMIC or NOBODY                        */
    uint16_t reader;                     /* thread, ONE_WARP | warp, SEVERAL or NOBODY      */
};

struct allocation { char *p; size_t n; bool live; };

static char *arena;
static uint8_t *arena_init;              /* (ARENA) 1: written                              */
static struct cell *arena_cells;         /* (ARENA / GRANULE)                               */
static uint32_t *chunk;                  /* (ARENA / CHUNK) allocation or 0                 */
static struct allocation *allocations;
static uint32_t n_allocations = 1;
static size_t arena_used = CHUNK, live_bytes;
static bool guarded;

static uintptr_t shared_from, shared_to, dynamic_from, segment_from, segment_to;
static struct cell *shared_cells;
static uint32_t *shared_init;            /* (bytes / GRANULE) block number that wrote it, or IN_FLIGHT */
#define IN_FLIGHT 0xffffffffu

/* came to an atomic word with all stores fenced */
struct published { uintptr_t word; uint32_t block, epoch; int thread; };
static struct published *published;
static int n_published, max_published;
static uint32_t launch_first;            /* its first block                                  */
static struct published *seen;           /* (blocks of a launch) that the running block met there, or epoch 0 ... */
static uint32_t seen_size, seen_epoch;   /* ... in which epoch, ...                          */
static int seen_by;                      /* ... by which thread; -1: none                    */

extern unsigned char *cusim_dynamic_shared(void);

static void *reserve(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("cusim: reserving address space");
        abort();
    }
    return p;
}

/* This module's thread-local block of this thread is the shared memory. */
static int find_module(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    uintptr_t from = UINTPTR_MAX, to = 0, tls = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t a = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_TLS)
            tls = p->p_memsz;
        if (p->p_type != PT_LOAD)
            continue;
        from = a < from ? a : from;
        to = a + p->p_memsz > to ? a + p->p_memsz : to;
    }
    if ((uintptr_t)&find_module < from || (uintptr_t)&find_module >= to)
        return 0;
    segment_from = from;
    segment_to = to;
    shared_from = (uintptr_t)info->dlpi_tls_data;
    shared_to = shared_from + tls;
    return 1;
}

void shadow_start(void)
{
    uintptr_t dynamic = (uintptr_t)cusim_dynamic_shared();
    if (dynamic == dynamic_from || !E.checked)
        return;                                        /* the same OS thread as last time */
    dynamic_from = dynamic;
    dl_iterate_phdr(find_module, NULL);
    if (!shared_cells) {
        shared_cells = calloc((shared_to - shared_from) / GRANULE + 1, sizeof *shared_cells);
        shared_init = calloc((shared_to - shared_from) / GRANULE + 1, sizeof *shared_init);
    }
}

void shadow_launch_start(void)
{
    const unsigned *g = E.launch->grid;
    launch_first = E.block_number + 1;
    n_published = 0;
    if (seen_size < g[0] * g[1] * g[2]) {
        seen_size = g[0] * g[1] * g[2];
        seen = realloc(seen, sizeof *seen * seen_size);
    }
}

void shadow_block_start(void)
{
    seen_by = -1;
    memset((void *)shared_from, 0xff, dynamic_from - shared_from);
    memset((void *)dynamic_from, 0xff, E.launch->shared);
    if (dynamic_from + MAX_SHARED < shared_to)
        memset((void *)(dynamic_from + MAX_SHARED), 0xff, shared_to - dynamic_from - MAX_SHARED);
}

/* ---- device memory ---- */

static size_t offset_of(const void *p) { return (size_t)((uintptr_t)p - (uintptr_t)arena); }

bool shadow_is_device(const void *p) { return arena && offset_of(p) < ARENA; }

static struct allocation *find(const void *p)
{
    uint32_t i = shadow_is_device(p) ? chunk[offset_of(p) / CHUNK] : 0;
    return i ? &allocations[i] : NULL;
}

void *shadow_alloc(size_t n)
{
    if (!arena) {
        arena = reserve(ARENA);
        chunk = reserve(ARENA / CHUNK * sizeof *chunk);
        if (E.checked) {
            arena_init = reserve(ARENA);
            arena_cells = reserve(ARENA / GRANULE * sizeof *arena_cells);
        }
    }
    size_t need = (n + CHUNK - 1) / CHUNK * CHUNK + CHUNK;
    if (need > ARENA - arena_used)
        return NULL;
    shadow_guard(false);
    char *p = arena + arena_used;
    if ((n_allocations & (n_allocations - 1)) == 0)
        allocations = realloc(allocations, sizeof *allocations * 2 * n_allocations);
    for (size_t c = 0; c < need / CHUNK - 1; c++)
        chunk[arena_used / CHUNK + c] = n_allocations;
    allocations[n_allocations++] = (struct allocation){ p, n, true };
    arena_used += need;
    live_bytes += n;
    if (E.checked && !cusim_counting.blocks)
        memset(p, 0xff, n);                            /* NaN and -1: not the zeros that hide a mistake */
    return p;
}

/* The pages go back to the system; the addresses stay used up, so that a late access is seen. */
bool shadow_free(void *p)
{
    struct allocation *a = find(p);
    if (!a || a->p != p || !a->live)
        return false;
    shadow_guard(false);
    a->live = false;
    live_bytes -= a->n;
    uintptr_t from = ((uintptr_t)p + 4095) & ~(uintptr_t)4095, to = ((uintptr_t)p + a->n) & ~(uintptr_t)4095;
    if (to > from) {
        size_t at = offset_of((void *)from), n = to - from;
        madvise((void *)from, n, MADV_DONTNEED);
        if (E.checked) {
            madvise(arena_init + at, n, MADV_DONTNEED);
            madvise(arena_cells + at / GRANULE, n / GRANULE * sizeof *arena_cells, MADV_DONTNEED);
        }
    }
    return true;
}

size_t shadow_live_bytes(void) { return live_bytes; }

void shadow_guard(bool on)
{
    if (!E.guard || on == guarded || !arena)
        return;
    mprotect(arena, (arena_used + 4095) & ~(size_t)4095, on ? PROT_NONE : PROT_READ | PROT_WRITE);
    guarded = on;
}

bool shadow_range(const char *what, const void *p, size_t n, bool write)
{
    struct allocation *a = find(p);
    if (!a || !a->live || (const char *)p + n > a->p + a->n) {
        cusim_error("out-of-bounds", NULL, "%s: %s of %zu bytes at %p is not inside one live allocation", what,
                    write ? "write" : "read", n, p);
        return false;
    }
    if (!E.checked || cusim_counting.blocks)
        return true;
    if (write) {
        memset(arena_init + offset_of(p), 1, n);
        return true;
    }
    const uint8_t *unwritten = memchr(arena_init + offset_of(p), 0, n);
    if (unwritten)
        cusim_error("uninitialised-global", NULL, "%s reads byte %zu of %zu, which nothing wrote", what,
                    (size_t)(unwritten - arena_init) - offset_of(p), n);
    return true;
}

void shadow_copy_init(void *dst, const void *src, size_t n)
{
    if (E.checked && !cusim_counting.blocks)
        memcpy(arena_init + offset_of(dst), arena_init + offset_of(src), n);
}

/* ---- races ---- */

static uint32_t epoch_now(void)
{
    return (E.barrier_epoch & 0xffff) << 16 | (E.warp[E.now->index >> 5].epoch & 0xffff);
}

/* Did what `thread` of this block did at `epoch` happen before now? */
static bool before(uint32_t epoch, int thread)
{
    uint32_t now = epoch_now();
    if (epoch >> 16 != now >> 16 || thread == E.now->index)
        return true;
    return thread >> 5 == E.now->index >> 5 && (epoch & 0xffff) < (now & 0xffff);
}

/* Has all that this block stored been fenced, before the last barrier or by this thread? */
static bool all_fenced(void)
{
    for (int i = 0; i < E.n_threads; i++) {
        const struct fiber *f = &E.fiber[i];
        if (f->wrote && (f->unfenced || (f != E.now && f->fence_epoch == E.barrier_epoch)))
            return false;
    }
    return true;
}

/* An atomic operation on a word of device memory: this block meets those that came before. */
static void meet(uintptr_t word)
{
    memset(seen, 0, sizeof *seen * seen_size);
    seen_by = E.now->index;
    seen_epoch = E.barrier_epoch;
    for (int i = 0; i < n_published; i++)
        if (published[i].word == word)
            seen[published[i].block - launch_first] = published[i];
    for (int i = 0; i < E.n_threads; i++)
        E.fiber[i].acquired = false;
    if (!all_fenced())
        return;
    if (n_published == max_published)
        published = realloc(published, sizeof *published * (size_t)(max_published = 2 * max_published + 64));
    published[n_published++] = (struct published){ word, E.block_number, E.barrier_epoch, E.now->index };
}

void shadow_fence(void)
{
    if (!E.now)
        return;
    E.now->unfenced = false;
    E.now->fence_epoch = E.barrier_epoch;
    E.now->acquired = seen_by >= 0 && (seen_by == E.now->index || E.barrier_epoch > seen_epoch);
}

/* Did what a thread of another block of this launch did at `epoch` happen before now? */
static bool block_before(uint32_t block, uint32_t epoch, int thread)
{
    const struct published *p = &seen[block - launch_first];
    return E.now->acquired && p->epoch && (epoch >> 16 < p->epoch || (epoch >> 16 == p->epoch && thread == p->thread));
}

static bool read_before(const struct cell *c)
{
    if (c->reader == SEVERAL)
        return c->read_epoch >> 16 != epoch_now() >> 16;
    return before(c->read_epoch, c->reader & ONE_WARP ? (c->reader & 0x3ff) << 5 | (E.now->index & 31 ? 0 : 1)
                  : c->reader);
}

static void check_against_write(const struct cell *c, int how, uintptr_t a, void *pc)
{
    const char *does = how & ACCESS_WRITE ? "write" : "read";
    if (c->writer == NOBODY || (how & ACCESS_ATOMIC && c->writer == ATOMIC))
        return;
    if (c->write_block != E.block_number) {
        if (block_before(c->write_block, c->write_epoch, c->writer))
            return;
        cusim_error("race-across-blocks", pc, "%#lx: %s after a write by another block of this launch", (long)a, does);
    } else if (c->writer == ATOMIC) {
        if (c->write_epoch >> 16 == epoch_now() >> 16)
            cusim_error("race", pc, "%#lx: plain %s of an atomically updated word, no barrier between", (long)a, does);
    } else if (!before(c->write_epoch, c->writer))
        cusim_error("race", pc, "%#lx: %s by thread %d, written by thread %d, no barrier between", (long)a, does,
                    E.now->index, c->writer);
}

static void check_against_read(const struct cell *c, uintptr_t a, void *pc)
{
    if (c->reader == NOBODY)
        return;
    if (c->read_block != E.block_number && block_before(c->read_block, c->read_epoch, c->reader))
        return;
    if (c->read_block != E.block_number)
        cusim_error("race-across-blocks", pc, "%#lx: write after a read by another block of this launch", (long)a);
    else if (!read_before(c))
        cusim_error("race", pc, "%#lx: write by thread %d, read by another thread, no barrier between", (long)a,
                    E.now->index);
}

static void note_read(struct cell *c)
{
    int me = E.now->index, warp = me >> 5;
    if (c->reader == NOBODY || c->read_block != E.block_number || c->read_epoch >> 16 != epoch_now() >> 16)
        c->reader = (uint16_t)me;
    else if (c->reader != me && c->reader != SEVERAL) {
        int readers = c->reader & ONE_WARP ? c->reader & 0x3ff : c->reader >> 5;
        c->reader = readers == warp ? (uint16_t)(ONE_WARP | warp) : SEVERAL;
    }
    c->read_epoch = epoch_now();
    c->read_block = E.block_number;
}

static void race_check(struct cell *c, uint32_t generation, int how, uintptr_t a, void *pc)
{
    if (c->generation != generation) {
        c->generation = generation;
        c->writer = c->reader = NOBODY;
    }
    check_against_write(c, how, a, pc);
    if (how & ACCESS_WRITE) {
        check_against_read(c, a, pc);
        c->writer = how & ACCESS_ATOMIC ? ATOMIC : (uint16_t)E.now->index;
        c->write_epoch = epoch_now();
        c->write_block = E.block_number;
        c->reader = NOBODY;
    } else {
        note_read(c);
    }
}

static void races(struct cell *cells, size_t at, uint32_t generation, int n, int how, uintptr_t a, void *pc)
{
    for (size_t g = at / GRANULE; g <= (at + (size_t)n - 1) / GRANULE; g++)
        race_check(&cells[g], generation, how, a, pc);
}

/* ---- one access of a kernel ---- */

/* A GPU would stop the whole context here; the emulator stops the thread and goes on looking. */
static void thread_stop(void)
{
    shadow_copies_drop(E.now);
    E.now->state = DONE;
    cusim_to_scheduler();
    abort();
}

static void misaligned(uintptr_t a, int n, void *pc)
{
    if (n <= 16 && (n & (n - 1)) == 0 && a & (uintptr_t)(n - 1)) {
        cusim_error("misaligned", pc, "access of %d bytes at %#lx", n, (long)a);
        thread_stop();
    }
}

static void shared_access(uintptr_t a, int n, int how, void *pc)
{
    size_t at = a - shared_from;
    misaligned(a, n, pc);
    if (a + (size_t)n > dynamic_from && a < dynamic_from + MAX_SHARED && a + (size_t)n > dynamic_from +
        E.launch->shared) {
        cusim_error("shared-out-of-bounds", pc, "%d bytes at dynamic shared offset %ld; the launch asked for %zu", n,
                    (long)(a - dynamic_from), E.launch->shared);
        thread_stop();
    }
    for (size_t g = at / GRANULE; g <= (at + (size_t)n - 1) / GRANULE; g++) {
        uint32_t *init = &shared_init[g];
        if (*init == IN_FLIGHT)
            cusim_error("cp.async-not-waited", pc, "access to shared memory with a cp.async in flight");
        else if (!(how & ACCESS_WRITE) && *init != E.block_number)
            cusim_error("uninitialised-shared", pc, "read of shared offset %#zx, which this block never wrote",
                        g * GRANULE);
        if (*init != IN_FLIGHT)
            *init = E.block_number;
    }
    races(shared_cells, at, E.block_number, n, how, a, pc);
}

static void global_access(uintptr_t a, int n, int how, void *pc)
{
    struct allocation *b = find((void *)a);
    size_t at = a - (uintptr_t)arena;
    misaligned(a, n, pc);
    if (!b || (char *)a + n > b->p + b->n) {
        cusim_error("out-of-bounds", pc, "%s of %d bytes at %#lx, %ld past the end of %zu bytes",
                    how & ACCESS_WRITE ? "write" : "read", n, (long)a, b ? (long)((char *)a + n - b->p) - (long)b->n
                    : -1L, b ? b->n : 0);
        thread_stop();
    }
    if (!b->live) {
        cusim_error("use-after-free", pc, "access of %d bytes to a freed allocation", n);
        thread_stop();
    }
    if (how & ACCESS_WRITE)
        memset(arena_init + at, 1, (size_t)n);
    else if (memchr(arena_init + at, 0, (size_t)n)) {
        cusim_error("uninitialised-global", pc, "read of byte %ld of %zu, which nothing wrote",
                    (long)((char *)a - b->p), b->n);
        memset(arena_init + at, 1, (size_t)n);
    }
    races(arena_cells, at, E.launch_number, n, how, a, pc);
    if (how & ACCESS_ATOMIC)
        meet(a);
    else if (how & ACCESS_WRITE)
        E.now->wrote = E.now->unfenced = true;
}

/* A census wants to know what is touched, not whether it may be. */
static void count_access(uintptr_t a, int n, int how)
{
    int fresh = 0;
    if (!shadow_is_device((void *)a))
        return;
    for (size_t at = a - (uintptr_t)arena, g = at / GRANULE; g <= (at + (size_t)n - 1) / GRANULE; g++) {
        fresh += arena_cells[g].generation != E.launch_number ? GRANULE : 0;
        arena_cells[g].generation = E.launch_number;
    }
    cusim_count_access(n, how, fresh);
}

void shadow_access(uintptr_t a, int n, int how, void *pc)
{
    if (!E.checked || !E.now || a - (uintptr_t)E.now->stack < FIBER_STACK)
        return;
    if (cusim_counting.blocks) {
        count_access(a, n, how);
        return;
    }
    if (a - shared_from < shared_to - shared_from)
        shared_access(a, n, how, pc);
    else if (shadow_is_device((void *)a))
        global_access(a, n, how, pc);
    else if (a - segment_from >= segment_to - segment_from) {   /* inside: constants of the module */
        cusim_error("wild-access", pc, "%d bytes at %#lx: neither device nor shared memory (a host pointer?)", n,
                    (long)a);
        thread_stop();
    }
    if (E.preempt && cusim_random() % (unsigned)E.preempt == 0)
        cusim_to_scheduler();
}

void shadow_copy_issued(const struct copy *c, void *pc)
{
    uintptr_t dst = (uintptr_t)c->dst, src = (uintptr_t)c->src;
    if ((dst | (c->n_src ? src : 0)) & (uintptr_t)(c->n - 1))
        cusim_error("misaligned", pc, "cp.async of %d bytes from %#lx to %#lx", c->n, (long)src, (long)dst);
    if (c->n_src)
        shadow_access(src, c->n_src, 0, pc);
    if (dst - shared_from >= shared_to - shared_from) {
        cusim_error("wild-access", pc, "the destination of a cp.async is not shared memory");
        thread_stop();
    }
    shadow_access(dst, c->n, ACCESS_WRITE, pc);
    memset(c->dst, 0xff, (size_t)c->n);
    for (int i = 0; i < c->n / GRANULE; i++)
        shared_init[(dst - shared_from) / GRANULE + (size_t)i] = IN_FLIGHT;
}

/* Copies that nobody will wait for any more: the next block must not meet them. */
void shadow_copies_drop(struct fiber *f)
{
    for (int i = 0; i < f->n_copies; i++)
        memset(&shared_init[((uintptr_t)f->copies[i].dst - shared_from) / GRANULE], 0,
               sizeof *shared_init * (size_t)(f->copies[i].n / GRANULE));
    f->n_copies = 0;
}

void shadow_copy_done(const struct copy *c)
{
    size_t at = (uintptr_t)c->dst - shared_from;
    memset(c->dst, 0, (size_t)c->n);
    memcpy(c->dst, c->src, (size_t)c->n_src);
    for (int i = 0; i < c->n / GRANULE; i++)
        shared_init[at / GRANULE + (size_t)i] = E.block_number;
    races(shared_cells, at, E.block_number, c->n, ACCESS_WRITE, (uintptr_t)c->dst, NULL);
}

/* ---- what instrumented code calls ---- */

#define PC __builtin_return_address(0)
#define ENTRY(name, n, how) \
    void name(void *a);     \
    void name(void *a) { shadow_access((uintptr_t)a, n, how, PC); }

ENTRY(__tsan_read1, 1, 0) ENTRY(__tsan_read2, 2, 0) ENTRY(__tsan_read4, 4, 0) ENTRY(__tsan_read8, 8, 0)
ENTRY(__tsan_read16, 16, 0)
ENTRY(__tsan_write1, 1, 1) ENTRY(__tsan_write2, 2, 1) ENTRY(__tsan_write4, 4, 1) ENTRY(__tsan_write8, 8, 1)
ENTRY(__tsan_write16, 16, 1)
ENTRY(__tsan_unaligned_read2, 2, 0) ENTRY(__tsan_unaligned_read4, 4, 0) ENTRY(__tsan_unaligned_read8, 8, 0)
ENTRY(__tsan_unaligned_read16, 16, 0)
ENTRY(__tsan_unaligned_write2, 2, 1) ENTRY(__tsan_unaligned_write4, 4, 1) ENTRY(__tsan_unaligned_write8, 8, 1)
ENTRY(__tsan_unaligned_write16, 16, 1)

void __tsan_read_range(void *a, size_t n);
void __tsan_write_range(void *a, size_t n);
void __tsan_func_entry(void *a);
void __tsan_func_exit(void);
void __tsan_init(void);
void __tsan_vptr_update(void *a, void *b);
void *__tsan_memcpy(void *d, const void *s, size_t n);
void *__tsan_memset(void *d, int v, size_t n);

void __tsan_read_range(void *a, size_t n) { shadow_access((uintptr_t)a, (int)n, 0, PC); }
void __tsan_write_range(void *a, size_t n) { shadow_access((uintptr_t)a, (int)n, ACCESS_WRITE, PC); }
void __tsan_func_entry(void *a) { (void)a; }
void __tsan_func_exit(void) {}
void __tsan_init(void) { E.checked = true; }

struct source { const char *file; uint32_t line, column; };
struct type   { uint16_t kind, info; char name[]; };
struct mismatch { struct source at; const struct type *type; unsigned char log_align, kind; };
struct index    { struct source at; const struct type *array, *index; };

void __ubsan_handle_type_mismatch_v1(struct mismatch *m, uintptr_t a);
void __ubsan_handle_out_of_bounds(struct index *x, uintptr_t i);
void __ubsan_handle_shift_out_of_bounds(struct source *at, uintptr_t a, uintptr_t b);

/* gcc splits a misaligned vector into scalars before the hooks above see it. */
void __ubsan_handle_type_mismatch_v1(struct mismatch *m, uintptr_t a)
{
    if (!E.now || (a & (((uintptr_t)1 << m->log_align) - 1)) == 0)
        return;
    cusim_error("misaligned", PC, "%s:%u: %s at %#lx", m->at.file, m->at.line, m->type->name, (long)a);
    thread_stop();
}

void __ubsan_handle_out_of_bounds(struct index *x, uintptr_t i)
{
    if (!E.now)
        return;
    cusim_error("index-out-of-bounds", PC, "%s:%u: index %ld of %s", x->at.file, x->at.line, (long)i, x->array->name);
    thread_stop();
}

void __ubsan_handle_shift_out_of_bounds(struct source *at, uintptr_t a, uintptr_t b)
{
    (void)a, (void)b;
    if (E.now)
        cusim_error("shift-out-of-bounds", PC, "%s:%u", at->file, at->line);
}
