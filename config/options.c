/* config/options.c - the table of settings and what is read through it.
 *
 * Each source (file, environment, command line) turns a row's text or JSON
 * value into the field of struct config at `offset`. Sources are applied from
 * the weakest to the strongest, so the last one to speak wins. */
#include "config/options.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

enum option_type { T_STRING, T_CHOICE, T_LIST, T_INT, T_SIZE, T_REAL, T_BOOL };

struct option_row {
    const char      *name;    /* as on the command line, without the dashes        */
    enum option_type type;
    unsigned         groups;
    size_t           offset;  /* of the field in struct config                     */
    double           min, max;
    const char      *def;     /* as it would be written on the command line        */
    const char      *arg;     /* what the value is, for --help; choices with '|'   */
    const char      *help;
};

#define AT(field) offsetof(struct config, field)
#define ALL       (OPT_ENGINE | OPT_SERVER | OPT_CHAT | OPT_PLAN)
#define TERA      1e12

static const struct option_row table[] = {
    { "config", T_STRING, ALL, AT(config_file), 0, 0, "", "FILE", "JSON object of options, names as here with '_' for '-'" },
    { "model", T_STRING, OPT_ENGINE, AT(model), 0, 0, "", "DIR", "checkpoint in Hugging Face layout (default: open-autoglm-v1)" },
    { "device", T_CHOICE, OPT_ENGINE, AT(device), 0, 0, "auto", "auto|cpu|ref|cuda|cusim", "what computes" },
    { "weights", T_CHOICE, OPT_ENGINE, AT(weights), 0, 0, "auto", "auto|f32|bf16|int8|int4|fp8", "as what the weights are kept; auto: as in the file" },
    { "threads", T_INT, OPT_ENGINE, AT(threads), 0, 1024, "0", "N", "threads of the CPU backend; 0: one per core" },
    { "max-num-seqs", T_INT, OPT_ENGINE, AT(max_num_seqs), 1, 4096, "32", "N", "requests computed together" },
    { "max-queue", T_INT, OPT_ENGINE, AT(max_queue), 1, 1000000, "256", "N", "requests that may wait beyond those; more get 429" },
    { "max-model-len", T_INT, OPT_ENGINE, AT(max_model_len), 0, 1 << 24, "0", "N", "tokens of prompt and answer; 0: the checkpoint's" },
    { "max-batched-tokens", T_INT, OPT_ENGINE, AT(max_batched_tokens), 0, 1 << 20, "0", "N", "tokens of one step; 0: 512 on a CPU, as the model's size allows on a GPU" },
    { "max-pause", T_REAL, OPT_ENGINE, AT(max_pause), 0.001, 3600, "0.15", "SECONDS", "how long an answer may stand still because of another request's prompt or image: these go on in pieces of about that long" },
    { "activations", T_CHOICE, OPT_ENGINE, AT(activations), 0, 0, "auto", "auto|float|int8",
      "what matrices of --weights int8 or int4 are multiplied with; int8: rounded, faster, a little less exact; auto: int8 on a CPU, float on a GPU" },
    { "kv-bytes", T_SIZE, OPT_ENGINE, AT(kv_bytes), 0, TERA, "0", "SIZE", "most that the KV cache may take; 0: max-num-seqs times 8192 tokens, up to half of what is free, at least one whole context. On the CPU it is taken as it is used" },
    { "kv-cache-dtype", T_CHOICE, OPT_ENGINE, AT(kv_cache_dtype), 0, 0, "auto", "auto|f32|bf16|f16|int8|fp8", "precision of the KV cache; auto: f32. bf16 and f16 take half the memory, int8 and fp8 (e4m3; both with a scale per head) about a quarter; logits change a little, by fp8 most" },
    { "image-cache-bytes", T_SIZE, OPT_ENGINE, AT(image_cache_bytes), 0, TERA, "0", "SIZE", "encoded images kept; 0: max-num-seqs of them, as far as a part of the memory goes" },
    { "memory-bytes", T_SIZE, OPT_ENGINE, AT(memory_bytes), 0, TERA, "0", "SIZE", "memory to use in all; 0: what is free, at most 90 % of the machine's" },
    { "gpu-memory-fraction", T_REAL, OPT_ENGINE | OPT_GPU, AT(gpu_memory_fraction), 0.01, 1, "0.95", "SHARE", "of a GPU's free memory that may be used" },
    { "gpu-graphs", T_BOOL, OPT_ENGINE | OPT_GPU, AT(gpu_graphs), 0, 0, "true", "", "record decode steps and replay them, where the device can" },
    { "device-resize", T_BOOL, OPT_ENGINE | OPT_GPU, AT(device_resize), 0, 0, "false", "", "resize images on the device, where it can: the same bytes; a request keeps its images as they were sent until they are encoded" },
    { "deterministic", T_BOOL, OPT_ENGINE | OPT_GPU, AT(deterministic), 0, 0, "true", "", "the same bits whoever else is in the batch; false: cuBLASLt for long prompts on a GPU" },
    { "prefix-cache", T_BOOL, OPT_ENGINE, AT(prefix_cache), 0, 0, "true", "", "reuse the KV entries of equal beginnings" },
    { "selftest", T_BOOL, OPT_ENGINE, AT(selftest), 0, 0, "true", "", "at the start: does a known picture become what the reference makes of it?" },
    { "max-pixels", T_INT, OPT_ENGINE, AT(max_pixels), 0, TERA, "0", "N", "of an image after the resize; 0: the checkpoint's" },
    { "min-pixels", T_INT, OPT_ENGINE, AT(min_pixels), 0, TERA, "0", "N", "likewise, the least" },
    { "max-image-pixels", T_INT, OPT_ENGINE, AT(max_image_pixels), 0, 1 << 28, "0", "N", "width times height of an uploaded image; 0: 50331648, or less where decoding that would take more than a quarter of the memory" },
    { "max-image-side", T_INT, OPT_ENGINE, AT(max_image_side), 0, 1 << 28, "0", "N", "width and height of an uploaded image, each; 0: any" },
    { "max-image-bytes", T_SIZE, OPT_ENGINE, AT(max_image_bytes), 1, 1e9, "72M", "SIZE", "of an uploaded image file" },
    { "max-images", T_INT, OPT_ENGINE, AT(max_images), 1, 1024, "16", "N", "in one request" },
    { "chat-template", T_STRING, OPT_ENGINE, AT(chat_template), 0, 0, "", "FILE", "replaces the checkpoint's template" },
    { "chat-template-content-format", T_CHOICE, OPT_ENGINE, AT(content_format), 0, 0, "auto", "auto|string|openai",
      "what the template gets as content; string: images first, then the text" },
    { "trust-special-tokens", T_BOOL, OPT_ENGINE, AT(trust_special_tokens), 0, 0, "false", "", "tokens that build a chat (turns, ends, places of images) count in a message's text too, as in the reference; else they are plain text there" },
    { "trace", T_STRING, OPT_ENGINE, AT(trace), 0, 0, "", "FILE", "one line per operation, for finding differences" },

    { "host", T_STRING, OPT_SERVER, AT(host), 0, 0, "127.0.0.1", "ADDRESS", "where to listen; 0.0.0.0: everywhere" },
    { "port", T_INT, OPT_SERVER, AT(port), 0, 65535, "8000", "N", "0: any free one (see the log line)" },
    { "api-key", T_STRING, OPT_SERVER, AT(api_key), 0, 0, "", "KEY", "clients must send it as Bearer token (better: the file or the environment)" },
    { "api-key-file", T_STRING, OPT_SERVER, AT(api_key_file), 0, 0, "", "FILE", "the key is its first line" },
    { "served-model-name", T_LIST, OPT_SERVER, AT(served_model_name), 0, 0, "", "NAME[,NAME...]", "names that requests may use; the first is answered (default: the directory's name)" },
    { "allow-origin", T_LIST, OPT_SERVER, AT(allow_origin), 0, 0, "", "ORIGIN[,ORIGIN...]", "web pages from there (or *) may call; off by default" },
    { "max-connections", T_INT, OPT_SERVER, AT(max_connections), 1, 60000, "4096", "N", "open at once; more get 503" },
    { "max-body-bytes", T_SIZE, OPT_SERVER | OPT_PLAN, AT(max_body_bytes), 1024, 4e9, "100M", "SIZE", "of one request; more get 413" },
    { "max-body-total", T_SIZE, OPT_SERVER | OPT_PLAN, AT(max_body_total), 0, TERA, "0", "SIZE", "of all requests being read, and again of all answers that clients have not taken; more get 503, or end a stream. 0: a 32nd of the memory, at most 384M, at least max-body-bytes" },
    { "input-threads", T_INT, OPT_SERVER, AT(input_threads), 0, 1024, "0", "N", "requests whose images are decoded at once; 0: one per core" },
    { "idle-timeout", T_REAL, OPT_SERVER, AT(idle_timeout), 0.1, 86400, "120", "SECONDS", "a connection without a request is closed after" },
    { "read-timeout", T_REAL, OPT_SERVER, AT(read_timeout), 0.1, 86400, "60", "SECONDS", "a request must have arrived within" },
    { "write-timeout", T_REAL, OPT_SERVER, AT(write_timeout), 0.1, 86400, "120", "SECONDS", "a client that takes nothing is dropped after" },
    { "load-wait", T_REAL, OPT_SERVER, AT(load_wait), 0, 86400, "60", "SECONDS", "a request that comes while the model loads waits for it; then it gets 503" },
    { "drain-delay", T_REAL, OPT_SERVER, AT(drain_delay), 0, 86400, "0", "SECONDS", "after SIGTERM, /health is 503 while all is still served, so that routers see it; then the port is closed" },
    { "drain-seconds", T_REAL, OPT_SERVER, AT(drain_seconds), 0, 86400, "30", "SECONDS", "for requests to finish after SIGTERM" },
    { "keepalive-seconds", T_REAL, OPT_SERVER, AT(keepalive_seconds), 0.05, 3600, "5", "SECONDS", "between comments on a stream that has nothing to say" },
    { "log-level", T_CHOICE, OPT_SERVER | OPT_CHAT, AT(log_level), 0, 0, "info", "debug|info|warn|error", "least level of the lines on standard error" },

    { "image", T_LIST, OPT_CHAT, AT(image), 0, 0, "", "FILE[,FILE...]", "JPEG, PNG, WebP or GIF; may be given several times" },
    { "system", T_STRING, OPT_CHAT, AT(system), 0, 0, "", "TEXT", "system message" },
    { "max-tokens", T_INT, OPT_CHAT, AT(max_tokens), 0, 1 << 24, "0", "N", "of the answer; 0: what the context leaves" },
    { "temperature", T_REAL, OPT_CHAT, AT(temperature), 0, 2, "0", "T", "0: always the most likely token" },
    { "seed", T_INT, OPT_CHAT, AT(seed), -9e15, 9e15, "0", "N", "of the random numbers" },
    { "gpu-memory", T_SIZE, OPT_PLAN, AT(gpu_memory), 0, TERA, "0", "SIZE", "plan for a GPU of that size, whatever is here (--device cuda)" },
    { "json", T_BOOL, OPT_PLAN, AT(json), 0, 0, "false", "", "one JSON object instead of a table" },
};
enum { N_ROWS = sizeof table / sizeof *table };
_Static_assert((int)N_ROWS <= (int)OPTIONS_MAX_ROWS, "struct config needs more room in given[]");

