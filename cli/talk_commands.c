/* cli/talk_commands.c - see talk_commands.h. */
#include "cli/talk_commands.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "cli/attach.h"

/* ---- /set ---- */

enum setting_type { SET_FLOAT, SET_INT, SET_SEED };

static const struct setting {
    const char       *name;
    enum setting_type type;
    size_t            offset;  /* of the field in struct params */
    double            least, most;
} settings[] = {
    { "temperature", SET_FLOAT, offsetof(struct params, temperature), 0, 2 },
    { "top_p", SET_FLOAT, offsetof(struct params, top_p), 0, 1 },
    { "top_k", SET_INT, offsetof(struct params, top_k), 0, 1e9 },
    { "min_p", SET_FLOAT, offsetof(struct params, min_p), 0, 1 },
    { "repetition_penalty", SET_FLOAT, offsetof(struct params, repetition_penalty), 0.01, 100 },
    { "frequency_penalty", SET_FLOAT, offsetof(struct params, frequency_penalty), -2, 2 },
    { "presence_penalty", SET_FLOAT, offsetof(struct params, presence_penalty), -2, 2 },
    { "max_tokens", SET_INT, offsetof(struct params, max_tokens), 0, 1 << 24 },
    { "seed", SET_SEED, offsetof(struct params, seed), 0, 9e15 },
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

/* The name and the value that it has now. */
static void show_setting(const struct talk *t, const struct setting *s)
{
    const void *field = (const char *)&t->params + s->offset;
    if (s->type == SET_FLOAT)
        talk_note("%s %g", s->name, (double)*(const float *)field);
    else if (s->type == SET_INT)
        talk_note("%s %d", s->name, *(const int *)field);
    else if (t->params.has_seed)
        talk_note("%s %llu", s->name, (unsigned long long)t->params.seed);
    else
        talk_note("%s random", s->name);
}

static int unknown_word(struct err *e, const struct nearest *near, const char *what, const char *word)
{
    return err_set(e, *near->best ? "there is no %s %.40s; did you mean %s?" : "there is no %s %.40s%s", what, word,
                   near->best);
}

/* Finds a setting by its name, '-' and '_' being alike. */
static const struct setting *find_setting(const char *name, struct err *e)
{
    struct nearest near;
    char plain[40];
    nearest_begin(&near, name, strlen(name));
    for (int i = 0; i < N_SETTINGS; i++) {
        snprintf(plain, sizeof plain, "%s", settings[i].name);
        for (char *p = plain; *p; p++)
            *p = *p == '_' ? '-' : *p;
        if (strcmp(near.typed, plain) == 0)
            return &settings[i];
        nearest_offer(&near, plain);
    }
    unknown_word(e, &near, "setting", name);
    return NULL;
}

/* Sets one field of the parameters from a text. Its type and bounds are those of the table. -1: the text is none of
 * these values, and nothing has changed. */
static int change_setting(struct params *p, const struct setting *s, const char *value, struct err *e)
{
    char  *end;
    void  *field = (char *)p + s->offset;
    double v = strtod(value, &end);
    bool   valid = end != value && !*end && v >= s->least && v <= s->most;
    if (!valid || (s->type != SET_FLOAT && v != floor(v)))
        return err_set(e, "%s is a %s from %.15g to %.15g", s->name,
                       s->type == SET_FLOAT ? "number" : "whole number", s->least, s->most);
    if (s->type == SET_FLOAT)
        *(float *)field = (float)v;
    else if (s->type == SET_INT)
        *(int *)field = (int)v;
    else
        p->has_seed = true, p->seed = (uint64_t)v;
    return 0;
}

/* "temperature 0.7"; "temperature" alone shows it, nothing at all shows all of them. */
static int set(struct talk *t, const char *rest, struct err *e)
{
    char name[40], value[40], more;
    int  n = sscanf(rest, "%39[^ =]%*[ =]%39s %c", name, value, &more);
    for (int i = 0; i < N_SETTINGS && n <= 0; i++)
        show_setting(t, &settings[i]);
    if (n <= 0)
        return 0;
    const struct setting *s = find_setting(name, e);
    if (!s)
        return -1;
    if (n > 2)
        return err_set(e, "/set takes one name and one value");
    if (n == 2 && change_setting(&t->params, s, value, e) != 0)
        return -1;
    show_setting(t, s);
    return 0;
}

/* ---- /save ---- */

/* The place of an image in a message becomes the image itself, so that the file is a request that can be sent. */
static json_t *image_part(const struct chat_image *image, struct err *e)
{
    static const char *const types[] = { [IMAGE_UNKNOWN] = "octet-stream", [IMAGE_JPEG] = "jpeg", [IMAGE_PNG] = "png",
                                         [IMAGE_WEBP] = "webp", [IMAGE_GIF] = "gif" };
    struct image_info info = { 0 };
    size_t n = base64_length(image->n);
    char  *url = malloc(n + 64);
    image_probe(image->data, image->n, &info, NULL);
    if (!url) {
        err_memory(e);
        return NULL;
    }
    int head = sprintf(url, "data:image/%s;base64,", types[info.format]);
    base64_encode(url + head, image->data, image->n);
    json_t *part = json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", url);
    free(url);
    return part;
}

/* The messages as a client would send them. NULL: memory is out. */
static json_t *whole_messages(const struct talk *t, struct err *e)
{
    json_t *all = json_deep_copy(t->messages), *message, *part;
    size_t  i, k;
    int     next = 0;
    json_array_foreach(all, i, message) {
        json_t *content = json_object_get(message, "content");
        json_array_foreach(content, k, part) {
            const char *type = json_string_value(json_object_get(part, "type"));
            if (!type || strcmp(type, "image") != 0)
                continue;
            json_t *image = image_part(&t->pictures.image[next++], e);
            if (!image || json_array_set_new(content, k, image) != 0) {
                json_decref(all);
                return NULL;
            }
        }
    }
    return all;
}

/* A file that is there already stays as it is. */
static int save(struct talk *t, const char *rest, struct err *e)
{
    char path[PATH_MAX];
    if (!*rest || !attach_path(rest, path))
        return err_set(e, "/save wants the name of a file");
    json_t *messages = whole_messages(t, e);
    if (!messages)
        return -1;
    int   fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    json_t *request = json_pack("{s:o, s:f, s:i}", "messages", messages, "temperature", (double)t->params.temperature,
                                "max_tokens", t->params.max_tokens ? t->params.max_tokens : 1024);
    int rc = f ? json_dumpf(request, f, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : -1, reason = errno;
    if (f && fclose(f) != 0)
        rc = -1, reason = errno;
    json_decref(request);
    if (rc != 0)
        return err_set(e, "%s cannot be written: %s", path, strerror(reason));
    talk_note("written to %s", path);
    return 0;
}

/* ---- the others ---- */

static int image(struct talk *t, const char *rest, struct err *e)
{
    char path[PATH_MAX];
    if (!*rest || !attach_path(rest, path))
        return err_set(e, "/image wants the path of a picture");
    return talk_attach(t, path, e);
}

static int clear(struct talk *t, const char *rest, struct err *e)
{
    (void)rest, (void)e;
    talk_clear(t);
    talk_note("a new conversation");
    return 0;
}

static int set_system(struct talk *t, const char *rest, struct err *e)
{
    (void)e;
    talk_set_system(t, rest);
    talk_note(*rest ? "the system message is set" : "no system message");
    return 0;
}

static int leave(struct talk *t, const char *rest, struct err *e)
{
    (void)rest, (void)e;
    t->leave = true;
    return 0;
}

static int help(struct talk *t, const char *rest, struct err *e);

static const struct talk_command {
    const char *name, *takes, *help;
    int (*run)(struct talk *t, const char *rest, struct err *e);
} commands[] = {
    { "image", "PATH", "a picture for the next question", image },
    { "clear", "", "forget the conversation and its pictures", clear },
    { "system", "[TEXT]", "set the system message, or take it away", set_system },
    { "set", "[NAME [VALUE]]", "how answers are drawn: /set temperature 0.7; alone: show all", set },
    { "save", "FILE", "write the conversation as the JSON of a request", save },
    { "help", "", "this list", help },
    { "exit", "", "leave; so does Ctrl-D", leave },
    { "quit", "", "leave", leave },
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int help(struct talk *t, const char *rest, struct err *e)
{
    (void)t, (void)rest, (void)e;
    for (int i = 0; i < N_COMMANDS; i++)
        talk_note("/%-7s %-15s %s", commands[i].name, commands[i].takes, commands[i].help);
    talk_note("A picture is also attached by pasting or dragging its path, or as @PATH in a question.\n"
              "Ctrl-C stops an answer. Tab completes commands and paths; Alt-Enter begins a new line.");
    return 0;
}

/* Runs the command of a line that begins with /. -1: an unknown one, with the name that was probably meant, or what the
 * command says. */
int talk_command(struct talk *t, const char *line, struct err *e)
{
    struct nearest near;
    size_t n = strcspn(++line, " \n");
    const char *rest = line + n + strspn(line + n, " \n");
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)n, line);
    nearest_begin(&near, word, strlen(word));
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(t, rest, e);
        nearest_offer(&near, commands[i].name);
    }
    return unknown_word(e, &near, "command", word);
}

