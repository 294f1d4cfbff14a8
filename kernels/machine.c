/* kernels/machine.c - what the machine lets this process use: cores, and memory
 * in all and free. Each is the tightest of what the hardware has and of what the
 * process's control groups say, in both versions of their interface. */
#include "kernels/machine.h"

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 8192 };      /* bytes of a file of /proc or of a control group that are looked at */

/* The beginning of a file, as a string; allocates nothing, as the engine's thread asks. false: it cannot be read. */
static bool read_text(const char *path, char text[TEXT])
{
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, TEXT - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* Reads up to `n` numbers from the first line of a file; "max" counts as no number. Returns how many were read. */
static int read_numbers(const char *path, long long *to, int n)
{
    char text[TEXT];
    int got = 0;
    if (!read_text(path, text))
        return 0;
    text[strcspn(text, "\n")] = 0;
    for (char *p = text, *end; got < n; p = end, got++) {
        to[got] = strtoll(p, &end, 10);
        if (end == p)
            break;
    }
    return got;
}

/* The number that a file in a folder begins with; not 1: there is none. */
static int read_number_in(const char *dir, const char *file, long long *to)
{
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return read_numbers(path, to, 1);
}

/* The sum of the lines of a file that begin with one of two names; a line is a name, blanks and a number. -1: there is
 * none. */
static long long sum_lines(const char *path, const char *first, const char *second)
{
    char text[TEXT], name[64];
    long long sum = -1, value;
    if (!read_text(path, text))
        return -1;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%63s %lld", name, &value) == 2 && (strcmp(name, first) == 0 || strcmp(name, second) == 0))
            sum = (sum < 0 ? 0 : sum) + value;
    }
    return sum;
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

/* Where the control group of a line of /proc/self/cgroup is: its path, and the folder that it counts from; NULL: it is
 * of a controller that does not matter here. */
static char *cgroup_of(char *line, const char **root)
{
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return NULL;
    *path++ = 0;
    bool unified = strcmp(controllers, ":") == 0;
    *root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    return unified || strcmp(controllers, ":memory") == 0 ? path : NULL;
}

/* Calls `each` with the folder of this process's control group and of all above it: the tightest limit holds. Where a
 * container does not see its own path, the root that it sees is the container's. */
static void in_cgroups(void (*each)(const char *dir, void *arg), void *arg)
{
    char text[TEXT], dir[1200];
    const char *root;
    if (!read_text("/proc/self/cgroup", text))
        return;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        char *path = cgroup_of(line, &root), *slash = path;
        while (slash) {
            snprintf(dir, sizeof dir, "%s%.1000s", root, path);
            each(dir, arg);
            slash = strrchr(path, '/');
            if (slash)
                *slash = 0;
        }
    }
}

/* A control group's limit of time, cpu.max: quota and period in microseconds. The strictest limit on the way up counts.
 * */
static void limit_time(const char *dir, void *arg)
{
    char path[1400];
    long long q[2];
    double *cores = arg;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (read_numbers(path, q, 2) != 2 || q[0] <= 0 || q[1] <= 0)
        return;
    double share = (double)q[0] / (double)q[1];
    if (*cores <= 0 || share < *cores)
        *cores = share;
}

double machine_quota(void)
{
    double cores = 0;
    in_cgroups(limit_time, &cores);
    return cores;
}

/* Cores that this process may run on, hyperthreads left out, and no more than its control groups give it time for. */
int machine_threads(void)
{
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        n += CPU_ISSET(i, &set) && first_of_core(i, &set);
    double quota = machine_quota();
    if (quota > 0 && quota < n)
        n = (int)ceil(quota);
    return n > 0 ? n : 1;
}

/* The limit of one group, whose file has another name in each version. False: it has none. */
static bool memory_limit(const char *dir, size_t *limit)
{
    long long n;
    if (read_number_in(dir, "memory.max", &n) != 1 && read_number_in(dir, "memory.limit_in_bytes", &n) != 1)
        return false;
    *limit = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void limit_memory(const char *dir, void *arg)
{
    size_t limit, *bytes = arg;
    if (memory_limit(dir, &limit) && limit < *bytes)
        *bytes = limit;
}

static size_t physical(void) { return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE); }

size_t machine_memory(void)
{
    size_t bytes = physical();
    in_cgroups(limit_memory, &bytes);
    return bytes;
}

/* What is left of a group's limit. Pages of files count as left: they go when something else needs the room. */
static void limit_free(const char *dir, void *arg)
{
    char path[1400];
    long long used;
    size_t limit, *bytes = arg;
    if (!memory_limit(dir, &limit) || limit > physical() ||
        (read_number_in(dir, "memory.current", &used) != 1 && read_number_in(dir, "memory.usage_in_bytes", &used) != 1))
        return;
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    long long files = sum_lines(path, "total_inactive_file", "total_active_file");
    if (files < 0)
        files = sum_lines(path, "inactive_file", "active_file");
    used -= files > 0 ? files : 0;
    size_t taken = used < 0 ? 0 : (size_t)used, left = taken < limit ? limit - taken : 0;
    *bytes = left < *bytes ? left : *bytes;
}

size_t machine_free(void)
{
    long long kilobytes = sum_lines("/proc/meminfo", "MemAvailable:", "MemAvailable:");
    size_t bytes = kilobytes < 0 ? machine_memory() : (size_t)kilobytes * 1024;
    in_cgroups(limit_free, &bytes);
    return bytes;
}

/* What this process holds in memory that is nobody else's: resident pages less those of files. */
size_t machine_own(void)
{
    long long pages[3];
    if (read_numbers("/proc/self/statm", pages, 3) != 3 || pages[1] < pages[2])
        return 0;
    return (size_t)(pages[1] - pages[2]) * (size_t)sysconf(_SC_PAGESIZE);
}