/* Names compare with '-' and '_' alike. */
static const struct option_row *find_row(const char *name, size_t n)
{
    for (int i = 0; i < N_ROWS; i++) {
        const char *t = table[i].name;
        size_t      k = 0;
        while (k < n && t[k] && (name[k] == t[k] || (name[k] == '_' && t[k] == '-')))
            k++;
        if (k == n && !t[k])
            return &table[i];
    }
    return NULL;
}

static int wrong(const struct option_row *r, const char *source, struct err *e, const char *what)
{
    char range[96] = "";
    if (r->type == T_INT || r->type == T_SIZE || r->type == T_REAL)
        snprintf(range, sizeof range, " from %.15g to %.15g", r->min, r->max);
    else if (r->type == T_CHOICE)
        snprintf(range, sizeof range, " (%s)", r->arg);
    return err_field(e, r->name, "option %s (%s): %s%s", r->name, source, what, range);
}

static void list_add(struct string_list *l, const char *s, size_t n)
{
    if (n == 0 || l->n == OPTIONS_MAX_LIST)
        return;
    char *copy = xmalloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = '\0';
    l->item[l->n++] = copy;
}

static void list_clear(struct string_list *l)
{
    while (l->n > 0)
        free(l->item[--l->n]);
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; n > 0; p++) {
        size_t k = strcspn(p, "|");
        if (k == n && strncmp(p, value, n) == 0)
            return true;
        p += k;
        if (!*p)
            break;
    }
    return false;
}

