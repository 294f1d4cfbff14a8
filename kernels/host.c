#include "kernels/host.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE = 2 << 20, ZERO_PART = 32 << 20 /* worth a thread */, MAX_ZERO_THREADS = 16 };

/* Reads up to `n` numbers from a file of one line; "max" counts as no number. Returns how many were read. */
static int read_numbers(const char *path, long long *to, int n)
{
    char line[128] = "";
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    char *p = fgets(line, sizeof line, f);
    fclose(f);
    int got = 0;
    for (char *end; p && got < n; p = end) {
        to[got] = strtoll(p, &end, 10);
        if (end == p)
            break;
        got++;
    }
    return got;
}

/* Hyperthreads of one core share its arithmetic units: only the first of them counts. */
static bool first_of_core(int cpu, const cpu_set_t *set)
{
    char path[96];
    long long first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (read_numbers(path, &first, 1) != 1 || first < 0 || first >= CPU_SETSIZE)
        return true;
    return first == cpu || !CPU_ISSET((int)first, set);
}

/* Calls `each` with the path of `file` in this process's cgroup and in all above it: the tightest limit holds. */
static void in_cgroups(const char *file, void (*each)(const char *path, void *arg), void *arg)
{
    char line[1024], path[1200];
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *dir = line + 3, *slash;
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        dir[strcspn(dir, "\n")] = 0;
        do {
            slash = strrchr(dir, '/');
            snprintf(path, sizeof path, "/sys/fs/cgroup%s%s%s", dir, strcmp(dir, "/") ? "/" : "", file);
            each(path, arg);
            if (slash)
                *slash = 0;
        } while (slash);
    }
    fclose(f);
}

/* cpu.max: quota and period in microseconds. */
static void limit_threads(const char *path, void *arg)
{
    long long q[2];
    int *n = arg;
    if (read_numbers(path, q, 2) == 2 && q[0] > 0 && q[1] > 0 && (q[0] + q[1] - 1) / q[1] < *n)
        *n = (int)((q[0] + q[1] - 1) / q[1]);
}

int host_threads(void)
{
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        n += CPU_ISSET(i, &set) && first_of_core(i, &set);
    in_cgroups("cpu.max", limit_threads, &n);
    return n > 0 ? n : 1;
}

static void limit_memory(const char *path, void *arg)
{
    long long limit;
    size_t *bytes = arg;
    if (read_numbers(path, &limit, 1) == 1 && limit > 0 && (unsigned long long)limit < *bytes)
        *bytes = (size_t)limit;
}

size_t host_memory(struct device *dev)
{
    (void)dev;
    size_t bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    in_cgroups("memory.max", limit_memory, &bytes);
    limit_memory("/sys/fs/cgroup/memory/memory.limit_in_bytes", &bytes);   /* the older cgroups */
    return bytes;
}

void *host_alloc(struct device *dev, size_t n)
{
    (void)dev;
    size_t align = n >= 2 * (size_t)HUGE ? HUGE : 64;
    void *p;
    if (posix_memalign(&p, align, n ? n : 1))
        return NULL;
    if (align == HUGE)
        madvise(p, n, MADV_HUGEPAGE);                  /* advice: may fail */
    return p;
}

void host_free(struct device *dev, void *p)
{
    (void)dev;
    free(p);
}

struct part { pthread_t thread; bool started; char *at; size_t n; };

static void *zero_part(void *arg)
{
    struct part *p = arg;
    memset(p->at, 0, p->n);
    return NULL;
}

void host_zero(struct device *dev, void *p, size_t n)
{
    (void)dev;
    struct part part[MAX_ZERO_THREADS];
    int threads = host_threads();
    size_t most = n / ZERO_PART + 1, count = threads < MAX_ZERO_THREADS ? (size_t)threads : MAX_ZERO_THREADS;
    count = count < most ? count : most;
    size_t each = (n / count + HUGE - 1) / HUGE * HUGE, at = 0;
    for (size_t i = 0; i < count; i++, at += part[i - 1].n) {
        size_t rest = n - at, size = i + 1 == count || each > rest ? rest : each;
        part[i] = (struct part){ .at = (char *)p + at, .n = size };
        part[i].started = count > 1 && pthread_create(&part[i].thread, NULL, zero_part, &part[i]) == 0;
        if (!part[i].started)
            zero_part(&part[i]);
    }
    for (size_t i = 0; i < count; i++)
        if (part[i].started)
            pthread_join(part[i].thread, NULL);
}

void host_copy(struct device *dev, void *dst, const void *src, size_t n)
{
    (void)dev;
    if (n)
        memcpy(dst, src, n);
}
