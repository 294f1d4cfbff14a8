/* cli/command.c - what the commands share: options, the model that is used when none is named, and messages. See
 * command.h. */
#include "cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/progress.h"

/* Through the log's writer, so that it stays in order with lines of the log. */
int command_fail(int status, const struct err *e)
{
    char line[sizeof e->text + 32];
    int  n = snprintf(line, sizeof line, "openautoglm: %s\n", e->text);
    log_bytes(line, (size_t)n);
    return status;
}

/* The option's row has checked that the name is one of these. */
static void set_log_level(const char *name)
{
    static const char *const level[] = { "debug", "info", "warn", "error" };
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level[i]) == 0)
            log_set_level((enum log_level)i);
}

/* Ends the command in three cases: help was asked for, an option is wrong, or there are arguments that the command
 * does not take. The arguments of `chat` and `bench` are their own; the other commands take a model. `usage` is the
 * first line of the help. */
int command_options(struct config *c, unsigned groups, const char *usage, int argc, char **argv)
{
    struct err e;
    int rc = options_parse(c, groups, argc, argv, &e);
    if (rc == 0 && c->help) {
        printf("usage: openautoglm %s\n\n", usage);
        options_help(stdout, groups);
        options_free(c);
        return 0;
    }
    if (rc == 0 && !(groups & (OPT_CHAT | OPT_BENCH)) && command_model_argument(c, &e) != 0)
        rc = err_prefix(&e, "%s", argv[0]);
    if (rc != 0) {
        options_free(c);
        return command_fail(EXIT_USAGE, &e);
    }
    set_log_level(c->log_level);
    return -1;
}

/* The struct for the progress bar is static because loading may outlive the caller's frame. */
struct engine_options command_engine_options(const struct config *c)
{
    static struct progress loading = { .what = "loading" };
    return (struct engine_options){ .config = c->engine, .progress = progress_bytes, .progress_arg = &loading };
}

/* An option for GPUs on a machine without one is no error, since configurations are shared between machines, but it
 * should not be silent either. */
void command_tell_ignored(const struct config *c, const struct engine_plan *p)
{
    char names[256];
    options_changed(c, OPT_GPU, names, sizeof names);
    if (*names && !p->discrete)
        log_warn("%s: only a GPU heeds this; %s computes", names, p->device);
}