/* "512M": a number and one of K, M, G, T (powers of 1024, "iB" or "B" may follow). */
static int parse_size(const char *s, double *out)
{
    char  *end;
    double v = strtod(s, &end);
    if (end == s)
        return -1;
    static const char units[] = "KMGT";
    const char *u = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (u) {
        v = ldexp(v, 10 * (int)(u - units + 1));
        end++;
        if (*end == 'i')
            end++;
    }
    if (*end == 'B')
        end++;
    *out = floor(v);
    return *end ? -1 : 0;
}

static int set_number(struct config *c, const struct option_row *r, double v, const char *source, struct err *e)
{
    if (!isfinite(v) || v < r->min || v > r->max)
        return wrong(r, source, e, "must be");
    if (r->type == T_REAL)
        *(double *)((char *)c + r->offset) = v;
    else if (v != floor(v))
        return wrong(r, source, e, "must be a whole number");
    else
        *(int64_t *)((char *)c + r->offset) = (int64_t)v;
    return 0;
}

/* Sets the row's field from text. A list is replaced by the first value of a
 * stronger source and continued by that source's later ones (`fresh`). */
static int set_text(struct config *c, const struct option_row *r, const char *text, bool fresh, const char *source,
                    struct err *e)
{
    void  *field = (char *)c + r->offset;
    char  *end;
    double v;
    switch (r->type) {
    case T_CHOICE:
        if (!is_choice(r->arg, text))
            return wrong(r, source, e, "must be one of");
        /* fall through */
    case T_STRING:
        free(*(char **)field);
        *(char **)field = xstrdup(text);
        return 0;
    case T_LIST:
        if (fresh)
            list_clear(field);
        for (const char *p = text;; p++) {
            size_t n = strcspn(p, ",");
            list_add(field, p, n);
            p += n;
            if (!*p)
                return 0;
        }
    case T_BOOL: {
        static const char *const word[] = { "false", "true", "0", "1", "no", "yes", "off", "on" };
        for (int i = 0; i < 8; i++)
            if (strcmp(text, word[i]) == 0) {
                *(bool *)field = i & 1;
                return 0;
            }
        return wrong(r, source, e, "must be true or false");
    }
    case T_SIZE:
        if (parse_size(text, &v) != 0)
            return wrong(r, source, e, "must be a size such as 512M");
        return set_number(c, r, v, source, e);
    case T_INT:
    case T_REAL:
        v = strtod(text, &end);
        if (end == text || *end)
            return wrong(r, source, e, "must be a number");
        return set_number(c, r, v, source, e);
    }
    return 0;
}

