/* checkpoint/folder.c - looks at a folder that is no checkpoint and finds out what it is instead. The checks go from
 * the most certain to the least: what is told first is what a person most likely meant. See folder.h. */
#include "checkpoint/folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "checkpoint/hparams.h"
#include "checkpoint/safetensors.h"

enum { MAX_PATH = 4096, MAX_ENTRIES = 4096 };

#define NEEDED "--model takes the folder of a Hugging Face checkpoint: config.json, tokenizer.json, model.safetensors"
#define RISK   "a PyTorch pickle, which is not loaded, because loading one can run anything: "

/* Is there a file of that name in the folder? */
static bool has(const char *dir, const char *name)
{
    char path[MAX_PATH];
    return (size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path && file_exists(path);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* ---- there is no such path ---- */

/* The part of a path that names a repository on the hub: OWNER/NAME alone, or behind the hub's address. NULL: none. */
static const char *hub_name(const char *path)
{
    static const char *const hosts[] = { "https://huggingface.co/", "http://huggingface.co/", "huggingface.co/",
                                         "https://hf.co/", "hf.co/" };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strncmp(path, hosts[i], strlen(hosts[i])) == 0) {
            path += strlen(hosts[i]);
            break;
        }
    const char *slash = strchr(path, '/');
    if (!slash || slash == path || !slash[1] || strchr(slash + 1, '/') || !isalnum((unsigned char)*path))
        return NULL;
    for (const char *p = path; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/-_.", *p))
            return NULL;
    return path;
}

/* A name whose first part is a folder here is a mistyped path rather than a repository. */
static int absent(const char *path, int why, struct err *e)
{
    char owner[256];
    const char *name = hub_name(path);
    snprintf(owner, sizeof owner, "%.*s", (int)strcspn(path, "/"), path);
    if (why != ENOENT || !name || is_folder(owner))
        return err_set(e, "%.400s: %s", path, strerror(why));
    return err_set(e, "%.100s: there is no such folder; it looks like a name on the Hugging Face hub: run "
                      "`openautoglm pull %.100s`, then give the folder that it prints", path, name);
}

/* ---- a file ---- */

/* The path is a file. Its first bytes tell a GGUF file or a pickle from a file of a checkpoint, whatever it is
 * called. */
static int file_given(const char *path, struct err *e)
{
    char start[16];
    int fd = file_open(path, e);
    if (fd < 0)
        return -1;
    ssize_t n = pread(fd, start, sizeof start, 0);
    close(fd);
    const char *kind = weights_kind(start, n < 0 ? 0 : (size_t)n), *slash = strrchr(path, '/');
    int n_folder = slash ? (int)(slash - path) : 1;
    if (kind)
        return err_set(e, "%.200s: is %s, which cannot be used: " NEEDED, path, kind);
    if (ends_with(path, ".safetensors") || ends_with(path, ".json"))
        return err_set(e, "%.150s: is one file of a checkpoint: give its folder, --model %.*s", path,
                       n_folder < 150 ? n_folder : 150, slash ? path : ".");
    return err_set(e, "%.200s: is a file: " NEEDED, path);
}

/* ---- a folder ---- */

/* Files by the ends of their names, the most telling first. */
static const struct { const char *end, *what; } formats[] = {
    { ".gguf", "a GGUF file, which is not supported: take the checkpoint it was made from, as safetensors" },
    { ".bin", RISK "save the model as safetensors (transformers: save_pretrained())" },
    { ".pth", RISK "take the model in Hugging Face's format" },
    { ".pt", RISK "take the model in Hugging Face's format" },
    { ".h5", "TensorFlow's weights: take the model's safetensors" },
    { ".msgpack", "Flax's weights: take the model's safetensors" },
    { ".onnx", "an ONNX file: take the model's safetensors" },
    { ".safetensors", "not looked at: weights are called model.safetensors, or named by model.safetensors.index.json" },
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

struct seen {
    char file[N_FORMATS][256];   /* one of each format, the first by name; "": none         */
    char inner[256];             /* a folder in the folder that has a config.json; "": none */
};

/* The adapters' own names are told as adapters, and what trainers leave beside a model is no model. */
static bool beside(const char *name)
{
    return strncmp(name, "adapter_model.", 14) == 0 || strcmp(name, "training_args.bin") == 0 ||
           strcmp(name, "optimizer.pt") == 0 || strcmp(name, "scheduler.pt") == 0;
}

static void keep_first(char kept[256], const char *name)
{
    if (!*kept || strcmp(name, kept) < 0)
        snprintf(kept, 256, "%s", name);
}

/* Looks through a folder once and keeps, of every format, the first file by name, so that the message does not depend
 * on the order in which the system lists files. A folder of very many files is not read to its end. */
static void see(struct seen *s, const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *f;
    char inner[MAX_PATH];
    memset(s, 0, sizeof *s);
    for (int n = 0; d && n < MAX_ENTRIES && (f = readdir(d)); n++) {
        for (int i = 0; i < N_FORMATS; i++)
            if (ends_with(f->d_name, formats[i].end) && !beside(f->d_name))
                keep_first(s->file[i], f->d_name);
        if (*f->d_name != '.' && (size_t)snprintf(inner, sizeof inner, "%s/%s", dir, f->d_name) < sizeof inner &&
            is_folder(inner) && has(inner, "config.json"))
            keep_first(s->inner, f->d_name);
    }
    if (d)
        closedir(d);
}

/* An adapter is told with the name of its base model, as far as its configuration can be read. */
static int adapter(const char *dir, struct err *e)
{
    struct hparams h;
    if (hparams_open(&h, dir, "adapter_config.json", true, e) != 0)
        return -1;
    const char *base = hparams_string(&h, "base_model_name_or_path", "its base model");
    err_set(e, "%.120s: is a LoRA adapter of %.80s, not a model: merge the two (peft: merge_and_unload(), then "
               "save_pretrained()) and give the merged model's folder", dir, base);
    hparams_close(&h);
    return -1;
}

/* The cache of the hub's own library keeps a checkpoint two folders deeper. */
static int cache_folder(const char *dir, struct err *e)
{
    char snapshots[MAX_PATH];
    struct seen s = { 0 };
    if ((size_t)snprintf(snapshots, sizeof snapshots, "%s/snapshots", dir) < sizeof snapshots)
        see(&s, snapshots);
    return err_set(e, "%.150s: is a folder of the Hugging Face cache: give one of its snapshots, "
                      "--model %.150s/snapshots/%.60s", dir, dir, *s.inner ? s.inner : "REVISION");
}

/* Tools that quantise give their files names of their own: renaming them would not help. */
static bool is_quantised(const char *dir)
{
    struct hparams h;
    if (has(dir, "quantize_config.json") || has(dir, "quant_config.json"))
        return true;
    bool told = hparams_open(&h, dir, "config.json", true, NULL) == 0 && hparams_has(&h, "quantization_config");
    hparams_close(&h);
    return told;
}

/* There is a configuration but no weights that can be used. Files of other formats are named with what can be done
 * about them. */
static int other_weights(const char *dir, struct err *e)
{
    struct seen s;
    see(&s, dir);
    if (is_quantised(dir))
        return err_set(e, "%.200s: holds weights quantised by other tools, which are not supported; take the "
                          "checkpoint in bf16, f16 or f32", dir);
    for (int i = 0; i < N_FORMATS; i++)
        if (*s.file[i])
            return err_set(e, "%.150s: no model.safetensors and no model.safetensors.index.json; %.80s is %s", dir,
                           s.file[i], formats[i].what);
    return err_set(e, "%.200s: no model.safetensors and no model.safetensors.index.json: the weights are missing; is "
                      "the download complete?", dir);
}

/* There is neither a model's configuration nor an adapter's. People often give the folder above the checkpoint, or one
 * of the hub's cache. */
static int no_config(const char *dir, struct err *e)
{
    struct seen s;
    if (has(dir, "snapshots"))
        return cache_folder(dir, e);
    see(&s, dir);
    if (*s.inner)
        return err_set(e, "%.120s/config.json: No such file or directory; a folder in it has one: --model %.120s/%.80s",
                       dir, dir, s.inner);
    for (int i = 0; i < N_FORMATS; i++)
        if (*s.file[i] && strcmp(formats[i].end, ".safetensors") != 0)
            return err_set(e, "%.120s/config.json: No such file or directory; %.80s is %s", dir, s.file[i],
                           formats[i].what);
    return err_set(e, "%.150s/config.json: No such file or directory; " NEEDED, dir);
}

/* Nothing is said about a folder that has what a checkpoint needs: whether it can be used is found when it is
 * loaded. */
int folder_check(const char *dir, struct err *e)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return absent(dir, errno, e);
    if (!S_ISDIR(st.st_mode))
        return file_given(dir, e);
    bool config = has(dir, "config.json");
    bool weights = has(dir, "model.safetensors") || has(dir, "model.safetensors.index.json");
    if (config && weights)
        return 0;
    if (has(dir, "adapter_config.json"))
        return adapter(dir, e);
    return config ? other_weights(dir, e) : no_config(dir, e);
}
