/* fetch/wanted.c - the files of a model that are read here. What others are for (training states, weights in other
 * formats, pictures of the model card) is not fetched. See wanted.h. */
#include "fetch/wanted.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "fetch/hub.h"

const char *const wanted_files[] = {
    "config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "chat_template.jinja", "chat_template.json",
    "modules.json", "1_Pooling/config.json", NULL
};

const char wanted_weights[] = "model.safetensors", wanted_index[] = "model.safetensors.index.json";

/* One of the additional templates of a checkpoint, which lie in a folder of their own. */
bool wanted_template(const char *file)
{
    static const char folder[] = "additional_chat_templates/", end[] = ".jinja";
    size_t n = strlen(file), a = sizeof folder - 1, z = sizeof end - 1;
    return n > a + z && strncmp(file, folder, a) == 0 && strcmp(file + n - z, end) == 0 && !strchr(file + a, '/');
}

void wanted_free(char **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* The name of a file of weights right beside the index. It comes from the network, so nothing else is let through. */
static bool is_shard(const char *name)
{
    static const char end[] = ".safetensors";
    size_t n = strlen(name), z = sizeof end - 1;
    return hub_is_file(name) && !strchr(name, '/') && n > z && strcmp(name + n - z, end) == 0;
}

/* Adds a name unless it is there already. An index names the same few files once for every tensor, so the last one is
 * looked at first. */
static int add(char **names, int *n, const char *name, struct err *e)
{
    for (int i = *n - 1; i >= 0; i--)
        if (strcmp(names[i], name) == 0)
            return 0;
    if (*n == WANTED_MAX_SHARDS)
        return err_set(e, "names more than %d files", WANTED_MAX_SHARDS);
    names[*n] = strdup(name);
    return names[*n] ? (*n)++, 0 : err_memory(e);
}

/* The names in the weight_map of an index, each once. They come from the network and become paths, so only names of
 * shards are let through, which hold no slash. */
static int read_map(const json_t *map, char **names, int *n, struct err *e)
{
    const char *tensor;
    json_t     *v;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return err_set(e, "no weight_map");
    json_object_foreach((json_t *)map, tensor, v) {
        const char *name = json_string_value(v);
        if (!name || !is_shard(name))
            return err_set(e, "weight_map[\"%.80s\"]: \"%.80s\" is not the name of a file beside it", tensor,
                           name ? name : "");
        if (add(names, n, name, e) != 0)
            return -1;
    }
    return 0;
}

/* The shards that an index file names. The list and its strings are the caller's, for wanted_free(). An index that is
 * missing here is an error, as it was fetched just before. */
int wanted_shards(const char *index_path, char ***out, int *n, struct err *e)
{
    enum { INDEX_BYTES = 64 << 20 };
    json_error_t je;
    struct buf   text;
    buf_init(&text, INDEX_BYTES);
    char **names = calloc(WANTED_MAX_SHARDS, sizeof *names);
    int    rc = names ? file_read(index_path, &text, e) : err_memory(e);
    *n = 0;
    if (rc == 0) {
        json_t *root = json_loadb(text.data ? text.data : "", text.len, 0, &je);
        rc = root ? read_map(json_object_get(root, "weight_map"), names, n, e) : err_set(e, "is not JSON: %s", je.text);
        if (rc != 0)
            err_prefix(e, "%.300s", index_path);
        json_decref(root);
    } else if (rc > 0) {
        rc = err_set(e, "%s: No such file or directory", index_path);
    }
    buf_free(&text);
    if (rc == 0) {
        *out = names;
        return 0;
    }
    wanted_free(names, names ? *n : 0);
    return -1;
}
