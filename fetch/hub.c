/* fetch/hub.c - the hub's settings from the environment, and what names may look like. See hub.h. */
#include "fetch/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"

#define DIGITS  "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* An empty variable counts as none. */
static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* HF_ENDPOINT, or the public hub, without slashes at its end. */
static int read_endpoint(struct hub *h, struct err *e)
{
    const char *from = variable("HF_ENDPOINT");
    int n = snprintf(h->endpoint, sizeof h->endpoint, "%s", from ? from : "https://huggingface.co");
    if (n >= (int)sizeof h->endpoint ||
        (strncmp(h->endpoint, "https://", 8) != 0 && strncmp(h->endpoint, "http://", 7) != 0))
        return err_field(e, "HF_ENDPOINT", "HF_ENDPOINT: must begin with https:// or http://");
    while (n > 0 && h->endpoint[n - 1] == '/')
        h->endpoint[--n] = '\0';
    return 0;
}

/* The folder that the hub's library would use, by the first of the variables that is set. ~ is not expanded: the shell
 * has done that. */
static int read_folders(struct hub *h, char *home, size_t n_home, struct err *e)
{
    const char *own = variable("HF_HUB_CACHE"), *hf = variable("HF_HOME"), *xdg = variable("XDG_CACHE_HOME"),
               *user = variable("HOME");
    int n;
    if (!own)
        own = variable("HUGGINGFACE_HUB_CACHE");
    if (!hf && !xdg && !user && !own)
        return err_field(e, "HF_HOME", "there is no folder for downloads: set HF_HOME (HOME is not set either)");
    if (hf)
        n = snprintf(home, n_home, "%s", hf);
    else if (xdg)
        n = snprintf(home, n_home, "%s/huggingface", xdg);
    else
        n = snprintf(home, n_home, "%s/.cache/huggingface", user ? user : "");
    int m = own ? snprintf(h->cache, sizeof h->cache, "%s", own) : snprintf(h->cache, sizeof h->cache, "%s/hub", home);
    if (n >= (int)n_home || m >= (int)sizeof h->cache)
        return err_field(e, "HF_HOME", "HF_HOME, HF_HUB_CACHE: the path is too long");
    return 0;
}

/* The token is one word of a header. Neither it nor the file's content is ever part of a message. */
static int read_token(struct hub *h, const char *home, struct err *e)
{
    char        path[PATH_MAX];
    struct buf  text;
    struct stat st;
    const char *from = variable("HF_TOKEN"), *file = variable("HF_TOKEN_PATH");
    buf_init(&text, sizeof h->token - 1);
    snprintf(path, sizeof path, file ? "%s" : "%s/token", file ? file : home);
    if (from)
        buf_str(&text, from);
    else if (stat(path, &st) == 0 && file_read(path, &text, e) < 0) {
        buf_free(&text);
        return err_prefix(e, "the token of the hub");
    }
    const char *s = text.data ? text.data : "";
    s += strspn(s, " \t\r\n");
    size_t n = strcspn(s, " \t\r\n");
    bool   good = buf_ok(&text) && n == strspn(s, DIGITS LETTERS "-_.~+/=") &&
                  strspn(s + n, " \t\r\n") == strlen(s + n);
    if (good)
        snprintf(h->token, sizeof h->token, "%.*s", (int)n, s);
    buf_free(&text);
    return good ? 0 : err_field(e, "HF_TOKEN", "%s: is not one word of letters and digits, as tokens of a hub are",
                                from ? "HF_TOKEN" : path);
}

/* Reads the variables that Hugging Face's own tools read, so that a machine where these work needs no setting for this
 * program. */
int hub_open(struct hub *h, struct err *e)
{
    char home[PATH_MAX / 2];
    memset(h, 0, sizeof *h);
    if (read_endpoint(h, e) != 0 || read_folders(h, home, sizeof home, e) != 0 || read_token(h, home, e) != 0)
        return -1;
    const char *offline = variable("HF_HUB_OFFLINE");
    h->offline = offline && (strcmp(offline, "1") == 0 || strcasecmp(offline, "true") == 0 ||
                             strcasecmp(offline, "yes") == 0 || strcasecmp(offline, "on") == 0);
    return 0;
}

/* One half of a model's name, by the hub's own rules. */
static bool is_word(const char *s, size_t n)
{
    if (n == 0 || strspn(s, DIGITS LETTERS "-_.") < n || strchr("-.", s[0]) || strchr("-.", s[n - 1]))
        return false;
    for (size_t i = 0; i + 1 < n; i++)
        if ((s[i] == '-' && s[i + 1] == '-') || (s[i] == '.' && s[i + 1] == '.'))
            return false;
    return true;
}

/* A branch, tag or commit, in the letters that git allows and a path can bear. hub_is_file() sees to it that no part is
 * "..". */
static bool is_revision(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < sizeof((struct hub_name *)0)->revision && strspn(s, DIGITS LETTERS "-_./+") == n &&
           !strchr("/-.", s[0]) && hub_is_file(s);
}

/* ORG/NAME or ORG/NAME@REVISION. The parts become folders of the cache and parts of URLs, so their letters are checked
 * here, once for all. */
int hub_name_parse(struct hub_name *out, const char *text, struct err *e)
{
    const char *at = strchr(text, '@'), *slash = strchr(text, '/');
    size_t n = at ? (size_t)(at - text) : strlen(text), org = slash ? (size_t)(slash - text) : 0;
    if (!slash || org >= n || n >= sizeof out->model || !is_word(text, org) || !is_word(slash + 1, n - org - 1))
        return err_field(e, "model", "%.120s: is not a name on a hub, which looks like ORG/NAME or ORG/NAME@REVISION, "
                                     "with letters, digits, '-', '_' and '.'", text);
    if (at && !is_revision(at + 1))
        return err_field(e, "model", "%.200s: what follows the @ is not a branch, a tag or a commit", text);
    snprintf(out->model, sizeof out->model, "%.*s", (int)n, text);
    snprintf(out->revision, sizeof out->revision, "%s", at ? at + 1 : "main");
    return 0;
}

bool hub_is_commit(const char *s)
{
    size_t n = strlen(s);
    return (n == 40 || n == 64) && strspn(s, DIGITS "abcdef") == n;
}

/* No part may be empty, "." or "..", and no byte may be a control character or a backslash, which is a separator
 * elsewhere. */
bool hub_is_file(const char *path)
{
    size_t n = strlen(path);
    if (n == 0 || n >= HUB_FILE)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)path[i] < ' ' || path[i] == 0x7f || path[i] == '\\')
            return false;
    for (const char *p = path;; p++) {
        size_t part = strcspn(p, "/");
        if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += part;
        if (!*p)
            return true;
    }
}

bool hub_is_etag(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < HUB_ETAG && *s != '.' && strspn(s, DIGITS LETTERS "-_.") == n;
}
