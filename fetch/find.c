/* fetch/find.c - see find.h. */
#include "fetch/find.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/place.h"
#include "base/progress.h"
#include "fetch/pull.h"

#define SHIPPED "open-autoglm-v1"

/* Looks in the current folder, beside the folder of the program (as `make` builds it, and as a sanitizer build lies one
 * deeper), within it (a Python package) and where packages install it. */
static int find_shipped(struct find *f, struct err *e)
{
    static const char name[] = "models/" SHIPPED;
    static const char *const from_here[] = { "/../", "/../../", "/../share/openautoglm/", "/" };
    char folder[CACHE_PATH / 2];
    snprintf(f->folder, sizeof f->folder, "%s", name);
    if (access(f->folder, R_OK) == 0)
        return 0;
    place_folder(folder, sizeof folder);
    for (size_t i = 0; *folder && i < sizeof from_here / sizeof *from_here; i++) {
        snprintf(f->folder, sizeof f->folder, "%s%s%s", folder, from_here[i], name);
        if (access(f->folder, R_OK) == 0)
            return 0;
    }
    snprintf(f->folder, sizeof f->folder, "/usr/share/openautoglm/%s", name);
    if (access(f->folder, R_OK) == 0)
        return 0;
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
static int find_named(struct find *f, const struct hub_name *name, struct err *e)
{
    struct hub h;
    if (hub_open(&h, e) != 0)
        return -1;
    struct pull p = { .hub = &h, .name = name, .progress = f->progress, .progress_arg = f->progress_arg };
    enum cache_state state = look(&h, name, f->folder);
    if (state == CACHE_WHOLE || (state == CACHE_LOADABLE && (h.offline || !f->fetch)))
        return 0;
    if (!f->fetch)
        return err_field(e, "model", "%s is not in %s: run `openautoglm pull %s` first", name->model, h.cache,
                         name->model);
    log_info("%s@%s is not here: asking %s", name->model, name->revision, h.endpoint);
    if (pull_model(&p, e) == 0) {
        snprintf(f->folder, sizeof f->folder, "%s", p.folder);
        return 0;
    }
    progress_hide();
    if (state != CACHE_LOADABLE || !p.unreachable)
        return -1;
    log_warn("%s", e->text);
    log_warn("using %s as it is: files that this model may have could be missing", f->folder);
    return 0;
}

/* The folder of the model that was named: one that exists as it is, a hub's by its name, or the shipped one. f->name is
 * set where the model has a name on a hub. -1: the error says where it was looked for. */
int find_model(struct find *f, struct err *e)
{
    struct hub_name name;
    struct stat     st;
    *f->name = '\0';
    if (!*f->named || (strcmp(f->named, SHIPPED) == 0 && stat(SHIPPED, &st) != 0))
        return find_shipped(f, e);
    if (is_hub_name(f->named, &name)) {
        snprintf(f->name, sizeof f->name, "%s", name.model);
        return find_named(f, &name, e);
    }
    if (strlen(f->named) >= sizeof f->folder)
        return err_field(e, "model", "the model's path is longer than %zu bytes", sizeof f->folder - 1);
    snprintf(f->folder, sizeof f->folder, "%s", f->named);
    return 0;
}
