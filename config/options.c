/* config/options.c - the table of settings and what is read through it.
 *
 * Each source (file, environment, command line) turns a row's text or JSON
 * value into the field of struct config at `offset`. Sources are applied from
 * the weakest to the strongest, so the last one to speak wins. */
#include "config/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/utf8.h"
#include "base/wrap.h"

enum option_type { T_TEXT, T_CHOICE, T_LIST, T_INT, T_LONG, T_SIZE, T_REAL, T_BOOL };

struct option_row {
    const char      *name;    /* with '_'                                          */
    enum option_type type;
    unsigned         groups;
    size_t           offset;  /* of the field in struct config                     */
    double           min, max;
    const char      *def;     /* as it would be written on the command line        */
    const char      *arg;     /* what the value is, for --help; choices with '|'   */
    const char      *help;
};

#define TERA 1e12
#define ROW(field, type, name, ...) [OPTION_##name] = { #name, T_##type, ROW_AT(field, __VA_ARGS__) },
#define ROW_AT(field, groups, ...)  groups, offsetof(struct config, field), __VA_ARGS__

static const struct option_row table[] = {
#define ENGINE(type, name, ...) ROW(engine.name, type, name, __VA_ARGS__)
#define OPTION(type, name, ...) ROW(name, type, name, __VA_ARGS__)
#define SECTION(title)
#include "config/options.inc"
};

/* The order of --help: a section's title, then its rows. */
static const struct { const char *title; enum option row; } listing[] = {
#define ENGINE(type, name, ...) { NULL, OPTION_##name },
#define OPTION(type, name, ...) { NULL, OPTION_##name },
#define SECTION(title)          { title, N_OPTIONS },
#include "config/options.inc"
};

enum { NAME_BYTES = 64, HELP_COLUMN = 30 };

/* Is the value of this option a number, so that the row's bounds mean something? */
static bool is_number(const struct option_row *r)
{
    return r->type == T_INT || r->type == T_LONG || r->type == T_SIZE || r->type == T_REAL;
}

/* The name as on the command line, without the two dashes before it. */
static const char *dashed(const struct option_row *r, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%s", r->name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = '-';
    return out;
}

/* Names compare with '-' and '_' alike. */
static const struct option_row *find_row(const char *name, size_t n)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        const char *t = table[i].name;
        size_t      k = 0;
        while (k < n && t[k] && (name[k] == t[k] || (name[k] == '-' && t[k] == '_')))
            k++;
        if (k == n && !t[k])
            return &table[i];
    }
    return NULL;
}

/* "option max-num-seqs (command line): must be from 1 to 4096": names the option, where its value came from, and what
 * it may be. */
static int wrong(const struct option_row *r, const char *source, struct err *e, const char *what)
{
    char range[96] = "", name[NAME_BYTES];
    if (is_number(r))
        snprintf(range, sizeof range, " from %.15g to %.15g", r->min, r->max);
    else if (r->type == T_CHOICE)
        snprintf(range, sizeof range, " (%s)", r->arg);
    dashed(r, name);
    return err_field(e, name, "option %s (%s): %s%s", name, source, what, range);
}

/* Adds a copy of n bytes. An empty item and those beyond OPTIONS_MAX_LIST are left out. */
static void list_add(struct string_list *l, const char *s, size_t n)
{
    if (n == 0 || l->n == OPTIONS_MAX_LIST)
        return;
    char *copy = xmalloc(n + 1);
    memcpy(copy, s, n);
    copy[n] = '\0';
    l->item[l->n++] = copy;
}

/* Forgets what a weaker source has put into the list. */
static void list_clear(struct string_list *l)
{
    while (l->n > 0)
        free(l->item[--l->n]);
}

/* Is the value one of those that the row lists with '|' between them? */
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

/* Sets the row's field, whose type the row names, from a number within its range. The comparison comes before the
 * conversion: a number that the field's type cannot hold must not be converted. */
