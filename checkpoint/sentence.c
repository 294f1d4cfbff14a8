/* checkpoint/sentence.c - see sentence.h. The files are those of sentence-transformers 2 to 5: a pooling module has a
 * switch for each of its modes, of which newer versions write the name of the chosen one alone. */
#include "checkpoint/sentence.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

enum { FILE_BYTES = 1 << 20, MAX_PATH = 4096 };

/* The file DIR/NAME as JSON; NULL: it is not there (*there is false), or it is no JSON. */
static json_t *read_json(const char *dir, const char *name, bool *there)
{
    char path[MAX_PATH];
    struct buf text;
    struct json_limits limits = { .depth = 32, .values = 10000 };
    *there = (size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path && file_exists(path);
    if (!*there)
        return NULL;
    buf_init(&text, FILE_BYTES);
    json_t *root = file_read(path, &text, NULL) == 0
                       ? json_read(name, text.data ? text.data : "", text.len, &limits, NULL)
                       : NULL;
    buf_free(&text);
    return root;
}

/* The last word of "sentence_transformers.models.Pooling". */
static const char *kind_of(const json_t *module)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *dot = type ? strrchr(type, '.') : NULL;
    if (!type)
        return "";
    return dot ? dot + 1 : type;
}

static const struct { const char *key, *name; enum sentence_pooling pooling; } modes[] = {
    { "pooling_mode_lasttoken", "lasttoken", SENTENCE_LAST },
    { "pooling_mode_mean_tokens", "mean", SENTENCE_MEAN },
    { "pooling_mode_cls_token", "cls", SENTENCE_CLS },
};
enum { N_MODES = sizeof modes / sizeof *modes };

/* One mode may be switched on; several would be joined to a longer vector. */
static void read_pooling(struct sentence *s, const json_t *config)
{
    const char *key, *name = json_string_value(json_object_get(config, "pooling_mode"));
    json_t *v;
    int on = 0;
    bool known = false;
    for (int i = 0; i < N_MODES; i++)
        if ((name && strcmp(name, modes[i].name) == 0) || json_is_true(json_object_get(config, modes[i].key))) {
            s->pooling = modes[i].pooling;
            known = true;
        }
    json_object_foreach((json_t *)config, key, v)
        on += strncmp(key, "pooling_mode_", 13) == 0 && json_is_true(v);
    if (!known || on + (name != NULL) != 1)
        snprintf(s->unsupported, sizeof s->unsupported, "pools in another way than by the last token, the mean or the "
                 "first token");
    else if (json_is_false(json_object_get(config, "include_prompt")))
        snprintf(s->unsupported, sizeof s->unsupported, "leaves its prompt out of the pooling");
}

/* One module of the list in modules.json. What changes the vectors and cannot be done here goes into s->unsupported,
 * whose text ends a sentence that begins with "the checkpoint". A path that leads out of the folder is not followed. */
static void read_module(struct sentence *s, const char *dir, const json_t *module)
{
    const char *kind = kind_of(module), *path = json_string_value(json_object_get(module, "path"));
    char name[256];
    bool there;
    if (strcmp(kind, "Normalize") == 0) {
        s->normalised = true;
    } else if (strcmp(kind, "Pooling") == 0 && path && !strstr(path, "..")) {
        snprintf(name, sizeof name, "%.200s/config.json", path);
        json_t *config = read_json(dir, name, &there);
        if (config)
            read_pooling(s, config);
        else
            snprintf(s->unsupported, sizeof s->unsupported, "has no %.80s that can be read", name);
        json_decref(config);
    } else if (strcmp(kind, "Transformer") != 0) {
        snprintf(s->unsupported, sizeof s->unsupported, "has the module %.80s", kind);
    }
}

void sentence_read(struct sentence *s, const char *dir)
{
    *s = (struct sentence){ .pooling = SENTENCE_LAST };
    json_t *list = read_json(dir, "modules.json", &s->there), *module;
    size_t i;
    if (s->there && !json_is_array(list))
        snprintf(s->unsupported, sizeof s->unsupported, "has a modules.json that is no list");
    json_array_foreach(list, i, module)
        if (!*s->unsupported)
            read_module(s, dir, module);
    json_decref(list);
}
