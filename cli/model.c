/* cli/model.c - which folder a model lies in: the one that was named, a hub's by its name, or the shipped one. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cli/command.h"
#include "fetch/pull.h"

#define SHIPPED "open-autoglm-v1"

/* Looks for the native model in the current folder, beside the folder of the program (as `make` builds it, and as a
 * sanitizer build lies one deeper) and where a package installs it. */
static int find_shipped(struct config *c, struct err *e)
{
    static const char name[] = "models/" SHIPPED;
    char    program[512], beside[600], above[600], shared[600];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    snprintf(beside, sizeof beside, "%s/../%s", program, name);
    snprintf(above, sizeof above, "%s/../../%s", program, name);   /* build/asan/openautoglm */
    snprintf(shared, sizeof shared, "%s/../share/openautoglm/%s", program, name);
    const char *const places[] = { name, beside, above, shared, "/usr/share/openautoglm/models/" SHIPPED };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], R_OK) == 0) {
            free(c->engine.model);
            c->engine.model = xstrdup(places[i]);
            return 0;
        }
    return err_field(e, "model", "there is no %s here; say where a model is with --model DIR", name);
}

/* Is it meant as a name on a hub? Whatever exists here is a path, and so is what lies in a folder that exists: that was
 * mistyped. */
static bool is_hub_name(const char *text, struct hub_name *name)
{
    struct stat st;
    char   org[128];
    snprintf(org, sizeof org, "%.*s", (int)strcspn(text, "/"), text);
    return lstat(text, &st) != 0 && stat(org, &st) != 0 && hub_name_parse(name, text, NULL) == 0;
}

/* A model's files as they are in the cache, or NULL. Whoever has them all need not ask the hub, so that a server starts
 * in the same way every time, with a network and without; `pull` looks for a newer commit. */
static enum cache_state look(const struct hub *h, const struct hub_name *name, char folder[CACHE_PATH])
{
    char commit[HUB_COMMIT];
    if (!cache_commit(h, name, commit) || cache_snapshot(h, name->model, commit, folder, NULL) != 0)
        return CACHE_NOTHING;
    return cache_look(h, name->model, commit);
}

/* A snapshot that may lack files which a model may have or not (somebody else has put it there) is completed, or taken
 * as it is if the hub cannot be reached. */
static int find_named(const struct hub_name *name, bool fetch, char folder[CACHE_PATH], struct err *e)
{
    static struct progress bar = { .what = "fetching" };
    struct hub h;
    if (hub_open(&h, e) != 0)
        return -1;
    struct pull p = { .hub = &h, .name = name, .progress = progress_bytes, .progress_arg = &bar };
    enum cache_state state = look(&h, name, folder);
    if (state == CACHE_WHOLE || (state == CACHE_LOADABLE && (h.offline || !fetch)))
        return 0;
    if (!fetch)
        return err_field(e, "model", "%s is not in %s: run `openautoglm pull %s` first", name->model, h.cache,
                         name->model);
    log_info("%s@%s is not here: asking %s", name->model, name->revision, h.endpoint);
    if (pull_model(&p, e) == 0) {
        snprintf(folder, CACHE_PATH, "%s", p.folder);
        return 0;
    }
    progress_hide();
    if (state != CACHE_LOADABLE || !p.unreachable)
        return -1;
    log_warn("%s", e->text);
    log_warn("using %s as it is: files that this model may have could be missing", folder);
    return 0;
}

/* Whoever gives a name on a hub finds the model under that name in the API, too. */
static void keep_name(struct config *c, const struct hub_name *name)
{
    if (c->served_model_name.n == 0)
        c->served_model_name.item[c->served_model_name.n++] = xstrdup(name->model);
}

int command_find_model(struct config *c, bool fetch, struct err *e)
{
    struct hub_name name;
    struct stat     st;
    char folder[CACHE_PATH];
    if (!*c->engine.model || (strcmp(c->engine.model, SHIPPED) == 0 && stat(SHIPPED, &st) != 0))
        return find_shipped(c, e);
    if (!is_hub_name(c->engine.model, &name))
        return 0;
    signal(SIGXFSZ, SIG_IGN);
    if (find_named(&name, fetch, folder, e) != 0)
        return -1;
    keep_name(c, &name);
    free(c->engine.model);
    c->engine.model = xstrdup(folder);
    return 0;
}

int command_model_argument(struct config *c, struct err *e)
{
    if (c->rest.n == 0)
        return 0;
    if (c->rest.n > 1)
        return err_set(e, "takes one model, and no argument '%s' beside it", c->rest.item[1]);
    if (options_given(c, "model") && strcmp(c->engine.model, c->rest.item[0]) != 0)
        return err_field(e, "model", "takes one model: '%s' or '%s'?", c->engine.model, c->rest.item[0]);
    free(c->engine.model);
    c->engine.model = xstrdup(c->rest.item[0]);
    return 0;
}
