/* cli/model.c - which model a command uses: one that was named, as an option or as an argument, or the shipped one. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/progress.h"
#include "cli/command.h"
#include "fetch/find.h"

/* Whoever gives a name on a hub finds the model under that name in the API, too. */
static void keep_name(struct config *c, const char *name)
{
    if (*name && c->served_model_name.n == 0)
        c->served_model_name.item[c->served_model_name.n++] = xstrdup(name);
}

/* A file as large as may be is an error like a full disk, while a model is fetched. */
int command_find_model(struct config *c, bool fetch, struct err *e)
{
    static struct progress bar = { .what = "fetching" };
    struct find f = { .named = c->engine.model, .fetch = fetch, .progress = progress_bytes, .progress_arg = &bar };
    signal(SIGXFSZ, SIG_IGN);
    if (find_model(&f, e) != 0)
        return -1;
    keep_name(c, f.name);
    free(c->engine.model);
    c->engine.model = xstrdup(f.folder);
    return 0;
}

/* The model may be named without --model, as `serve ORG/NAME`. Naming two different ones is an error. */
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