/* ---- completion ---- */

/* What all `n` words begin with, as far as they are equal. */
static char *common_beginning(char *const *word, size_t n)
{
    size_t k = strlen(word[0]);
    for (size_t i = 1; i < n; i++) {
        size_t same = 0;
        while (same < k && word[i][same] == word[0][same])
            same++;
        k = same;
    }
    return strndup(word[0], k);
}

/* What all commands that begin like this have in common. */
static char *complete_command(const char *typed, size_t n)
{
    char  *fits[N_COMMANDS];
    size_t k = 0;
    for (int i = 0; i < N_COMMANDS; i++)
        if (strncmp(commands[i].name, typed, n) == 0)
            fits[k++] = (char *)commands[i].name;
    return k > 0 ? common_beginning(fits, k) : NULL;
}

/* Blanks of a name are written with a backslash before them, as attach.c reads them. */
static char *complete_path(const char *typed, size_t n)
{
    char   pattern[PATH_MAX + 2];
    size_t k = 0;
    glob_t found;
    for (size_t i = 0; i < n && k < PATH_MAX; i++)
        if (typed[i] != '\\' || i + 1 == n)
            pattern[k++] = typed[i];
    pattern[k++] = '*';
    pattern[k] = '\0';
    if (glob(pattern, GLOB_MARK | GLOB_TILDE, NULL, &found) != 0)
        return NULL;
    char *path = common_beginning(found.gl_pathv, found.gl_pathc);
    char *out = path ? malloc(2 * strlen(path) + 1) : NULL;
    if (out) {
        char *to = out;
        for (const char *p = path; *p; p++) {
            if (strchr(" \\'\"", *p))
                *to++ = '\\';
            *to++ = *p;
        }
        *to = '\0';
    }
    free(path);
    globfree(&found);
    return out;
}

/* For the editor's Tab: completes a command, or a path behind @, /image or /save. *from: where what is replaced begins.
 * NULL: there is nothing to complete. */
char *talk_complete(void *arg, const char *line, size_t at, size_t *from)
{
    (void)arg;
    size_t word = at;
    while (word > 0 && (line[word - 1] != ' ' || (word > 1 && line[word - 2] == '\\')))
        word--;
    if (word == 0 && *line == '/') {
        *from = 1;
        return complete_command(line + 1, at - 1);
    }
    bool file = strncmp(line, "/image ", 7) == 0 || strncmp(line, "/save ", 6) == 0;
    if (!file && line[word] != '@')
        return NULL;
    *from = file ? word : word + 1;
    return complete_path(line + *from, at - *from);
}