static int set_json(struct config *c, const struct option_row *r, const json_t *v, const char *source, struct err *e)
{
    if (json_is_null(v))
        return 0;
    if (json_is_number(v) && (r->type == T_INT || r->type == T_SIZE || r->type == T_REAL))
        return set_number(c, r, json_number_value(v), source, e);
    if (json_is_boolean(v) && r->type == T_BOOL)
        return set_text(c, r, json_is_true(v) ? "true" : "false", true, source, e);
    if (json_is_string(v) && r->type != T_INT && r->type != T_REAL && r->type != T_BOOL)
        return set_text(c, r, json_string_value(v), true, source, e);
    if (json_is_array(v) && r->type == T_LIST) {
        struct string_list *l = (struct string_list *)((char *)c + r->offset);
        list_clear(l);
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *item = json_array_get(v, i);
            if (!json_is_string(item))
                return wrong(r, source, e, "must be a list of strings");
            list_add(l, json_string_value(item), json_string_length(item));
        }
        return 0;
    }
    static const char *const wanted[] = {
        [T_STRING] = "must be a string", [T_CHOICE] = "must be a string", [T_LIST] = "must be a list of strings",
        [T_INT] = "must be a number", [T_SIZE] = "must be a number or a size such as \"512M\"", [T_REAL] = "must be a number",
        [T_BOOL] = "must be true or false",
    };
    return wrong(r, source, e, wanted[r->type]);
}