static int set_number(struct config *c, const struct option_row *r, double v, const char *source, struct err *e)
{
    void *field = (char *)c + r->offset;
    if (!isfinite(v) || v < r->min || v > r->max)
        return wrong(r, source, e, "must be");
    if (r->type != T_REAL && v != floor(v))
        return wrong(r, source, e, "must be a whole number");
    if (r->type == T_REAL)
        *(double *)field = v;
    else if (r->type == T_INT)
        *(int *)field = (int)v;
    else if (r->type == T_SIZE)
        *(size_t *)field = (size_t)v;
    else
        *(int64_t *)field = (int64_t)v;
    return 0;
}

/* Adds what was probably meant to the message. */
static int suggest(struct err *e, const struct nearest *near, const char *dashes)
{
    size_t n = strlen(e->text);
    if (*near->best)
        snprintf(e->text + n, sizeof e->text - n, "; did you mean %s%s?", dashes, near->best);
    return -1;
}

/* A value that is not among the choices, which the message lists. */
static int wrong_choice(const struct option_row *r, const char *text, const char *source, struct err *e)
{
    struct nearest near;
    char   name[NEAREST_BYTES];
    wrong(r, source, e, "must be one of");
    nearest_begin(&near, text, strlen(text));
    for (const char *p = r->arg; *p; p += *p == '|') {
        size_t n = strcspn(p, "|");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        nearest_offer(&near, name);
        p += n;
    }
    return suggest(e, &near, "");
}

/* A name that no row has; `groups` are those that could have been meant. */
static int unknown(const char *option, unsigned groups, const char *dashes, struct err *e)
{
    struct nearest near;
    char   name[NAME_BYTES];
    nearest_begin(&near, option, strlen(option));
    for (int i = 0; i < N_OPTIONS; i++)
        if (table[i].groups & groups)
            nearest_offer(&near, dashed(&table[i], name));
    return suggest(e, &near, dashes);
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
            return wrong_choice(r, text, source, e);
        /* fall through */
    case T_TEXT:
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
    case T_LONG:
    case T_REAL:
        v = strtod(text, &end);
        if (end == text || *end)
            return wrong(r, source, e, "must be a number");
        return set_number(c, r, v, source, e);
    }
    return 0;
}

/* Sets the row's field from a value of the JSON file. Numbers are numbers there and not text, but sizes may also be
 * written as "512M"; null leaves the default. A list in the file replaces what was there. */
static int set_json(struct config *c, const struct option_row *r, const json_t *v, const char *source, struct err *e)
{
    if (json_is_null(v))
        return 0;
    if (json_is_number(v) && is_number(r))
        return set_number(c, r, json_number_value(v), source, e);
    if (json_is_boolean(v) && r->type == T_BOOL)
        return set_text(c, r, json_is_true(v) ? "true" : "false", true, source, e);
    if (json_is_string(v) && (r->type == T_SIZE || (!is_number(r) && r->type != T_BOOL)))
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
        [T_TEXT] = "must be a string", [T_CHOICE] = "must be a string", [T_LIST] = "must be a list of strings",
        [T_INT] = "must be a number", [T_LONG] = "must be a number",
        [T_SIZE] = "must be a number or a size such as \"512M\"", [T_REAL] = "must be a number",
        [T_BOOL] = "must be true or false",
    };
    return wrong(r, source, e, wanted[r->type]);
}

/* Unknown and repeated keys are errors, because a mistyped option that is ignored is found much later. Only rows of the
 * groups may be set. `source` is what errors call the object. */
static int read_object(struct config *c, const json_t *root, unsigned groups, const char *source, struct err *e)
{
    const char *key;
    json_t     *v;
    if (!json_is_object(root))
        return err_field(e, "config", "option config: %s is not a JSON object", source);
    json_object_foreach((json_t *)root, key, v) {
        const struct option_row *r = find_row(key, strlen(key));
        if (!r || r == &table[OPTION_config]) {
            err_field(e, key, "option %s (%s): there is no such option", key, source);
            return unknown(key, groups, "", e);
        }
        if (!(r->groups & groups))
            return err_field(e, key, "option %s (%s): has no meaning here", key, source);
        if (set_json(c, r, v, source, e) != 0)
            return -1;
        c->given[r - table] = true;
    }
    return 0;
}

