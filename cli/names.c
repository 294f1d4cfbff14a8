/* cli/names.c - the names under which a model is served when the operator chose none: its own, and for a phone agent's
 * model also the one that the agents' clients ask for. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "checkpoint/hparams.h"
#include "cli/command.h"

/* What the clients of Open-AutoGLM call their model unless they are told otherwise. */
static const char PHONE_AGENT[] = "autoglm-phone-9b";
/* A word that the folder's name, the hub's, the configuration or the chat template of a phone agent's model has. */
static const char SIGN[] = "autoglm";

static bool has_sign(const char *text) { return strcasestr(text, SIGN) != NULL; }

/* A file that is missing or unreadable has no sign: whether the model can be used is not decided here. */
static bool file_has_sign(const char *dir, const char *file)
{
    enum { MOST = 16 << 20 };
    struct err e;
    struct buf path, text;
    buf_init(&path, 1 << 16);
    buf_init(&text, MOST);
    buf_printf(&path, "%s/%s", dir, file);
    bool has = buf_ok(&path) && file_read(path.data, &text, &e) == 0 && text.len && has_sign(text.data);
    buf_free(&path);
    buf_free(&text);
    return has;
}

/* Is it of a family that phone agents' models belong to? */
static bool of_phone_family(const char *dir)
{
    static const char *const types[] = { "glm4v", "open_autoglm" };
    struct hparams h;
    struct err     e;
    bool is = false;
    if (hparams_open(&h, dir, "config.json", true, &e) != 0)
        return false;
    const char *type = hparams_string(&h, "model_type", "");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        is |= strcmp(type, types[i]) == 0;
    hparams_close(&h);
    return is;
}

/* GLM-4.1V, from which AutoGLM-Phone-9B was made, is of the same family and no phone agent's model; so its name or one
 * of its files must have the sign. The native model has it in its model_type. */
static bool is_phone_agent(const struct config *c)
{
    static const char *const files[] = { "config.json", "tokenizer_config.json", "chat_template.jinja" };
    if (!of_phone_family(c->engine.model))
        return false;
    bool is = has_sign(c->served_model_name.item[0]);
    for (size_t i = 0; i < sizeof files / sizeof *files && !is; i++)
        is = file_has_sign(c->engine.model, files[i]);
    return is;
}

/* The names that requests may use: those that were given, or the folder's. A model for phone agents also answers to the
 * name that these send, whatever it is called otherwise. */
void command_name_model(struct config *c)
{
    struct string_list *names = &c->served_model_name;
    if (names->n == 0) {
        char       *real = realpath(c->engine.model, NULL);
        const char *slash = real ? strrchr(real, '/') : NULL;
        names->item[names->n++] = xstrdup(slash && slash[1] ? slash + 1 : "model");
        free(real);
    }
    if (strcmp(names->item[0], PHONE_AGENT) == 0 || !is_phone_agent(c))
        return;
    names->item[names->n++] = xstrdup(PHONE_AGENT);
    log_info("requests may also call the model %s, as phone agents do", PHONE_AGENT);
}
