/* fetch/cache.c - paths, links and states of the cache. Listing and removing are in cache_list.c. See cache.h. */
#include "fetch/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "fetch/wanted.h"

static int put(char out[CACHE_PATH], struct err *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A path that does not fit is an error and never cut: a shorter one could name something else. */
static int put(char out[CACHE_PATH], struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, CACHE_PATH, fmt, ap);
    va_end(ap);
    return n < CACHE_PATH ? 0 : err_set(e, "%.200s...: the path is too long", out);
}

int cache_repo(const struct hub *h, const char *model, char out[CACHE_PATH], struct err *e)
{
    int org = (int)strcspn(model, "/");
    return put(out, e, "%s/models--%.*s--%s", h->cache, org, model, model + org + 1);
}

/* "REPO/a/b": a path below a model's folder. */
static int below(const struct hub *h, const char *model, const char *a, const char *b, char out[CACHE_PATH],
                 struct err *e)
{
    char repo[CACHE_PATH];
    return cache_repo(h, model, repo, e) == 0 ? put(out, e, "%s/%s/%s", repo, a, b) : -1;
}

int cache_blob(const struct hub *h, const char *model, const char *etag, char out[CACHE_PATH], struct err *e)
{
    return below(h, model, "blobs", etag, out, e);
}

int cache_snapshot(const struct hub *h, const char *model, const char *commit, char out[CACHE_PATH], struct err *e)
{
    return below(h, model, "snapshots", commit, out, e);
}

/* The commit that a revision means in the cache: itself if it is one, else what refs/ says, which was written when the
 * revision was fetched last. True if a folder of that commit is here. Nothing of the network is asked. */
bool cache_commit(const struct hub *h, const struct hub_name *name, char commit[HUB_COMMIT])
{
    char        path[CACHE_PATH];
    struct buf  text;
    struct stat st;
    buf_init(&text, HUB_COMMIT - 1);
    *commit = '\0';
    if (hub_is_commit(name->revision)) {
        snprintf(commit, HUB_COMMIT, "%.64s", name->revision);
    } else if (below(h, name->model, "refs", name->revision, path, NULL) == 0 && file_read(path, &text, NULL) == 0 &&
               text.data) {
        snprintf(commit, HUB_COMMIT, "%.64s", text.data);
        commit[strcspn(commit, " \t\r\n")] = '\0';
    }
    buf_free(&text);
    return hub_is_commit(commit) && cache_snapshot(h, name->model, commit, path, NULL) == 0 && stat(path, &st) == 0;
}

static bool has(const char *folder, const char *file)
{
    char path[CACHE_PATH];
    return put(path, NULL, "%s/%s", folder, file) == 0 && access(path, R_OK) == 0;
}

/* Are the weights there, in one file or with all the shards that the index names? */
static bool has_weights(const char *folder)
{
    char   path[CACHE_PATH], **shards;
    int    n;
    bool   all = true;
    if (has(folder, wanted_weights))
        return true;
    if (!has(folder, wanted_index) || put(path, NULL, "%s/%s", folder, wanted_index) != 0 ||
        wanted_shards(path, &shards, &n, NULL) != 0)
        return false;
    for (int i = 0; i < n; i++)
        all = all && has(folder, shards[i]);
    wanted_free(shards, n);
    return all;
}

/* How much of a model is here. It is loadable with its weights and all required files, and whole if every other wanted
 * file is there or known to be missing on the hub (.no_exist), so that it need not be asked for again. */
enum cache_state cache_look(const struct hub *h, const char *model, const char *commit)
{
    char folder[CACHE_PATH], absent[CACHE_PATH];
    bool whole = true;
    if (cache_snapshot(h, model, commit, folder, NULL) != 0 ||
        below(h, model, ".no_exist", commit, absent, NULL) != 0 || !has_weights(folder))
        return CACHE_NOTHING;
    for (int i = 0; wanted_files[i]; i++) {
        bool there = has(folder, wanted_files[i]);
        if (!there && i < WANTED_REQUIRED)
            return CACHE_NOTHING;
        whole = whole && (there || has(absent, wanted_files[i]));
    }
    return whole ? CACHE_WHOLE : CACHE_LOADABLE;
}

/* Makes all folders on the way to `path`, but not its last part. */
int cache_folders(const char *path, struct err *e)
{
    char part[CACHE_PATH];
    for (const char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        if (put(part, e, "%.*s", (int)(p - path), path) != 0)
            return -1;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return err_set(e, "%s: %s", part, strerror(errno));
    }
    return 0;
}

/* A file in a folder within the snapshot lies deeper, and its link must climb higher. The link is made beside its
 * place and moved there, so that at no time there is none. */
int cache_link(const struct hub *h, const char *model, const char *commit, const char *file, const char *etag,
               struct err *e)
{
    char folder[CACHE_PATH], path[CACHE_PATH], fresh[CACHE_PATH], up[CACHE_PATH] = "";
    for (const char *p = file; (p = strchr(p, '/')) != NULL; p++)
        strcat(up, "../");                              /* file is shorter than HUB_FILE */
    strcat(up, "../../blobs/");
    strcat(up, etag);
    if (cache_snapshot(h, model, commit, folder, e) != 0 || put(path, e, "%s/%s", folder, file) != 0 ||
        put(fresh, e, "%s.%d.new", path, (int)getpid()) != 0 || cache_folders(path, e) != 0)
        return -1;
    unlink(fresh);
    if (symlink(up, fresh) != 0 || rename(fresh, path) != 0) {
        int why = errno;
        unlink(fresh);
        return err_set(e, "%s: %s", path, strerror(why));
    }
    return 0;
}

/* Writes a small file beside its place and moves it there, so that nobody ever reads half of it. Makes the folders on
 * the way. */
static int write_small(const char *path, const char *text, struct err *e)
{
    char fresh[CACHE_PATH];
    if (put(fresh, e, "%s.%d.new", path, (int)getpid()) != 0 || cache_folders(path, e) != 0)
        return -1;
    FILE *f = fopen(fresh, "w");
    bool  ok = f && fputs(text, f) >= 0;
    if (f && fclose(f) != 0)
        ok = false;
    if (ok && rename(fresh, path) == 0)
        return 0;
    int why = errno;
    unlink(fresh);
    return err_set(e, "%s: %s", path, strerror(why));
}

/* A commit stands for itself and needs no file. */
int cache_write_ref(const struct hub *h, const struct hub_name *name, const char *commit, struct err *e)
{
    char path[CACHE_PATH];
    if (strcmp(name->revision, commit) == 0)
        return 0;
    return below(h, name->model, "refs", name->revision, path, e) == 0 ? write_small(path, commit, e) : -1;
}

/* Notes that the hub does not have a file at this commit, as Hugging Face's library does. */
int cache_write_absent(const struct hub *h, const char *model, const char *commit, const char *file, struct err *e)
{
    char folder[CACHE_PATH], path[CACHE_PATH];
    return below(h, model, ".no_exist", commit, folder, e) == 0 && put(path, e, "%s/%s", folder, file) == 0
               ? write_small(path, "", e)
               : -1;
}
