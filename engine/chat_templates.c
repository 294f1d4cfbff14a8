/* engine/chat_templates.c - see chat_templates.h. First the texts of all templates are collected under their names,
 * from the first source that has any; then those that will be used are parsed. */
#include "engine/chat_templates.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "engine/own_templates.h"
#include "tokenizer/json_file.h"

enum { MAX_TEMPLATE = 4 << 20, MAX_PATH = 4096 };

struct source {                /* what is being read */
    json_t *by_name;           /* owned object: name -> text                 */
    json_t *files;             /* owned object: name -> file it came from    */
    char    where[MAX_PATH];   /* the file that is being read                */
};

/* Sets s->where, which also names the file in messages. */
static int path_of(struct source *s, const char *dir, const char *file, struct err *e)
{
    if ((size_t)snprintf(s->where, sizeof s->where, "%s/%s", dir, file) >= sizeof s->where)
        return err_set(e, "%.200s...: the path is too long", dir);
    return 0;
}

/* -1: the text is not UTF-8. */
static int put(struct source *s, const char *name, json_t *text)
{
    json_object_set_new(s->files, name, json_string(s->where));
    return json_object_set_new(s->by_name, name, text);
}

/* The file s->where under a name. 0: read; 1: there is no such file; -1: error. */
static int take_file(struct source *s, const char *name, struct err *e)
{
    struct buf text;
    buf_init(&text, MAX_TEMPLATE);
    int rc = file_read(s->where, &text, e);
    if (rc == 0 && put(s, name, json_stringn(text.data ? text.data : "", text.len)) != 0)
        rc = err_set(e, "%s: not UTF-8", s->where);
    buf_free(&text);
    return rc;
}

/* The member "chat_template" of a file of JSON: a string, or a list of {"name", "template"}. */
static int take_json(struct source *s, const char *dir, const char *file, struct err *e)
{
    struct json_file f;
    json_t *one;
    size_t i;
    if (path_of(s, dir, file, e) < 0 || json_file_read(&f, s->where, true, false, e) < 0)
        return -1;
    json_t *v = json_object_get(f.root, "chat_template");
    if (json_is_string(v))
        put(s, "default", json_incref(v));
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *text = json_object_get(one, "template");
        if (name && json_is_string(text))
            put(s, name, json_incref(text));
    }
    json_file_free(&f);
    return 0;
}

/* Reads chat_template.jinja and what lies in additional_chat_templates. Of the latter only two names have a meaning
 * here; that there are others is noted, so that an error can say what the checkpoint has. */
static int take_jinja(struct source *s, const char *dir, struct err *e)
{
    static const char extra[] = "additional_chat_templates", suffix[] = ".jinja";
    if (path_of(s, dir, "chat_template.jinja", e) < 0 || take_file(s, "default", e) < 0)
        return -1;
    if (path_of(s, dir, extra, e) < 0)
        return -1;
    DIR *d = opendir(s->where);
    struct dirent *f;
    int rc = 0;
    while (d && rc == 0 && (f = readdir(d))) {
        char name[256];
        size_t n = strlen(f->d_name), tail = sizeof suffix - 1;
        if (n <= tail || strcmp(f->d_name + n - tail, suffix) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - tail), f->d_name);
        if (strcmp(name, "tool_use") != 0 && strcmp(name, "default") != 0) {
            put(s, "another", json_string(""));
            continue;
        }
        char file[300];
        snprintf(file, sizeof file, "%s/%.255s", extra, f->d_name);
        rc = path_of(s, dir, file, e) < 0 || take_file(s, name, e) < 0 ? -1 : 0;
    }
    if (d)
        closedir(d);
    return rc;
}

/* Tries the sources of chat_templates.h in their order, until one has given a template. -1: one of them cannot be
 * read. */
static int take_all(struct source *s, const char *dir, bool multimodal, struct err *e)
{
    for (int i = 0; i < 5 && json_object_size(s->by_name) == 0; i++) {
        int rc = 0;
        if (i < 2 && multimodal)
            rc = take_json(s, dir, i == 0 ? "processor_config.json" : "chat_template.json", e);
        else if (i == 2)
            rc = take_jinja(s, dir, e);
        else if (i > 2)
            rc = take_json(s, dir, i == 3 ? "tokenizer_config.json" : "chat_template.json", e);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* The server's own template for this type of model, where the checkpoint has none. */
static int take_own(struct source *s, const char *dir, struct err *e)
{
    struct json_file f;
    if (path_of(s, dir, "config.json", e) < 0 || json_file_read(&f, s->where, true, false, e) < 0)
        return -1;
    const char *type = json_string_value(json_object_get(f.root, "model_type"));
    const char *text = type ? own_template(type) : NULL;
    if (text)
        put(s, "default", json_string(text));
    json_file_free(&f);
    return 0;
}

/* Does the source of the template contain this text anywhere? */
static bool holds(const json_t *text, const char *what)
{
    return memmem(json_string_value(text), json_string_length(text), what, strlen(what)) != NULL;
}

/* The template of that name, if there is one. Whether it knows the role "developer" is seen from its source: one that
 * does compares the role with that word. */
static int parse(struct template **out, bool *developer, const struct source *s, const char *name, struct err *e)
{
    const json_t *text = json_object_get(s->by_name, name);
    if (!text)
        return 0;
    *out = template_parse(json_string_value(text), json_string_length(text), e);
    *developer = holds(text, "'developer'") || holds(text, "\"developer\"");
    return *out ? 0 : err_prefix(e, "%s", json_string_value(json_object_get(s->files, name)));
}

/* Finds the templates, then parses only those that a chat may be rendered with: the text of the others may be
 * anything. */
int chat_templates_open(struct chat_templates *c, const char *dir, const char *file, bool multimodal, struct err *e)
{
    struct source s = { .by_name = json_object(), .files = json_object() };
    *c = (struct chat_templates){ 0 };
    int rc = 0;
    if (file) {
        snprintf(s.where, sizeof s.where, "%.4000s", file);
        rc = take_file(&s, "default", e);
        rc = rc == 1 ? err_set(e, "%s: no such file", file) : rc;
    } else {
        rc = take_all(&s, dir, multimodal, e);
        if (rc == 0 && json_object_size(s.by_name) == 0)
            rc = take_own(&s, dir, e);
    }
    if (rc == 0)
        rc = parse(&c->plain, &c->plain_developer, &s, "default", e);
    if (rc == 0 && !multimodal)
        rc = parse(&c->tools, &c->tools_developer, &s, "tool_use", e);
    c->named = json_object_size(s.by_name) > 0;
    json_decref(s.by_name);
    json_decref(s.files);
    if (rc < 0)
        chat_templates_close(c);
    return rc;
}

void chat_templates_close(struct chat_templates *c)
{
    template_free(c->plain);
    template_free(c->tools);
    *c = (struct chat_templates){ 0 };
}