/* Reads the file of --config. A byte order mark is passed over. */
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
    rc = read_object(c, root, ~0u, path, e);
    json_decref(root);
    return rc;
}

/* Any row may be set by its variable. --config is left out: its variable has been read already, to find the file. */
static int read_environment(struct config *c, struct err *e)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        char name[96];
        int  n = snprintf(name, sizeof name, "OPENAUTOGLM_%s", table[i].name);
        for (int k = 0; k < n; k++)
            name[k] = (char)toupper((unsigned char)name[k]);
        const char *v = getenv(name);
        if (!v || i == OPTION_config)
            continue;
        if (set_text(c, &table[i], v, true, name, e) != 0)
            return -1;
        c->given[i] = true;
    }
    return 0;
}

/* An unset variable in a script must not mean another model, or a server without a key. */
static bool may_be_empty(const struct option_row *r)
{
    static const char *const never[] = { "MODEL", "DIR", "FILE", "KEY" };
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (r->type == T_TEXT && strcmp(r->arg, never[i]) == 0)
            return false;
    return true;
}

/* One option of the command line: --name value, --name=value, --flag or
 * --no-flag. Returns how many arguments it took, or -1. */
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
        err_field(e, option, "option %s: %s", option,
                  r ? "does not belong to this command" : "there is no such option");
        return r ? -1 : unknown(option, groups, "--", e);
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

/* What is not an option, and everything after --, is kept in c->rest for the command. `seen` tells the first value of
 * a list from its later ones. */
