/* tests/cusim/report.c - what the emulator found: each kind and place once, on
 * standard error, with the source line. Any report also makes the stream's
 * next synchronize fail, so a test that checks sync() sees it. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/cusim/internal.h"

enum { MAX_REPORTS = 256 };

static struct { const char *kind; void *pc; } seen[MAX_REPORTS];
static int n_seen, total;
static bool quiet_now;

/* "file:line" of a call's return address, or "". */
static void where(void *pc, char *out, size_t n)
{
    Dl_info info;
    char command[1200];
    *out = 0;
    if (!pc || !dladdr(pc, &info) || !info.dli_fname)
        return;
    uintptr_t base = (uintptr_t)info.dli_fbase, at = (uintptr_t)pc - 1;
    Dl_info self;
    bool fixed = dladdr((void *)cusim_error, &self) && base == 0x400000;
    snprintf(command, sizeof command, "addr2line -e '%s' -i -s %#lx 2>/dev/null | grep -v -e cusim.h -e tc.cuh | "
                                      "head -1", info.dli_fname, (unsigned long)(fixed ? at : at - base));
    FILE *f = popen(command, "r");
    if (!f)
        return;
    if (!fgets(out, (int)n, f))
        *out = 0;
    pclose(f);
    out[strcspn(out, "\n")] = 0;
}

void cusim_error(const char *kind, void *pc, const char *fmt, ...)
{
    char text[600], place[200];
    va_list ap;
    total++;
    for (int i = 0; i < n_seen; i++)
        if (seen[i].pc == pc && !strcmp(seen[i].kind, kind))
            return;
    if (n_seen < MAX_REPORTS) {
        seen[n_seen].kind = kind;
        seen[n_seen++].pc = pc;
    }
    if (quiet_now)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    where(pc, place, sizeof place);
    fprintf(stderr, "cusim: %s: %s: %s", kind, E.launch ? E.launch->name : "runtime", text);
    if (E.now)
        fprintf(stderr, " [block %u,%u,%u thread %u,%u,%u]", E.block_id[0], E.block_id[1], E.block_id[2], E.now->tid[0],
                E.now->tid[1], E.now->tid[2]);
    fprintf(stderr, "%s%s\n", *place ? " at " : "", place);
}

int cusim_reports(void) { return total; }

bool cusim_saw(const char *kind)
{
    for (int i = 0; i < n_seen; i++)
        if (!strcmp(seen[i].kind, kind))
            return true;
    return false;
}

void cusim_clear(void) { n_seen = total = 0; }

void cusim_quiet(bool quiet) { quiet_now = quiet; }
bool cusim_is_quiet(void) { return quiet_now; }
