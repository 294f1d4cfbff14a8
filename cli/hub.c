/* cli/hub.c - models of a hub, by name: fetched, listed, removed. See hub.h. */
#include "cli/hub.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/progress.h"
#include "cli/command.h"
#include "fetch/pull.h"

/* The one argument of a command. NULL: help was asked for, or the arguments are wrong; *status is then the exit
 * status. */
static const char *one_argument(int argc, char **argv, const char *usage, int *status)
{
    bool help = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    *status = help ? 0 : EXIT_USAGE;
    if (argc == 2 && *argv[1] != '-')
        return argv[1];
    fputs(usage, help ? stdout : stderr);
    return NULL;
}

/* The hub, and the model on it that the one argument names. Otherwise -1, and *status is the exit status. */
static int open_named(int argc, char **argv, const char *usage, struct hub *h, struct hub_name *name, int *status)
{
    struct err  e;
    const char *text = one_argument(argc, argv, usage, status);
    if (!text)
        return -1;
    if (hub_open(h, &e) == 0 && hub_name_parse(name, text, &e) == 0)
        return 0;
    *status = command_fail(EXIT_USAGE, &e);
    return -1;
}

/* The folder is the last thing said, alone on standard output, so that a script can use it. */
int command_pull(int argc, char **argv)
{
    static const char usage[] =
        "usage: openautoglm pull ORG/NAME[@REVISION]\n\n"
        "Fetches a model from a hub and prints the folder that it lies in. Files that are here already\n"
        "are not fetched again, and after a break the next call goes on where the last one ended.\n\n"
        "  HF_ENDPOINT      address of the hub (https://huggingface.co)\n"
        "  HF_TOKEN         token for models that not everybody may have\n"
        "  HF_HOME          where models are kept, in hub/ (~/.cache/huggingface)\n"
        "  HF_HUB_OFFLINE   1: ask nobody\n";
    struct progress bar = { .what = "fetching" };
    struct hub      h;
    struct hub_name name;
    struct err      e;
    int status;
    if (open_named(argc, argv, usage, &h, &name, &status) != 0)
        return status;
    signal(SIGXFSZ, SIG_IGN);          /* a file as large as may be is an error like a full disk */
    struct pull p = { .hub = &h, .name = &name, .progress = progress_bytes, .progress_arg = &bar };
    if (pull_model(&p, &e) != 0) {
        progress_hide();
        return command_fail(1, &e);
    }
    fprintf(stderr, "%s@%.12s: %.1f MB fetched\n", name.model, p.commit, (double)p.fetched / 1e6);
    puts(p.folder);
    return 0;
}

/* Needs no network: what is listed is what lies in the cache. */
int command_list(int argc, char **argv)
{
    struct hub h;
    struct err e;
    if (argc != 1) {
        bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs("usage: openautoglm list\n\nThe models that were fetched from a hub, in HF_HOME.\n",
              help ? stdout : stderr);
        return help ? 0 : EXIT_USAGE;
    }
    if (hub_open(&h, &e) != 0)
        return command_fail(EXIT_USAGE, &e);
    return cache_list(&h, stdout, &e) == 0 ? 0 : command_fail(1, &e);
}

/* Frees what a model takes on the disk. Without @REVISION all revisions go. What is not there is an error and not a
 * success, so that a mistyped name is noticed. */
int command_rm(int argc, char **argv)
{
    static const char usage[] =
        "usage: openautoglm rm ORG/NAME[@REVISION]\n\n"
        "Removes a model that was fetched from a hub; with a revision, that one's files alone.\n";
    struct hub      h;
    struct hub_name name;
    struct err      e;
    int64_t freed;
    int     status;
    if (open_named(argc, argv, usage, &h, &name, &status) != 0)
        return status;
    const char *text = argv[1];
    if (cache_remove(&h, name.model, strchr(text, '@') ? name.revision : NULL, &freed, &e) != 0)
        return command_fail(1, &e);
    printf("%s: %.1f MB freed\n", text, (double)freed / 1e6);
    return 0;
}