static int read_arguments(struct config *c, unsigned groups, int argc, char **argv, struct err *e)
{
    bool seen[N_OPTIONS] = { false };
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

/* Also the test that every default is a value which its own row allows. */
void options_init(struct config *c)
{
    struct err e;
    memset(c, 0, sizeof *c);
    for (int i = 0; i < N_OPTIONS; i++) {
        int rc = set_text(c, &table[i], table[i].def, true, "default", &e);
        assert(rc == 0 && "a default must be a value that its row allows"), (void)rc;
    }
}

/* From the weakest source to the strongest. The file's name comes from the stronger ones, so it is looked up first. */
int options_parse(struct config *c, unsigned groups, int argc, char **argv, struct err *e)
{
    options_init(c);
    const char *path = config_path(argc, argv);
    if (path && read_file(c, path, e) != 0)
        return -1;
    if (read_environment(c, e) != 0)
        return -1;
    return read_arguments(c, groups, argc, argv, e);
}

int options_from_json(struct config *c, unsigned groups, const char *json, struct err *e)
{
    json_error_t je;
    options_init(c);
    if (read_environment(c, e) != 0)
        return -1;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_field(e, "options", "the options are no JSON: line %d: %s", je.line, je.text);
    int rc = read_object(c, root, groups, "options", e);
    json_decref(root);
    return rc;
}

void options_free(struct config *c)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        void *field = (char *)c + table[i].offset;
        if (table[i].type == T_TEXT || table[i].type == T_CHOICE)
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

/* Does the field hold what its row says as the default? The default is made from its text again, since rows keep it as
 * it is written on the command line. */
static bool is_default(const struct config *c, const struct option_row *r)
{
    const void *field = (const char *)c + r->offset;
    struct config fresh;
    memset(&fresh, 0, sizeof fresh);
    set_text(&fresh, r, r->def, true, "default", NULL);
    void *def = (char *)&fresh + r->offset;
    bool same = false;
    switch (r->type) {
    case T_TEXT:
    case T_CHOICE: same = strcmp(*(char *const *)field, *(char **)def) == 0; break;
    case T_LIST: same = ((const struct string_list *)field)->n == 0; break;
    case T_INT: same = *(const int *)field == *(int *)def; break;
    case T_LONG: same = *(const int64_t *)field == *(int64_t *)def; break;
    case T_SIZE: same = *(const size_t *)field == *(size_t *)def; break;
    case T_REAL: same = *(const double *)field == *(double *)def; break;
    case T_BOOL: same = *(const bool *)field == *(bool *)def; break;
    }
    options_free(&fresh);
    return same;
}

/* The options that were given and differ from their defaults, as a list for the log. */
void options_changed(const struct config *c, unsigned groups, char *out, size_t n)
{
    size_t at = 0;
    char   name[NAME_BYTES];
    *out = '\0';
    for (int i = 0; i < N_OPTIONS && at < n; i++)
        if ((table[i].groups & groups) && c->given[i] && !is_default(c, &table[i]))
            at += (size_t)snprintf(out + at, n - at, "%s--%s", at ? ", " : "", dashed(&table[i], name));
}

/* What is typed for the row stands at the left, and is alone in its line if it is long. */
static void print_row(FILE *out, const struct option_row *r)
{
    char name[NAME_BYTES], text[600];
    const char *no = r->type == T_BOOL ? "[no-]" : "";
    int  at = fprintf(out, "  --%s%s%s%s", no, dashed(r, name), *r->arg ? " " : "", r->arg);
    if (at > HELP_COLUMN - 2)
        at = (fputc('\n', out), 0);
    fprintf(out, "%*s", HELP_COLUMN - at, "");
    bool tells = r->def[0] && strcmp(r->def, "0") != 0;
    snprintf(text, sizeof text, "%s%s%s%s", r->help, tells ? " (" : "", tells ? r->def : "", tells ? ")" : "");
    wrap_print(out, text, HELP_COLUMN, HELP_COLUMN);
}

/* Sections of which no row belongs to the groups are left out. Then where else values may come from. */
void options_help(FILE *out, unsigned groups)
{
    const char *title = NULL;
    bool        began = false;
    for (size_t i = 0; i < sizeof listing / sizeof *listing; i++) {
        if (listing[i].title) {
            title = listing[i].title;
            continue;
        }
        const struct option_row *r = &table[listing[i].row];
        if (!(r->groups & groups))
            continue;
        if (title)
            fprintf(out, "%s%s:\n", began ? "\n" : "", title);
        title = NULL;
        began = true;
        print_row(out, r);
    }
    fputs("\nEach can also be set in the environment (--max-num-seqs: OPENAUTOGLM_MAX_NUM_SEQS) or in the\n"
          "file of --config (\"max_num_seqs\"). The command line wins over the environment, that over the\n"
          "file.\n", out);
}

/* Calls `each` for every row of these groups, in the order of the table, with the name as it is typed. */
void options_each(unsigned groups, void (*each)(void *arg, const struct option_text *row), void *arg)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        char name[NAME_BYTES];
        const struct option_row *r = &table[i];
        if (r->groups & groups)
            each(arg, &(struct option_text){ .name = dashed(r, name), .arg = r->arg, .help = r->help, .def = r->def,
                                             .choice = r->type == T_CHOICE });
    }
}

/* The rows in the order of the table, each with its default as JSON. A size other than 0 is written as it is in the
 * table, "512M", and so is quoted. */
void options_json(struct buf *out, unsigned groups)
{
    const char *between = "{\n";
    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option_row *r = &table[i];
        if (!(r->groups & groups) || r == &table[OPTION_config])
            continue;
        buf_printf(out, "%s    \"%s\": ", between, r->name);
        bool quoted = r->type == T_TEXT || r->type == T_CHOICE || (r->type == T_SIZE && strcmp(r->def, "0") != 0);
        if (r->type == T_LIST)
            buf_printf(out, "[%s]", r->def);
        else
            buf_printf(out, quoted ? "\"%s\"" : "%s", r->def);
        between = ",\n";
    }
    buf_str(out, "\n}\n");
}