static int read_file(struct config *c, const char *path, struct err *e)
{
    enum { MAX_FILE = 1 << 20 };
    json_error_t je;
    struct buf   text;
    buf_init(&text, MAX_FILE);
    int     rc = file_read(path, &text, e);
    const char *json = text.data ? text.data : "";
    size_t  mark = utf8_mark(json, text.len);
    json_t *root = rc == 0 ? json_loadb(json + mark, text.len - mark, JSON_REJECT_DUPLICATES, &je) : NULL;
    buf_free(&text);
    if (rc < 0)
        return err_prefix(e, "option config");
    if (rc > 0)
        return err_field(e, "config", "option config: %s: No such file or directory", path);
    if (!root)
        return err_field(e, "config", "option config: %s: line %d: %s", path, je.line, je.text);
    const char *key;
    json_t     *v;
    if (!json_is_object(root))
        rc = err_field(e, "config", "option config: %s is not a JSON object", path);
    else json_object_foreach(root, key, v) {
        const struct option_row *r = find_row(key, strlen(key));
        if (!r || r->offset == AT(config_file))
            rc = err_field(e, key, "option %s (%s): there is no such option", key, path);
        else if ((rc = set_json(c, r, v, path, e)) == 0)
            c->given[r - table] = true;
        if (rc != 0)
            break;
    }
    json_decref(root);
    return rc;
}

static int read_environment(struct config *c, struct err *e)
{
    for (int i = 0; i < N_ROWS; i++) {
        char name[96];
        int  n = snprintf(name, sizeof name, "OPENAUTOGLM_%s", table[i].name);
        for (int k = 0; k < n; k++)
            name[k] = name[k] == '-' ? '_' : (char)toupper((unsigned char)name[k]);
        const char *v = getenv(name);
        if (!v || table[i].offset == AT(config_file))
            continue;
        if (set_text(c, &table[i], v, true, name, e) != 0)
            return -1;
        c->given[i] = true;
    }
    return 0;
}

/* One option of the command line: --name value, --name=value, --flag or
 * --no-flag. Returns how many arguments it took, or -1. */
/* An unset variable in a script must not mean another model, or a server without a key. */
static bool may_be_empty(const struct option_row *r)
{
    static const char *const never[] = { "DIR", "FILE", "KEY" };
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (r->type == T_STRING && strcmp(r->arg, never[i]) == 0)
            return false;
    return true;
}

static int read_argument(struct config *c, unsigned groups, char **argv, bool *seen, struct err *e)
{
    const char *name = argv[0] + 2, *eq = strchr(name, '=');
    size_t      n = eq ? (size_t)(eq - name) : strlen(name);
    const char *value = eq ? eq + 1 : NULL;
    const struct option_row *r = find_row(name, n);
    if (!r && !eq && strncmp(name, "no-", 3) == 0 && (r = find_row(name + 3, n - 3)) != NULL) {
        if (r->type != T_BOOL)
            r = NULL;
        value = "false";
    }
    if (!r || !(r->groups & groups)) {
        char option[64];
        snprintf(option, sizeof option, "%.*s", (int)n, name);
        return err_field(e, option, "option %s: %s", option,
                         r ? "does not belong to this command" : "there is no such option");
    }
    int took = 1;
    if (!value && r->type == T_BOOL)
        value = "true";
    if (!value && (value = argv[1]) != NULL)
        took = 2;
    if (!value)
        return wrong(r, "command line", e, "needs a value");
    if (!*value && !may_be_empty(r))
        return wrong(r, "command line", e, "must not be empty");
    if (set_text(c, r, value, !seen[r - table], "command line", e) != 0)
        return -1;
    seen[r - table] = c->given[r - table] = true;
    return took;
}

static int read_arguments(struct config *c, unsigned groups, int argc, char **argv, struct err *e)
{
    bool seen[OPTIONS_MAX_ROWS] = { false };
    for (int i = 1, took; i < argc; i += took) {
        took = 1;
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                list_add(&c->rest, argv[i], strlen(argv[i]));
            return 0;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            c->help = true;
        else if (strncmp(argv[i], "--", 2) != 0)
            list_add(&c->rest, argv[i], strlen(argv[i]));
        else if ((took = read_argument(c, groups, argv + i, seen, e)) < 0)
            return -1;
    }
    return 0;
}

