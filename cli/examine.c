/* cli/examine.c - processor, memory and limits of the machine, and what the program makes of each. See examine.h. */
#include "cli/examine.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"
#include "kernels/machine.h"

static const double GIB = 1 << 30;

/* ---- processor ---- */

/* The value of the first line "name : value" of a file; "" if there is none. */
static void read_line_of(const char *path, const char *name, char *out, size_t n)
{
    char  line[512];
    FILE *f = fopen(path, "r");
    *out = '\0';
    while (f && !*out && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(out, n, "%s", colon);
    }
    if (f)
        fclose(f);
}

/* The processor, and how many threads will compute: one for each core that this process may use, or fewer where its
 * control group has less time than that. */
static void examine_cores(struct findings *f)
{
    char model[200];
    struct utsname name;
    cpu_set_t set;
    int  allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1, threads = machine_threads();
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    double quota = machine_quota();
    uname(&name);
    read_line_of("/proc/cpuinfo", "model name", model, sizeof model);
    finding(f, VERDICT_OK, "machine",
            json_pack("{s:s, s:s, s:s}", "processor", model, "architecture", name.machine, "kernel", name.release),
            "%s, %s, Linux %s", *model ? model : "a processor without a name", name.machine, name.release);
    json_t *values = json_pack("{s:i, s:i, s:i, s:f}", "online", (int)online, "allowed", allowed, "threads", threads,
                               "quota", quota);
    if (quota > 0 && quota < allowed)
        finding(f, VERDICT_NOTE, "cores", values, "the control group gives the time of %.3g of %d cores: %d threads "
                "compute (--threads)", quota, allowed, threads);
    else
        finding(f, VERDICT_OK, "cores", values, "%d threads compute (--threads): one a core, of %d processors that "
                "this process may use and %ld that are online", threads, allowed, online);
}

/* Which sets of instructions work, and which one is taken: the best, unless the environment names another. */
static void examine_instructions(struct findings *f, struct device *dev)
{
    char text[200] = "";
    json_t *works = json_array();
    const char *taken = cpu_kernels(dev)->name, *forced = getenv("OPENAUTOGLM_ISA");
    const struct kernels *k;
    for (int i = 0; (k = cpu_variant(i)) != NULL; i++) {
        if (!k->works())
            continue;
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", k->name);
        json_array_append_new(works, json_string(k->name));
    }
    bool generic = strcmp(taken, "generic") == 0;
    const char *why = generic ? ", which is slow: AVX2 would be several times as fast" : "";
    if (forced)
        why = " (OPENAUTOGLM_ISA says so)";
    finding(f, generic || forced ? VERDICT_WARN : VERDICT_OK, "instruction set",
            json_pack("{s:s, s:o, s:b}", "taken", taken, "works", works, "forced", forced != NULL),
            "%s%s; this processor can: %s", taken, why, text);
}

/* How a large matrix of each type is multiplied with here: the question that is asked when a weight is laid out. */
static void examine_products(struct findings *f, struct device *dev)
{
    static const enum dtype types[] = { F32, F16, BF16, F8, Q8, Q4 };
    char    text[300] = "";
    json_t *values = json_object();
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct weight shape = { .out = 4096, .in = 4096, .dtype = types[i], .layout = LAYOUT_LINEAR };
        const char *kernel = cpu_linear_kernel(dev, &shape, types[i])->name, *type = dtype_name(types[i]);
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s: %s", n ? ", " : "", type, kernel);
        json_object_set_new(values, type, json_string(kernel));
    }
    finding(f, VERDICT_OK, "products", values, "kernel for a matrix of each type of numbers: %s", text);
}

/* Opens the CPU backend with one thread, to ask it which instruction set and which products it would choose. */
void examine_processor(struct findings *f)
{
    struct device *dev;
    struct err     e;
    examine_cores(f);
    if (backend_cpu.open(&dev, &(struct device_options){ .threads = 1 }, &e) != 0) {
        finding(f, VERDICT_FAIL, "instruction set", NULL, "%s", e.text);
        return;
    }
    examine_instructions(f, dev);
    examine_products(f, dev);
    backend_cpu.close(dev);
}

/* ---- memory ---- */

/* The word in brackets of a file such as "always [madvise] never". */
static void read_choice(const char *path, char *out, size_t n)
{
    char  line[200] = "";
    FILE *f = fopen(path, "r");
    if (f && !fgets(line, sizeof line, f))
        *line = '\0';
    if (f)
        fclose(f);
    char *from = strchr(line, '[');
    snprintf(out, n, "%.*s", from ? (int)strcspn(from + 1, "]") : 0, from ? from + 1 : "");
}

