/* fetch/cache_list.c - what is in the cache, as a table, and taking it out again. See cache.h. */
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "fetch/cache.h"

static FTS *open_tree(const char *path)
{
    char *roots[] = { (char *)path, NULL };
    return fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Bytes of the files that a snapshot's links lead to. */
static int64_t snapshot_bytes(const char *folder)
{
    int64_t sum = 0;
    struct stat st;
    FTS *tree = open_tree(folder);
    for (FTSENT *f; tree && (f = fts_read(tree)) != NULL;)
        if ((f->fts_info == FTS_SL || f->fts_info == FTS_F) && stat(f->fts_path, &st) == 0)
            sum += st.st_size;
    if (tree)
        fts_close(tree);
    return sum;
}

/* The names that stand for a commit, such as "main,v1", for the table; "-" if there are none. What does not fit into n
 * bytes is left out. */
static void refs_of(const char *repo, const char *commit, char *out, size_t n)
{
    char   path[CACHE_PATH + 8];
    size_t skip = (size_t)snprintf(path, sizeof path, "%s/refs", repo) + 1, at = 0;
    FTS   *tree = open_tree(path);
    snprintf(out, n, "-");
    for (FTSENT *f; tree && (f = fts_read(tree)) != NULL;) {
        struct buf text;
        buf_init(&text, HUB_COMMIT);
        if (f->fts_info == FTS_F && file_read(f->fts_path, &text, NULL) == 0 && text.data &&
            strncmp(text.data, commit, strlen(commit)) == 0 && at < n)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? "," : "", f->fts_path + skip);
        buf_free(&text);
    }
    if (tree)
        fts_close(tree);
}

/* The rows of one model, a row for each commit of which files are here, with their size and whether they can be served.
 * */
static void list_repo(const struct hub *h, const char *model, const char *repo, FILE *out)
{
    static const char *const words[] = { "incomplete", "ready", "ready" };
    char path[CACHE_PATH], refs[64];
    snprintf(path, sizeof path, "%.*s/snapshots", CACHE_PATH - 16, repo);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d)) != NULL;) {
        char folder[CACHE_PATH + 300];
        if (!hub_is_commit(f->d_name))
            continue;
        snprintf(folder, sizeof folder, "%s/%s", path, f->d_name);
        refs_of(repo, f->d_name, refs, sizeof refs);
        fprintf(out, "%-44s %-16s %.12s %10.1f MB  %s\n", model, refs, f->d_name, (double)snapshot_bytes(folder) / 1e6,
                words[cache_look(h, model, f->d_name)]);
    }
    if (d)
        closedir(d);
}

/* "models--ORG--NAME" as "ORG/NAME". false: a folder of something else. */
static bool model_of(const char *folder, struct hub_name *name)
{
    static const char start[] = "models--";
    char text[256];
    if (strncmp(folder, start, sizeof start - 1) != 0)
        return false;
    const char *org = folder + sizeof start - 1, *cut = strstr(org, "--");
    if (!cut || (size_t)snprintf(text, sizeof text, "%.*s/%s", (int)(cut - org), org, cut + 2) >= sizeof text)
        return false;
    return hub_name_parse(name, text, NULL) == 0;
}

/* Prints a line for every model of the cache, in the order of their names. A cache that does not exist yet is an empty
 * table. Folders whose names are no models are passed over, as other programs keep theirs here, too. */
int cache_list(const struct hub *h, FILE *out, struct err *e)
{
    struct dirent **all;
    int n = scandir(h->cache, &all, NULL, alphasort);
    if (n < 0 && errno != ENOENT)
        return err_set(e, "%s: %s", h->cache, strerror(errno));
    fprintf(out, "%-44s %-16s %-12s %13s  %s\n", "MODEL", "REVISION", "COMMIT", "SIZE", "STATE");
    for (int i = 0; i < n; i++) {
        struct hub_name name;
        char repo[CACHE_PATH];
        if (model_of(all[i]->d_name, &name) && cache_repo(h, name.model, repo, NULL) == 0)
            list_repo(h, name.model, repo, out);
        free(all[i]);
    }
    if (n >= 0)
        free(all);
    return 0;
}

/* ---- removing ---- */