/* The file's name must be known before anything else is read. */
static const char *config_path(int argc, char **argv)
{
    const char *path = getenv("OPENAUTOGLM_CONFIG");
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[i + 1];
    return path && *path ? path : NULL;
}

int options_parse(struct config *c, unsigned groups, int argc, char **argv, struct err *e)
{
    memset(c, 0, sizeof *c);
    for (int i = 0; i < N_ROWS; i++)
        if (set_text(c, &table[i], table[i].def, true, "default", e) != 0 && table[i].def[0])
            return -1;
    const char *path = config_path(argc, argv);
    if (path && read_file(c, path, e) != 0)
        return -1;
    if (read_environment(c, e) != 0)
        return -1;
    return read_arguments(c, groups, argc, argv, e);
}

void options_free(struct config *c)
{
    for (int i = 0; i < N_ROWS; i++) {
        void *field = (char *)c + table[i].offset;
        if (table[i].type == T_STRING || table[i].type == T_CHOICE)
            free(*(char **)field);
        else if (table[i].type == T_LIST)
            list_clear(field);
    }
    list_clear(&c->rest);
    memset(c, 0, sizeof *c);
}

bool options_given(const struct config *c, const char *name)
{
    const struct option_row *r = find_row(name, strlen(name));
    return r && c->given[r - table];
}

static bool is_default(const struct config *c, const struct option_row *r)
{
    const void *field = (const char *)c + r->offset;
    struct config fresh;
    memset(&fresh, 0, sizeof fresh);
    set_text(&fresh, r, r->def, true, "default", NULL);
    void *def = (char *)&fresh + r->offset;
    bool same = false;
    switch (r->type) {
    case T_STRING:
    case T_CHOICE: same = strcmp(*(char *const *)field, *(char **)def) == 0; break;
    case T_LIST: same = ((const struct string_list *)field)->n == 0; break;
    case T_INT:
    case T_SIZE: same = *(const int64_t *)field == *(int64_t *)def; break;
    case T_REAL: same = *(const double *)field == *(double *)def; break;
    case T_BOOL: same = *(const bool *)field == *(bool *)def; break;
    }
    options_free(&fresh);
    return same;
}

void options_changed(const struct config *c, unsigned groups, char *out, size_t n)
{
    size_t at = 0;
    *out = '\0';
    for (int i = 0; i < N_ROWS && at < n; i++)
        if ((table[i].groups & groups) && c->given[i] && !is_default(c, &table[i]))
            at += (size_t)snprintf(out + at, n - at, "%s--%s", at ? ", " : "", table[i].name);
}

void options_help(FILE *out, unsigned groups)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (!(table[i].groups & groups))
            continue;
        char left[96];
        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].arg);
        fprintf(out, "  %-44s %s", left, table[i].help);
        if (table[i].def[0] && strcmp(table[i].def, "0") != 0)
            fprintf(out, " (%s)", table[i].def);
        fputc('\n', out);
    }
    fputs("Each can also be set in the environment (--max-num-seqs: OPENAUTOGLM_MAX_NUM_SEQS) or in the file of\n"
          "--config (\"max_num_seqs\"). The command line wins over the environment, that over the file.\n", out);
}

void options_defaults(struct buf *out, unsigned groups)
{
    const char *between = "{\n";
    for (int i = 0; i < N_ROWS; i++) {
        const struct option_row *r = &table[i];
        if (!(r->groups & groups) || r->offset == AT(config_file))
            continue;
        buf_printf(out, "%s    \"", between);
        for (const char *p = r->name; *p; p++)
            buf_byte(out, *p == '-' ? '_' : *p);
        bool quoted = r->type == T_STRING || r->type == T_CHOICE || (r->type == T_SIZE && strcmp(r->def, "0") != 0);
        buf_printf(out, r->type == T_LIST ? "\": [%s]" : quoted ? "\": \"%s\"" : "\": %s", r->def);
        between = ",\n";
    }
    buf_str(out, "\n}\n");
}