/* Large blocks ask for huge pages (kernels/host.c); whether they get them is the kernel's setting. */
static void examine_huge_pages(struct findings *f)
{
    char choice[40];
    read_choice("/sys/kernel/mm/transparent_hugepage/enabled", choice, sizeof choice);
    json_t *values = json_pack("{s:s}", "transparent", choice);
    if (strcmp(choice, "madvise") == 0 || strcmp(choice, "always") == 0)
        finding(f, VERDICT_OK, "huge pages", values, "transparent ones are given to whoever asks (%s): weights, "
                "the KV cache and scratch do", choice);
    else
        finding(f, VERDICT_NOTE, "huge pages", values, "transparent ones are %s: long prompts take a little longer",
                *choice ? "off" : "not there");
}

/* What the machine or the control group has, and what is free of it; a warning if that is less than a tenth. */
void examine_memory(struct findings *f)
{
    size_t physical = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), most = machine_memory(),
           available = machine_free();
    json_t *values = json_pack("{s:I, s:I, s:I}", "physical_bytes", (json_int_t)physical, "limit_bytes",
                               (json_int_t)most, "free_bytes", (json_int_t)available);
    enum verdict v = available < most / 10 ? VERDICT_WARN : VERDICT_OK;
    const char *tight = v == VERDICT_WARN ? ": little is left for a model" : "";
    if (most < physical)
        finding(f, v, "memory", values, "%.1f GiB free of the %.1f GiB that the control group allows (the machine has "
                "%.1f)%s", (double)available / GIB, (double)most / GIB, (double)physical / GIB, tight);
    else
        finding(f, v, "memory", values, "%.1f GiB free of %.1f GiB, no limit of a control group%s",
                (double)available / GIB, (double)physical / GIB, tight);
    examine_huge_pages(f);
}

/* ---- limits ---- */

static json_t *limit_value(rlim_t n) { return n == RLIM_INFINITY ? json_null() : json_integer((json_int_t)n); }

/* `serve` raises the soft limit to the hard one; below some thousand files it lowers --max-connections. */
static void examine_files(struct findings *f)
{
    enum { WANTED = 4600 };            /* --max-connections, --max-queue and --max-num-seqs at their defaults */
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    json_t *values = json_pack("{s:o, s:o}", "soft", limit_value(r.rlim_cur), "hard", limit_value(r.rlim_max));
    if (r.rlim_max == RLIM_INFINITY)
        finding(f, VERDICT_OK, "open files", values, "any number may be open");
    else if (r.rlim_max >= WANTED)
        finding(f, VERDICT_OK, "open files", values, "%llu may be open, which is enough for 4096 connections",
                (unsigned long long)r.rlim_max);
    else
        finding(f, VERDICT_WARN, "open files", values, "only %llu may be open (ulimit -Hn): fewer connections than "
                "--max-connections says will be taken", (unsigned long long)r.rlim_max);
}

/* Told for those who wonder: nothing is locked, so no limit is too low. */
static void examine_locked(struct findings *f)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_MEMLOCK, &r) != 0)
        return;
    json_t *values = json_pack("{s:o}", "soft", limit_value(r.rlim_cur));
    if (r.rlim_cur == RLIM_INFINITY)
        finding(f, VERDICT_OK, "locked memory", values, "without a limit; the server locks none");
    else
        finding(f, VERDICT_OK, "locked memory", values, "%.1f MiB may be locked; the server locks none",
                (double)r.rlim_cur / (1 << 20));
}

/* A size, processor time or address space that the shell limits ends a server in the midst of its work. */
static void examine_other(struct findings *f)
{
    static const struct { int resource; const char *name, *what; } all[] = {
        { RLIMIT_AS, "address space", "(ulimit -v) large models are mapped and need more than their size" },
        { RLIMIT_CPU, "processor time", "(ulimit -t) the server is ended when it is over" },
        { RLIMIT_FSIZE, "file size", "(ulimit -f) a log or a fetched model may not grow beyond it" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct rlimit r;
        if (getrlimit((__rlimit_resource_t)all[i].resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
            continue;
        finding(f, VERDICT_WARN, all[i].name, json_pack("{s:o}", "soft", limit_value(r.rlim_cur)),
                "limited to %llu: %s", (unsigned long long)r.rlim_cur, all[i].what);
    }
}

void examine_limits(struct findings *f)
{
    examine_files(f);
    examine_locked(f);
    examine_other(f);
}
