#include "kernels/host.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE = 2 << 20 };

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

int host_threads(void)
{
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        n += CPU_ISSET(i, &set) && first_of_core(i, &set);
    long long q[2] = { 0, 0 };
    if (read_numbers("/sys/fs/cgroup/cpu.max", q, 2) != 2) {
        read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &q[0], 1);
        read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &q[1], 1);
    }
    if (q[0] > 0 && q[1] > 0 && q[0] / q[1] < n)
        n = (int)((q[0] + q[1] - 1) / q[1]);
    return n > 0 ? n : 1;
}

size_t host_memory(struct device *dev)
{
    (void)dev;
    size_t bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    long long limit;
    if ((read_numbers("/sys/fs/cgroup/memory.max", &limit, 1) == 1 ||
         read_numbers("/sys/fs/cgroup/memory/memory.limit_in_bytes", &limit, 1) == 1) &&
        limit > 0 && (unsigned long long)limit < bytes)
        bytes = (size_t)limit;
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

void host_copy(struct device *dev, void *dst, const void *src, size_t n)
{
    (void)dev;
    if (n)
        memcpy(dst, src, n);
}

static bool plain(enum dtype t) { return t == F32 || t == F16 || t == BF16; }

int host_pack_check(const struct weight *out, const struct slab *slabs, int n, enum dtype want, struct err *e)
{
    long long rows = 0;
    if (!plain(want))
        return err_set(e, "weights cannot be stored as %s on the CPU yet", want == Q8 ? "q8" : want == Q4 ? "q4" : "this type");
    for (int i = 0; i < n; i++) {
        if (!plain(slabs[i].dtype))
            return err_set(e, "weights are read as float32, float16 or bfloat16 only");
        rows += slabs[i].rows;
    }
    if (rows != out->out)
        return err_set(e, "a weight of %d rows is made of %lld", out->out, rows);
    return 0;
}
