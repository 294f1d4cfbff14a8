/* library/open.c - models are opened and closed. The process is somebody else's: threads are started with all signals
 * blocked, memory that runs out at the start comes back as an error (base/mem.h), and the log is quiet unless something
 * is wrong. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_watch.h"
#include "base/log.h"
#include "base/mem.h"
#include "fetch/find.h"
#include "library/library.h"

const char *openautoglm_version(void) { return VERSION; }

void openautoglm_free(void *p) { free(p); }

void library_tell(const struct err *from, struct openautoglm_error *to)
{
    if (!to)
        return;
    *to = (struct openautoglm_error){ .status = from->status ? from->status : 400 };
    memcpy(to->code, from->code, sizeof to->code);
    memcpy(to->field, from->field, sizeof to->field);
    memcpy(to->message, from->text, sizeof to->message);
}

/* Jansson's allocations are watched unless the program around us has given it an allocator of its own. */
static void prepare(void)
{
    json_malloc_t get;
    json_free_t   put;
    json_get_alloc_funcs(&get, &put);
    if (get == malloc && put == free)
        json_watch();
}

/* "warn" unless the options or the environment say something else. */
static void set_log_level(const struct config *c)
{
    static const char *const level[] = { "debug", "info", "warn", "error" };
    const char *name = options_given(c, "log_level") ? c->log_level : "warn";
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level[i]) == 0)
            log_set_level((enum log_level)i);
}

/* The signal of a file that is as large as a file may be came to this thread while it was blocked: writing has failed,
 * which was told, and the signal is forgotten. */
static void forget_file_size(const sigset_t *before)
{
    sigset_t file_size;
    sigemptyset(&file_size);
    sigaddset(&file_size, SIGXFSZ);
    if (!sigismember(before, SIGXFSZ))
        while (sigtimedwait(&file_size, NULL, &(struct timespec){ 0, 0 }) > 0 || errno == EINTR)
            ;
}

/* The settings, the folder of the model, the engine, in this order. */
static int open_engine(struct openautoglm *m, const char *model, const char *options, bool has_weights, struct err *e)
{
    struct find f = { .named = model, .fetch = true };
    if (options_from_json(&m->config, OPT_ENGINE | OPT_LIBRARY, options ? options : "{}", e) != 0)
        return -1;
    set_log_level(&m->config);
    if (find_model(&f, e) != 0)
        return -1;
    free(m->config.engine.model);
    m->config.engine.model = xstrdup(f.folder);
    if (reserve_spent())
        return err_memory(e);
    struct engine_options opt = { .config = m->config.engine };
    m->engine = has_weights ? engine_open(&opt, e) : engine_open_text(&opt, e);
    return m->engine ? 0 : -1;
}

static void destroy(struct openautoglm *m)
{
    engine_close(m->engine);
    options_free(&m->config);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Opens a model while memory for its failures is held back: whatever runs out on the way comes back as an error, also
 * in code that would end a program of our own. NULL: nothing is left. */
static struct openautoglm *open_guarded(const char *model, const char *options, bool has_weights, struct err *e)
{
    struct openautoglm *m = calloc(1, sizeof *m);
    if (!m || reserve_hold() != 0) {
        free(m);
        err_memory(e);
        return NULL;
    }
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->lock, NULL);
    int rc = open_engine(m, model, options, has_weights, e);
    if (reserve_spent() || (rc != 0 && json_starved()))
        rc = err_memory(e);            /* whatever else it looked like */
    reserve_drop();
    if (rc == 0)
        return m;
    destroy(m);
    return NULL;
}

/* All signals are blocked while threads may be started, which inherit that; a caller's own are as before afterwards. */
static struct openautoglm *open_model(const char *model, const char *options, bool has_weights,
                                      struct openautoglm_error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct err why = { 0 };
    sigset_t all, before;
    pthread_once(&once, prepare);
    json_begin();
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    struct openautoglm *m = open_guarded(model ? model : "", options, has_weights, &why);
    forget_file_size(&before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!m)
        library_tell(&why, e);
    return m;
}

struct openautoglm *openautoglm_open(const char *model, const char *options, struct openautoglm_error *e)
{
    return open_model(model, options, true, e);
}

struct openautoglm *openautoglm_open_tokenizer(const char *model, const char *options, struct openautoglm_error *e)
{
    return open_model(model, options, false, e);
}

int library_use(struct openautoglm *m, struct err *e)
{
    pthread_mutex_lock(&m->lock);
    bool closed = m->closed;
    if (!closed)
        atomic_fetch_add(&m->refs, 1);
    pthread_mutex_unlock(&m->lock);
    if (!closed)
        return 0;
    err_set(e, "the model was closed");
    e->status = 503;
    snprintf(e->code, sizeof e->code, "closed");
    return -1;
}

void library_drop(struct openautoglm *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1)
        destroy(m);
}

void openautoglm_close(struct openautoglm *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->closed = true;
    for (struct openautoglm_answer *a = m->answers; a; a = a->next)
        request_cancel(a->request);
    pthread_mutex_unlock(&m->lock);
    library_drop(m);
}

void openautoglm_about(struct openautoglm *m, struct openautoglm_info *out)
{
    struct engine_info i;
    engine_info(m->engine, &i);
    *out = (struct openautoglm_info){ .folder = i.model_dir, .type = i.model_type, .device = i.device,
                                      .context = i.max_model_len, .max_requests = i.max_num_seqs,
                                      .vocabulary = i.vocab, .image_token = i.image_token, .width = i.hidden };
}