/* Removes a folder with all that is in it; links are removed and not followed. */
static int remove_tree(const char *path, int64_t *freed, struct err *e)
{
    int  rc = 0;
    FTS *tree = is_folder(path) ? open_tree(path) : NULL;
    for (FTSENT *f; tree && rc == 0 && (f = fts_read(tree)) != NULL;) {
        if (f->fts_info == FTS_D)
            continue;
        if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR || f->fts_info == FTS_NS)
            rc = err_set(e, "%s: %s", f->fts_path, strerror(f->fts_errno));
        else if ((f->fts_info == FTS_DP ? rmdir(f->fts_accpath) : unlink(f->fts_accpath)) != 0)
            rc = err_set(e, "%s: %s", f->fts_path, strerror(errno));
        else if (f->fts_info == FTS_F)
            *freed += f->fts_statp->st_size;
    }
    if (tree)
        fts_close(tree);
    return rc;
}

/* Whether any snapshot has a link to this file; one that has none can be removed. Links are compared by the last part
 * of where they lead, which is the ETag. */
static bool is_used(const char *snapshots, const char *etag)
{
    bool used = false;
    FTS *tree = open_tree(snapshots);
    for (FTSENT *f; tree && !used && (f = fts_read(tree)) != NULL;) {
        char to[CACHE_PATH];
        bool    link = f->fts_info == FTS_SL || f->fts_info == FTS_SLNONE;
        ssize_t n = link ? readlink(f->fts_accpath, to, sizeof to - 1) : -1;
        if (n <= 0)
            continue;
        to[n] = '\0';
        const char *last = strrchr(to, '/');
        used = strcmp(last ? last + 1 : to, etag) == 0;
    }
    if (tree)
        fts_close(tree);
    return used;
}

/* Blobs without a link, and parts of files that nobody is fetching any more. */
static int remove_unused(const char *repo, int64_t *freed, struct err *e)
{
    char blobs[CACHE_PATH + 8], snapshots[CACHE_PATH + 16], path[CACHE_PATH + 300];
    struct stat st;
    int rc = 0;
    snprintf(blobs, sizeof blobs, "%s/blobs", repo);
    snprintf(snapshots, sizeof snapshots, "%s/snapshots", repo);
    DIR *d = opendir(blobs);
    for (struct dirent *f; d && rc == 0 && (f = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", blobs, f->d_name);
        if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || is_used(snapshots, f->d_name))
            continue;
        if (unlink(path) != 0)
            rc = err_set(e, "%s: %s", path, strerror(errno));
        else
            *freed += st.st_size;
    }
    if (d)
        closedir(d);
    return rc;
}

/* Removes the names that stand for a commit which goes, so that none leads to nothing. */
static void remove_refs(const char *repo, const char *commit)
{
    char path[CACHE_PATH + 8];
    snprintf(path, sizeof path, "%s/refs", repo);
    FTS *tree = open_tree(path);
    for (FTSENT *f; tree && (f = fts_read(tree)) != NULL;) {
        struct buf text;
        buf_init(&text, HUB_COMMIT);
        if (f->fts_info == FTS_F && file_read(f->fts_path, &text, NULL) == 0 && text.data &&
            strncmp(text.data, commit, strlen(commit)) == 0)
            unlink(f->fts_accpath);
        buf_free(&text);
    }
    if (tree)
        fts_close(tree);
}

/* Removes a model, or one revision of it: the folder of its commit, the refs that lead to it, and then the files that
 * no other commit uses. *freed: bytes that the disk has gained. */
int cache_remove(const struct hub *h, const char *model, const char *revision, int64_t *freed, struct err *e)
{
    char repo[CACHE_PATH], path[CACHE_PATH + 128], commit[HUB_COMMIT];
    struct hub_name name;
    *freed = 0;
    snprintf(name.model, sizeof name.model, "%s", model);
    snprintf(name.revision, sizeof name.revision, "%s", revision ? revision : "main");
    if (cache_repo(h, model, repo, e) != 0)
        return -1;
    if (!is_folder(repo) || (revision && !cache_commit(h, &name, commit)))
        return err_field(e, "model", "%s%s%s is not in %s", model, revision ? "@" : "", revision ? revision : "",
                         h->cache);
    snprintf(path, sizeof path, "%s/.locks/%s", h->cache, strrchr(repo, '/') + 1);
    if (!revision)
        return remove_tree(repo, freed, e) == 0 ? remove_tree(path, freed, e) : -1;
    snprintf(path, sizeof path, "%s/snapshots/%s", repo, commit);
    if (remove_tree(path, freed, e) != 0)
        return -1;
    snprintf(path, sizeof path, "%s/.no_exist/%s", repo, commit);
    remove_refs(repo, commit);
    return remove_tree(path, freed, e) == 0 ? remove_unused(repo, freed, e) : -1;
}
