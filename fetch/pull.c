/* fetch/pull.c - the order in which a model is fetched: the list of its files, the small ones with the index of the
 * weights, the shards that the index names. See pull.h. */
#include "fetch/pull.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fetch/blob.h"
#include "fetch/listing.h"
#include "fetch/wanted.h"

enum { MAX_FILES = 256 };      /* beside shards */

/* The error for a model without weights that can be read, with what it has instead, so that the user sees what kind of
 * model it is. Always -1. */
static int no_weights(const struct listing *l, const struct hub_name *name, struct err *e)
{
    static const char *const other[][2] = {
        { ".gguf", "GGUF files" }, { "adapter_config.json", "a LoRA adapter" }, { ".bin", "PyTorch pickles" },
        { ".pth", "PyTorch pickles" }, { ".onnx", "ONNX files" }, { ".safetensors", "safetensors under other names" },
    };
    const char *file;
    json_t     *v;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        json_object_foreach(l->files, file, v) {
            size_t n = strlen(file), m = strlen(other[i][0]);
            if (n >= m && strcmp(file + n - m, other[i][0]) == 0)
                return err_field(e, "model", "%s has %s (%.80s), but no %s and no %s, which are needed here",
                                 name->model, other[i][1], file, wanted_weights, wanted_index);
        }
    return err_field(e, "model", "%s has no %s and no %s: it is not a model that can be served", name->model,
                     wanted_weights, wanted_index);
}

/* The files of the first round: what is needed and exists. Returns how many. -1: the model lacks what every one must
 * have. */
static int choose(const struct listing *l, const struct hub_name *name, const char *out[MAX_FILES], struct err *e)
{
    int n = 0;
    const char *weights = listing_has(l, wanted_weights) ? wanted_weights : wanted_index, *file;
    json_t *v;
    if (!listing_has(l, weights))
        return no_weights(l, name, e);
    for (int i = 0; wanted_files[i]; i++)
        if (listing_has(l, wanted_files[i]))
            out[n++] = wanted_files[i];
        else if (i < WANTED_REQUIRED)
            return err_field(e, "model", "%s has no %s: it is not a model that can be served", name->model,
                             wanted_files[i]);
    json_object_foreach(l->files, file, v)
        if (wanted_template(file) && n < MAX_FILES - 1)
            out[n++] = file;
    out[n++] = weights;
    return n;
}

/* Fetches some files of the commit. Those that are linked already are not asked for again, since a commit never
 * changes. */
static int fetch_files(struct fetching *s, const char *folder, const char *const *file, int n, struct err *e)
{
    char path[CACHE_PATH + HUB_FILE];
    struct blob *b = calloc((size_t)n + 1, sizeof *b);
    int missing = 0, rc = b ? 0 : err_memory(e);
    for (int i = 0; i < n && rc == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, file[i]);
        if (access(path, R_OK) != 0)
            rc = blob_init(&b[missing++], s, file[i]);
    }
    if (rc == 0 && missing > 0)
        rc = blobs_look(b, missing, e);
    if (rc == 0 && missing > 0)
        rc = blobs_fetch(b, missing, e);
    for (int i = 0; i < missing; i++)
        blob_free(&b[i]);
    free(b);
    return rc;
}

/* The shards that the index names, every one of which the hub must have listed. */
static int fetch_shards(struct pull *p, struct fetching *s, const struct listing *l, struct err *e)
{
    char path[CACHE_PATH + 64], **shard;
    int  n, rc = 0;
    snprintf(path, sizeof path, "%s/%s", p->folder, wanted_index);
    if (wanted_shards(path, &shard, &n, e) != 0)
        return -1;
    for (int i = 0; i < n && rc == 0; i++)
        if (!listing_has(l, shard[i]))
            rc = err_field(e, "model", "%s: its %s names %.100s, which it does not have", p->name->model, wanted_index,
                           shard[i]);
    if (rc == 0)
        rc = fetch_files(s, p->folder, (const char *const *)shard, n, e);
    wanted_free(shard, n);
    return rc;
}

/* Notes what the commit does not have, so that the next start need not ask, and last what the revision stands for. */
static int settle(const struct pull *p, const struct listing *l, struct err *e)
{
    for (int i = 0; wanted_files[i]; i++)
        if (!listing_has(l, wanted_files[i]) &&
            cache_write_absent(p->hub, p->name->model, l->commit, wanted_files[i], e) != 0)
            return -1;
    return cache_write_ref(p->hub, p->name, l->commit, e);
}

/* Fetches the wanted files of a listing; if the index of the weights is among them, which is then the last one, also
 * the shards that it names. The refs of the revision are written at the very end, by settle(), so that an interrupted
 * run does not look complete. */
static int fetch_listed(struct pull *p, const struct listing *l, struct err *e)
{
    const char *file[MAX_FILES];
    struct fetching s = { .hub = p->hub, .name = p->name, .commit = l->commit, .progress = p->progress,
                          .progress_arg = p->progress_arg };
    int n = choose(l, p->name, file, e);
    if (n < 0 || cache_snapshot(p->hub, p->name->model, l->commit, p->folder, e) != 0 ||
        cache_folders(p->folder, e) != 0)
        return -1;
    int rc = fetch_files(&s, p->folder, file, n, e);
    if (rc == 0 && strcmp(file[n - 1], wanted_index) == 0)
        rc = fetch_shards(p, &s, l, e);
    if (s.progress)
        s.progress(s.progress_arg, 1, 1);              /* takes the bar away */
    p->fetched = s.fetched;
    return rc == 0 ? settle(p, l, e) : -1;
}

/* Fetches a model as its hub has it now. p->unreachable after -1: the hub could not be asked, and the caller may use
 * what an earlier run has left. */
int pull_model(struct pull *p, struct err *e)
{
    struct listing l;
    p->fetched = 0;
    p->unreachable = false;
    if (p->hub->offline) {
        p->unreachable = true;
        return err_set(e, "%s is not here, and HF_HUB_OFFLINE says that the hub is not to be asked", p->name->model);
    }
    if (listing_get(&l, p->hub, p->name, &p->unreachable, e) != 0)
        return -1;
    snprintf(p->commit, sizeof p->commit, "%s", l.commit);
    int rc = fetch_listed(p, &l, e);
    listing_free(&l);
    return rc;
}
